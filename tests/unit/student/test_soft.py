"""Soft labels move with the image, and have their share of the loss."""

import torch
from torch.nn import functional as F

from d3s2.data.pairs import Pairs
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.trainable import SoftTargets, mean_cross_entropy, mean_soft_cross_entropy, pixel_loss, with_soft
from d3s2.store.soft import SoftLabels, soften
from d3s2.student.augment import augment, draw_variation
from d3s2.student.settings import AugmentationSettings, TrainSettings
from d3s2.student.soft import SoftSource, soft_batch
from d3s2.student.training import train

CPU = torch.device("cpu")
STILL = AugmentationSettings(flip=False, zoom=(1.0, 1.0), shift=0.0, brightness_contrast=0.0, saturation=0.0, hue=0.0)
SIZE = (20, 27)  # cells of 4 px: those at the right edge are cut


def one_hot(mask: torch.Tensor, num_classes: int = 4) -> SoftLabels:
    return soften(F.one_hot(mask.long(), num_classes).permute(2, 0, 1).double(), cell_px=4)


def varied(
    masks: torch.Tensor, how: AugmentationSettings, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks moved, and the matrix that moved them."""
    variation = draw_variation(len(masks), SIZE, how, generator)
    return augment(torch.zeros(len(masks), 3, *SIZE), masks, variation)[1], variation.matrix


def halves() -> torch.Tensor:
    masks = torch.zeros(5, *SIZE, dtype=torch.uint8)
    masks[:, :, 12:] = 2
    return masks


def test_soft_labels_move_as_masks_do() -> None:
    masks = halves()
    moved, matrix = varied(masks, AugmentationSettings(), torch.Generator().manual_seed(4))
    soft = soft_batch([one_hot(mask) for mask in masks], moved, matrix, 4)
    assert soft.shape == (5, 4, *SIZE)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(5, *SIZE))
    inside = moved != 255
    # the border between the halves is that of cells: bilinear, the more probable side is the mask's but for rounding
    agrees = soft.argmax(dim=1)[inside] == moved[inside]
    assert agrees.float().mean() > 0.98
    assert len(moved[inside].unique()) == 2


def test_unmoved_soft_labels_are_those_of_the_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(4, *SIZE, generator=generator).softmax(dim=0)
    soft = soften(probabilities, num_top=4, cell_px=4)
    brought = soft_batch([soft], *varied(torch.zeros(1, *SIZE, dtype=torch.uint8), STILL, generator), 4)[0]
    # the centre of a whole cell of 4 px lies between its four middle pixels
    cells = torch.from_numpy(soft.probabilities())[:, :, :6]
    middles = F.avg_pool2d(brought[:, 1:19, 1:25], 2, stride=4)
    torch.testing.assert_close(middles[:, 1:-1, 1:-1], cells[:, 1:-1, 1:-1], atol=0.02, rtol=0)


def test_a_pair_without_soft_labels_teaches_its_mask() -> None:
    masks = halves()[:2]
    masks[:, :3] = 255
    moved, matrix = varied(masks, STILL, torch.Generator())
    soft = soft_batch([None, one_hot(halves()[0])], moved, matrix, 4)
    scores = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        mean_soft_cross_entropy(scores, soft[:1], moved[:1]), mean_cross_entropy(scores, moved[:1])
    )


def test_both_losses_by_one_softmax_are_those_by_two() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 5, 6, 7, generator=generator, dtype=torch.float32).requires_grad_()
    masks = torch.randint(5, (2, 6, 7), generator=generator).to(torch.uint8)
    masks[0, :3] = 255
    soft = SoftTargets(torch.rand(2, 5, 6, 7, generator=generator).softmax(dim=1), 0.3)
    ours = torch.autograd.grad(pixel_loss(scores, masks, soft), scores)
    theirs = torch.autograd.grad(with_soft(mean_cross_entropy(scores, masks), scores, masks, soft), scores)
    torch.testing.assert_close(ours, theirs)
    nothing = torch.full_like(masks, 255)
    assert pixel_loss(scores, nothing, soft) == 0


def test_the_loss_is_mixed_by_the_weight_and_ignored_pixels_have_no_part() -> None:
    generator = torch.Generator().manual_seed(1)
    net = CompactUNet(num_classes=4, width=8)
    images, masks = torch.rand(2, 3, *SIZE, generator=generator), halves()[:2]
    masks[:, :3] = 255
    probabilities = torch.rand(2, 4, *SIZE, generator=generator).softmax(dim=1)
    scores = net(images).scores
    log = scores.log_softmax(dim=1)
    counted = masks != 255
    expected = -(probabilities * log).sum(dim=1)[counted].mean()
    hard = net.loss(images, masks)
    mixed = net.loss(images, masks, SoftTargets(probabilities, 0.25))
    torch.testing.assert_close(mixed, 0.75 * hard + 0.25 * expected)
    other = torch.where(counted[:, None], probabilities, 0.25)
    torch.testing.assert_close(net.loss(images, masks, SoftTargets(other, 0.25)), mixed)


def test_training_learns_what_the_soft_labels_say() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, *SIZE), generator=generator, dtype=torch.uint8)
    said = torch.zeros(4, *SIZE, dtype=torch.uint8)  # masks say class 0, the soft labels class 3
    cells = [one_hot(torch.full(SIZE, 3)) for _ in range(4)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CompactUNet(num_classes=4, width=8)
    settings = TrainSettings(iterations=12, batch=4, lr=1e-2, augmentation=STILL)
    train(net, Pairs(images, said), settings, seed=0, device=CPU, soft=SoftSource(cells, 0.8))
    with torch.no_grad():
        shares = net(images.float() / 255).scores.softmax(dim=1).mean(dim=(0, 2, 3))
    assert shares.argmax() == 3
    assert shares[0] > shares[1:3].max()
