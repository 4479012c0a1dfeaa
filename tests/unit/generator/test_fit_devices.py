"""Fits of generators work on their device: pairs travel as bytes, and no step reads from it but its loss."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from elsewhere import ELSEWHERE, Watched
from tiny_networks import CLASS_NAMES
from tiny_stable_diffusion import write_pipeline
from torch import Tensor

from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import Pairs
from d3s2.generator.compact import fit
from d3s2.generator.compact.network import new_generator
from d3s2.generator.compact.settings import CompactFitSettings
from d3s2.generator.stable_diffusion import controlnet_fit
from d3s2.generator.stable_diffusion.controlnet import controlnet_to_fit
from d3s2.generator.stable_diffusion.settings import ControlNetFitSettings, ControlNetSettings

SIZE = (32, 48)
STEPS = 2


def pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, *SIZE), generator=generator, dtype=torch.uint8)
    return Pairs(images, torch.randint(0, 4, (4, *SIZE), generator=generator, dtype=torch.uint8))


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The losses of a fit, whose numbers nobody can read; what it learnt is not stored either."""
    found: list[Tensor] = []

    def later(loss: Tensor) -> Callable[[], float]:
        found.append(loss)
        return lambda: 0.0

    for module in (fit, controlnet_fit):
        monkeypatch.setattr(module, "number_later", later)
    monkeypatch.setattr(Checkpoint, "save", lambda *_: None)
    return found


def pictures_in(watched: Watched) -> list[Tensor]:
    return [tensor for tensor in watched.moved if tensor.shape[-2:] == SIZE]


def test_no_step_of_a_compact_fit_reads_from_its_device_but_the_loss(tmp_path: Path, losses: list[Tensor]) -> None:
    model = new_generator(0, num_classes=len(CLASS_NAMES), channels=(32, 32)).to(ELSEWHERE)
    with Watched() as watched:
        fit.fit_generator(
            model,
            pairs(),
            CompactFitSettings(steps=STEPS, batch=2),
            seed=0,
            checkpoint=tmp_path / "checkpoint.pt",
            device=ELSEWHERE,
        )
    assert [loss.device for loss in losses] == [ELSEWHERE] * STEPS
    assert len(pictures_in(watched)) == 2 * STEPS
    assert {tensor.dtype for tensor in pictures_in(watched)} == {torch.uint8}


def test_pairs_of_a_controlnet_fit_travel_as_bytes(tmp_path: Path, losses: list[Tensor]) -> None:
    folder = write_pipeline(tmp_path / "sd")
    settings = ControlNetSettings(model=str(folder), controlnet=str(folder / "controlnet"), palette="ade20k")
    generator = controlnet_to_fit(settings, LabelSpace("street", CLASS_NAMES), ELSEWHERE, None)
    how = ControlNetFitSettings(steps=STEPS, batch=2)
    with Watched() as watched:
        controlnet_fit.fit_controlnet(generator, pairs(), how, seed=0, checkpoint=tmp_path / "checkpoint.pt")
    assert [loss.device for loss in losses] == [ELSEWHERE] * STEPS
    assert {tensor.dtype for tensor in pictures_in(watched)} == {torch.uint8}
    weights = {weight.device for weight in generator.parts.text_encoder.state_dict().values()}
    assert weights == {ELSEWHERE}  # every step reads other prompts
