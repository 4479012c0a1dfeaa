"""Training losses against transformers' own, and what ignored pixels may not do."""

import pytest
import torch
from tiny_networks import WINDOW_PX, WINDOWED, tiny_network
from torch import Tensor
from torch.nn import functional as F

from d3s2.nets.families.family import AdaptedSegmenter
from d3s2.nets.families.mask2former_loss import Targets, layer_loss, read_targets
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.loading import NETWORKS
from d3s2.nets.trainable import SoftTargets, with_soft

SIZE = (64, 96)
TRAINED = ("eomt", "eomt_dinov3", "linear_head", "mask2former", "segformer", "upernet")


def student(kind: str) -> AdaptedSegmenter:
    window_px = WINDOW_PX if kind in WINDOWED else None
    preprocessing = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), window_px=window_px)
    groups = tuple((label,) for label in range(4))
    # evaluation mode: no dropout, so both sides see one network; the losses draw their points all the same
    return AdaptedSegmenter(tiny_network(kind).eval(), NETWORKS[kind], preprocessing, groups)


def batch(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 3, *SIZE, generator=generator)
    blocks = torch.randint(0, 4, (3, 4, 6), generator=generator, dtype=torch.uint8)
    blocks[0].clamp_(max=1)  # images differ in the classes that they hold
    return images, blocks.repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)


def batch_for(kind: str) -> tuple[Tensor, Tensor]:
    """A batch of a size that the network of transformers takes by itself."""
    images, masks = batch()
    return (images[..., :WINDOW_PX], masks[..., :WINDOW_PX]) if kind in WINDOWED else (images, masks)


def seeded_loss(
    net: AdaptedSegmenter, images: Tensor, masks: Tensor, seed: int = 7, soft: SoftTargets | None = None
) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return net.loss(images, masks, soft)


def transformers_loss(net: AdaptedSegmenter, images: Tensor, masks: Tensor, seed: int = 7) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if "Universal" not in type(net.network).__name__:
            if "LinearHead" in type(net.network).__name__:  # not of transformers, so its loss is written out
                scores = F.interpolate(net.network(images).logits, size=SIZE, mode="bilinear")
                return F.cross_entropy(scores, masks.long(), ignore_index=255)
            return net.network(images, labels=masks.long()).loss
        labels = [mask.unique().long() for mask in masks]
        binary = [(mask == present[:, None, None]).float() for mask, present in zip(masks, labels, strict=True)]
        return net.network(images, mask_labels=binary, class_labels=labels).loss


@pytest.mark.parametrize("kind", TRAINED)
def test_a_training_step_equals_transformers_own_without_ignored_pixels(kind: str) -> None:
    images, masks = batch_for(kind)
    ours, theirs = student(kind), student(kind)
    steps = ((ours, seeded_loss), (theirs, transformers_loss))
    for net, loss_of in steps:
        optimiser = torch.optim.AdamW(net.parameter_groups(lr=1e-3, weight_decay=0.05))
        loss_of(net, images, masks).backward()
        optimiser.step()
    torch.testing.assert_close(
        seeded_loss(ours, images, masks), transformers_loss(theirs, images, masks), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", TRAINED)
def test_soft_labels_are_mixed_in_by_the_pass_that_gives_the_loss(kind: str) -> None:
    images, masks = batch()  # oblong: of networks of one size, the windows' scores are merged
    masks[:, :20] = 255
    net, passes = student(kind), []
    shares = torch.rand(3, 4, *SIZE, generator=torch.Generator().manual_seed(2)).softmax(dim=1)
    expected = with_soft(seeded_loss(net, images, masks), net(images).scores, masks, SoftTargets(shares, 0.25))
    net.network.register_forward_hook(lambda network, inputs, output: passes.append(network))
    torch.testing.assert_close(seeded_loss(net, images, masks, soft=SoftTargets(shares, 0.25)), expected)
    assert len(passes) == 1


@pytest.mark.parametrize("kind", WINDOWED)
def test_oblong_images_are_learnt_from_in_squares(kind: str) -> None:
    images, masks = batch()
    cuts = (slice(0, 64), slice(32, 96))
    squares = torch.stack([images[..., cut] for cut in cuts], dim=1).flatten(0, 1)
    labels = torch.stack([masks[..., cut] for cut in cuts], dim=1).flatten(0, 1)
    net = student(kind)
    torch.testing.assert_close(seeded_loss(net, images, masks), transformers_loss(net, squares, labels))


@pytest.mark.parametrize("kind", ["linear_head", "segformer", "upernet"])
def test_the_cross_entropy_of_transformers_ignores_the_same_pixels(kind: str) -> None:
    images, masks = batch()
    masks[:, 10:40, 5:50] = 255
    net = student(kind)
    torch.testing.assert_close(seeded_loss(net, images, masks), transformers_loss(net, images, masks))


def logits(requires_grad: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    classes = torch.randn(3, 7, 5, generator=generator)
    return classes, (3 * torch.randn(3, 7, *SIZE, generator=generator)).requires_grad_(requires_grad)


def seeded_layer_loss(net: AdaptedSegmenter, classes: Tensor, queries: Tensor, targets: Targets) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return layer_loss(net.network, classes, queries, targets)


def hidden_band() -> tuple[Tensor, Tensor]:
    """Masks with an ignored band, and the band's inside: a point there reads ignored pixels only."""
    masks = batch()[1]
    masks[:, 20:45] = 255
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[21:44] = True
    return masks, inside


def test_what_the_network_says_under_ignored_pixels_changes_nothing() -> None:
    net, (masks, inside) = student("mask2former"), hidden_band()
    classes, queries = logits()
    other = torch.where(inside, -queries.flip(1) + 5, queries)
    targets = read_targets(masks)
    torch.testing.assert_close(
        seeded_layer_loss(net, classes, queries, targets), seeded_layer_loss(net, classes, other, targets)
    )


def test_no_gradient_reaches_the_network_from_ignored_pixels() -> None:
    net, (masks, inside) = student("mask2former"), hidden_band()
    classes, queries = logits(requires_grad=True)
    seeded_layer_loss(net, classes, queries, read_targets(masks)).backward()
    assert queries.grad is not None
    assert queries.grad[..., inside].abs().max() == 0
    assert queries.grad[..., ~inside].abs().max() > 0


def test_the_classes_under_ignored_pixels_change_nothing_while_transformers_counts_them_as_background() -> None:
    net = student("mask2former")
    images, whole = batch()
    losses, theirs = [], []
    for hidden_class in (0, 3):
        annotated = whole.clone()
        annotated[:, 20:45] = hidden_class
        masks = annotated.clone()
        masks[:, 20:45] = 255
        losses.append(seeded_loss(net, images, masks))
        theirs.append(transformers_loss(net, images, annotated))
    torch.testing.assert_close(losses[0], losses[1])
    assert not torch.allclose(theirs[0], theirs[1])
    with_band, classes = read_targets(masks), logits()[0]
    background = Targets(with_band.classes, with_band.masks, torch.zeros_like(with_band.ignored))
    queries = logits()[1]
    assert not torch.allclose(
        seeded_layer_loss(net, classes, queries, with_band), seeded_layer_loss(net, classes, queries, background)
    )


def test_an_image_without_a_single_label_has_no_part() -> None:
    net = student("mask2former")
    images, masks = batch()
    masks[2] = 255
    torch.testing.assert_close(seeded_loss(net, images, masks), seeded_loss(net, images[:2], masks[:2]))


@pytest.mark.parametrize("kind", TRAINED)
def test_a_batch_without_a_single_label_costs_nothing(kind: str) -> None:
    net = student(kind)
    images, masks = batch()
    loss = seeded_loss(net, images, torch.full_like(masks, 255))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in net.parameters())
