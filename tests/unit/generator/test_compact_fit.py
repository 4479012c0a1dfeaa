"""Fitting of the compact generator: it learns, resumes to the same numbers, and draws rare classes more often."""

from pathlib import Path

import pytest
import torch

from d3s2.base.errors import ModelError, NumericError, StoreError
from d3s2.data.known.scenes import SPACE, Scenes
from d3s2.data.pairs import Pairs, load_pairs
from d3s2.generator.compact.fit import draw_weights, fit_generator
from d3s2.generator.compact.network import CompactGenerator, load_generator, new_generator, save_generator, take_weights
from d3s2.generator.compact.settings import CompactFitSettings

SETTINGS = CompactFitSettings(steps=6, batch=2, checkpoint_s=1e-9)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    scenes = Scenes("train", 6, size_px=(32, 48))
    return load_pairs(scenes, scenes.ids)


def fresh() -> CompactGenerator:
    return new_generator(0, num_classes=SPACE.num_classes, channels=(32, 32))


def weights_of(model: CompactGenerator) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_a_fit_that_was_stopped_ends_with_the_same_weights(pairs: Pairs, tmp_path: Path) -> None:
    whole, _ = fit_generator(fresh(), pairs, SETTINGS, seed=0, checkpoint=tmp_path / "whole.pt", device=CPU)

    class StoppedError(Exception):
        pass

    def stop(model: CompactGenerator, step: int) -> None:
        if step == 3:
            raise StoppedError

    path = tmp_path / "stopped.pt"
    with pytest.raises(StoppedError):
        fit_generator(fresh(), pairs, SETTINGS, seed=0, checkpoint=path, device=CPU, preview=stop)
    resumed, _ = fit_generator(fresh(), pairs, SETTINGS, seed=0, checkpoint=path, device=CPU)
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_the_loss_falls(pairs: Pairs, tmp_path: Path) -> None:
    losses: list[float] = []

    class Notes:
        def __enter__(self) -> "Notes":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, steps: int = 1, note: str = "") -> None:
            losses.extend(float(word) for word in note.split()[1:])

    class Told:
        def task(self, label: str, total: int, done: int = 0) -> Notes:
            return Notes()

        def say(self, text: str) -> None:
            pass

    settings = SETTINGS.model_copy(update={"steps": 120, "lr": 2e-3, "checkpoint_s": 1e9})
    fit_generator(fresh(), pairs, settings, seed=0, checkpoint=tmp_path / "c.pt", device=CPU, progress=Told())
    assert losses[-1] < 0.9 * losses[0]


def test_a_loss_that_is_not_finite_ends_the_fit_with_its_step(pairs: Pairs, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 20, "lr": 1e30, "checkpoint_s": 1e9})
    with pytest.raises(NumericError, match=r"^fit generator: the loss of step \d+ is .* lower .* \(lr is 1e\+30\)"):
        fit_generator(fresh(), pairs, settings, seed=0, checkpoint=tmp_path / "c.pt", device=CPU)
    assert not (tmp_path / "c.pt").exists()


def test_a_checkpoint_of_another_shape_is_a_sentence(pairs: Pairs, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    fit_generator(fresh(), pairs, SETTINGS.model_copy(update={"steps": 1}), seed=0, checkpoint=path, device=CPU)
    other = new_generator(0, num_classes=3, channels=(32, 32))
    with pytest.raises(StoreError, match=r"c.pt: this checkpoint does not fit the model .* delete it to start anew"):
        fit_generator(other, pairs, SETTINGS, seed=0, checkpoint=path, device=CPU)


def test_pairs_with_a_rare_class_are_drawn_more_often() -> None:
    masks = torch.zeros(100, 4, 4, dtype=torch.uint8)
    masks[0, 0, 0] = 1  # in one mask of a hundred: a tenth of what counts as common
    masks[1] = 255
    pairs = Pairs(torch.zeros(100, 3, 4, 4, dtype=torch.uint8), masks)
    assert draw_weights(pairs, 2, rare_boost=1.0).tolist() == pytest.approx([10.0, *[1.0] * 99])
    assert draw_weights(pairs, 2, rare_boost=0.0).tolist() == [1.0] * 100


def test_half_precision_on_disk_comes_back_as_float32(tmp_path: Path) -> None:
    model = fresh()
    save_generator(model, tmp_path, half=True)
    loaded, _ = load_generator(tmp_path, SPACE.num_classes)
    assert all(tensor.dtype == torch.float32 for tensor in loaded.state_dict().values())
    torch.testing.assert_close(weights_of(loaded), weights_of(model), atol=1e-3, rtol=1e-3)
    with pytest.raises(ModelError, match=r"was fitted for 18 classes, the data set has 3; fit one on this data set"):
        load_generator(tmp_path, 3)


def test_weights_are_taken_from_a_generator_of_the_same_shape_only() -> None:
    first, second = fresh(), new_generator(1, num_classes=SPACE.num_classes, channels=(32, 32))
    take_weights(second, first)
    assert torch.equal(weights_of(first), weights_of(second))
    with pytest.raises(ModelError, match=r"that generator has channels \[32, 32\], this one \[32, 64\]"):
        take_weights(new_generator(0, num_classes=SPACE.num_classes, channels=(32, 64)), first)
