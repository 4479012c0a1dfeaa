"""A student learns and is scored on its device: bytes travel there, and nothing is read back on the way."""

from collections.abc import Callable

import pytest
import torch
from elsewhere import ELSEWHERE, Watched, landing_from
from tiny_networks import tiny_network
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.pixels import to_unit
from d3s2.data.pairs import Pairs
from d3s2.metrics import counting
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.fresh import adapted
from d3s2.nets.loading import NETWORKS, Network
from d3s2.store.soft import soften
from d3s2.student import prediction, training
from d3s2.student.augment import augment, draw_variation
from d3s2.student.settings import AugmentationSettings, TrainSettings
from d3s2.student.soft import SoftSource, soft_batch

SIZE = (32, 64)


def pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, *SIZE), generator=generator, dtype=torch.uint8)
    return Pairs(images, torch.randint(0, 4, (6, *SIZE), generator=generator, dtype=torch.uint8))


def soft_labels() -> SoftSource:
    cells = [soften(F.one_hot(mask.long(), 4).permute(2, 0, 1).double(), cell_px=4) for mask in pairs().masks]
    return SoftSource([None, *cells[1:]], 0.5)


def fresh(kind: str) -> Network:
    return (
        CompactUNet(num_classes=4, width=8) if kind == "compact-unet" else adapted(tiny_network(kind), NETWORKS[kind])
    )


@pytest.mark.parametrize("how", [AugmentationSettings(), AugmentationSettings(crop_px=(24, 24), hue=0.0)])
def test_a_variation_is_done_where_the_pictures_are(how: AugmentationSettings) -> None:
    images, masks = pairs().images.to(ELSEWHERE), pairs().masks.to(ELSEWHERE)
    variation = draw_variation(6, SIZE, how, torch.Generator().manual_seed(0))
    with Watched() as watched:
        moved, moved_masks = augment(to_unit(images), masks, variation)
    assert moved.device == moved_masks.device == ELSEWHERE
    assert moved.shape[-2:] == moved_masks.shape[-2:] == variation.seen_px
    # beside the pictures only the drawn numbers travel: a scale and a shift along each axis, and the colours
    assert sorted(tensor.shape for tensor in watched.moved) == sorted([variation.colours.shape, (6, 2, 2)])


def test_soft_labels_travel_as_cells_and_become_pixels_on_the_device() -> None:
    variation = draw_variation(6, SIZE, AugmentationSettings(), torch.Generator().manual_seed(0))
    masks = pairs().masks.to(ELSEWHERE)
    with Watched() as watched:
        soft = soft_batch(soft_labels().cells, masks, variation.matrix, 4)
    assert soft.device == ELSEWHERE
    assert soft.shape == (6, 4, *SIZE)
    assert max(tensor.numel() for tensor in watched.moved) == 4 * 8 * 16


# a step of Mask2Former waits by its nature: its masks are matched on the CPU
@pytest.mark.parametrize("kind", ["compact-unet", "segformer"])
@pytest.mark.parametrize(("accumulate", "soft"), [(1, None), (2, soft_labels())])
def test_no_step_of_a_training_reads_from_its_device_but_the_loss(
    kind: str, accumulate: int, soft: SoftSource | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[Tensor] = []

    def later(loss: Tensor) -> Callable[[], float]:
        losses.append(loss)
        return lambda: 0.0

    monkeypatch.setattr(training, "number_later", later)
    settings = TrainSettings(iterations=3, batch=4, accumulate=accumulate)
    with Watched() as watched:
        training.train(fresh(kind), pairs(), settings, seed=0, device=ELSEWHERE, soft=soft)
    assert [loss.device for loss in losses] == [ELSEWHERE] * 3
    pictures = [tensor for tensor in watched.moved if tensor.shape[-2:] == SIZE]
    assert len(pictures) == 2 * 3
    assert {tensor.dtype for tensor in pictures} == {torch.uint8}


def test_predictions_are_counted_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    landed = landing_from(monkeypatch, counting)
    net = fresh("compact-unet").to(ELSEWHERE).eval()
    with Watched() as watched:
        counts = prediction.measure(net, pairs(), device=ELSEWHERE, batch=3)
    assert counts.confusion.shape == (4, 4)
    assert counts.boundary.shape == (3, 4)
    # a batch is waited for when its counts come back: 16 pairs of classes, and three times 4 classes
    assert [tuple(tensor.shape) for tensor in landed] == [(16,), (4,), (4,), (4,)] * 2
    assert {tensor.device for tensor in landed} == {ELSEWHERE}
    assert {tensor.dtype for tensor in watched.moved} == {torch.uint8}


@pytest.mark.gpu
def test_nothing_in_a_variation_waits_for_a_gpu() -> None:
    device = torch.device("cuda")
    images, masks = pairs().images.to(device), pairs().masks.to(device)
    variation = draw_variation(6, SIZE, AugmentationSettings(), torch.Generator().manual_seed(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved, moved_masks = augment(to_unit(images), masks, variation)
        soft = soft_batch(soft_labels().cells, moved_masks, variation.matrix, 4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    here, masks_here = augment(to_unit(pairs().images), pairs().masks, variation)
    torch.testing.assert_close(moved.cpu(), here, atol=1e-3, rtol=0)
    assert (moved_masks.cpu() == masks_here).float().mean() > 0.999
    torch.testing.assert_close(soft.sum(dim=1).cpu(), torch.ones(6, *SIZE))
