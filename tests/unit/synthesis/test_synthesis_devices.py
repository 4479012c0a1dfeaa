"""A guided step does all its work on the device, and reads nothing back: on a device whose numbers nobody can read.

What waits for a device by its nature stands in WAITS; everything else would raise here.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from elsewhere import ELSEWHERE, Reading, Watched
from tiny_networks import CLASS_NAMES, KINDS, WINDOWED, tiny_network
from torch import Tensor

from d3s2.generator.compact.adapter import CompactAdapter
from d3s2.generator.compact.network import flow_scheduler, new_generator
from d3s2.generator.denoiser import Level
from d3s2.generator.sampling import Sampling, sample
from d3s2.nets.families.family import AdaptedSegmenter
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.loading import NETWORKS, frozen
from d3s2.nets.segmenter import Segmentation
from d3s2.synthesis.guidance import Refusals, guide
from d3s2.synthesis.settings import GuidanceSettings
from d3s2.teacher.bank import FeatureBank
from d3s2.teacher.energies import energies_of

SIZE = (64, 64)
COUNT = len(CLASS_NAMES)
ENERGIES = ("segmentation", "segmentation-by-pixel")
WAITS = {
    "eomt": "transformers asks for the value of attn_mask_probs in each of its last blocks; here it stays on the CPU",
    "eomt_dinov3": "the same",
    "oneformer": "transformers checks the sizes of its scales in each layer of the pixel decoder",
    "features": "which classes the masks hold decides how large its tensors are: what is not there costs nothing",
}


def teacher_of(kind: str) -> Any:
    family = NETWORKS[kind]
    network = tiny_network(kind)
    window_px = None if family.window_px is None else family.window_px(network.config)
    inputs = {"task_inputs": torch.zeros(40, dtype=torch.long)} if family.inputs is not None else None
    groups = tuple((label,) for label in range(COUNT))
    preprocessing = Preprocessing(divisor=family.divisor, window_px=window_px)
    net = frozen(AdaptedSegmenter(network, family, preprocessing, groups, inputs=inputs)).to(ELSEWHERE)
    if kind in WINDOWED:
        net.network.attn_mask_probs = torch.ones(2)
    return net


def bank_of(maps: Mapping[str, Tensor], device: torch.device = ELSEWHERE) -> FeatureBank:
    """Statistics of feature maps, without a meaning."""
    numbers = {name: torch.zeros(COUNT, map_.shape[1], device=device) for name, map_ in maps.items()}
    weights = {name: torch.ones(COUNT, device=device) for name in maps}
    return FeatureBank(numbers, dict(numbers), weights, torch.ones(COUNT, device=device), {})


def blank() -> Tensor:
    return torch.zeros(2, 3, *SIZE, device=ELSEWHERE)


def masks() -> Tensor:
    return torch.zeros(2, *SIZE, dtype=torch.uint8, device=ELSEWHERE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WAITS or kind in WINDOWED])
def test_energies_and_their_gradient_are_taken_on_the_device(kind: str) -> None:
    teacher = teacher_of(kind)
    bank, images = bank_of({}), blank().requires_grad_()
    with Watched() as watched:
        found = energies_of(ENERGIES, teacher(images), masks(), bank)
        torch.stack(list(found.values())).sum().backward()
    assert images.grad is not None
    assert {value.device for value in found.values()} == {ELSEWHERE}
    pictures = [tensor for tensor in watched.moved if tensor.numel() >= SIZE[0] * SIZE[1]]
    assert not pictures


@pytest.mark.parametrize("rule", ["fast", "full", "both"])
@pytest.mark.parametrize("hold", [False, True])
def test_guided_sampling_reads_nothing_back_until_its_images_are_there(rule: str, hold: bool) -> None:
    teacher = teacher_of("segformer")
    bank = bank_of({})
    model = new_generator(0, num_classes=COUNT, channels=(32, 32)).eval().requires_grad_(False).to(ELSEWHERE)
    generator = CompactAdapter(model, flow_scheduler())
    refusals = Refusals(("a", "b"))

    def energy(clean: Tensor, level: Level) -> Tensor:
        found = energies_of(ENERGIES, teacher(generator.decode(clean, for_guidance=True)), masks(), bank)
        return torch.stack(list(found.values())).sum(dim=0)

    how = GuidanceSettings(strength=0.5, rule=rule, every=2 if hold else 1, hold=hold)
    noises = [torch.Generator().manual_seed(index) for index in range(2)]
    images = sample(
        generator,
        masks(),
        noises,
        Sampling(num_steps=4, guidance_scale=1.5),
        device=ELSEWHERE,
        guided=partial(guide, energy=energy, how=how, refusals=refusals),
    )
    assert images.device == ELSEWHERE
    assert len(refusals.unread) > 0
    assert {step.device for step in refusals.unread} == {ELSEWHERE}


def test_what_waits_is_what_is_named() -> None:
    for kind in WAITS.keys() - {"features"}:
        teacher = teacher_of(kind)
        if kind in WINDOWED:
            teacher.network.attn_mask_probs = teacher.network.attn_mask_probs.to(ELSEWHERE)
        with pytest.raises(RuntimeError, match="meta"):
            teacher(blank())


def test_feature_matching_waits_for_the_classes_of_a_batch_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.rand(2, 5, 8, 8, generator=generator).requires_grad_() for name in ("fine", "coarse")}
    bank = bank_of(maps, torch.device("cpu"))
    drawn = torch.arange(3, dtype=torch.uint8).repeat(2, 8, 3)[:, :, :8].contiguous()  # three classes
    with Reading() as reading:
        found = energies_of(("features",), Segmentation(torch.zeros(2, COUNT, 8, 8), maps), drawn, bank)
        found["features"].sum().backward()
    assert reading.count == 1
