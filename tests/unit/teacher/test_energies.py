"""Both losses against naive loops, and their gradients against finite differences."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from d3s2.teacher.losses import class_shares, class_statistics, feature_matching, segmentation_consistency


def draw(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 4, (3, 8, 12), generator=generator, dtype=torch.uint8)
    masks[0, :2] = 255
    masks[1] = masks[1].clamp(max=2)
    return torch.randn(3, 4, 8, 12, generator=generator), masks


def naive_consistency(scores: torch.Tensor, mask: torch.Tensor, by_class: bool) -> float:
    loss = -torch.log_softmax(scores, dim=0)
    per_class: dict[int, list[float]] = {}
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            c = int(mask[y, x])
            if c != 255:
                per_class.setdefault(c, []).append(float(loss[c, y, x]))
    if by_class:
        return sum(sum(values) / len(values) for values in per_class.values()) / len(per_class)
    values = [value for values in per_class.values() for value in values]
    return sum(values) / len(values)


@pytest.mark.parametrize("by_class", [True, False])
def test_segmentation_consistency_equals_a_naive_loop(by_class: bool) -> None:
    scores, masks = draw()
    found = segmentation_consistency(scores, masks, by_class=by_class)
    expected = [naive_consistency(scores[i], masks[i], by_class) for i in range(3)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_mask_without_a_scored_pixel_costs_nothing() -> None:
    scores, masks = draw()
    masks[:] = 255
    assert segmentation_consistency(scores, masks).tolist() == [0.0, 0.0, 0.0]


def test_class_statistics_equal_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 5, 4, 6, generator=generator)
    _, masks = draw()
    masks = masks[:2]
    mean, deviation, cells = class_statistics(features, class_shares(masks, torch.arange(4)))
    for item in range(2):
        for c in range(4):
            weights, values = [], []
            for y in range(4):
                for x in range(6):
                    block = masks[item, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
                    weights.append(float((block == c).float().mean()))
                    values.append(features[item, :, y, x])
            total = sum(weights)
            assert float(cells[item, c]) == pytest.approx(total, abs=1e-5)
            if total == 0:
                continue
            m = sum(w * v for w, v in zip(weights, values, strict=True)) / total
            s = (sum(w * (v - m) ** 2 for w, v in zip(weights, values, strict=True)) / total).sqrt()
            torch.testing.assert_close(mean[item, c], m, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(deviation[item, c], s, rtol=1e-2, atol=2e-3)


def test_feature_matching_is_zero_for_the_statistics_themselves() -> None:
    features = torch.randn(1, 5, 8, 12, generator=torch.Generator().manual_seed(2))
    _, masks = draw()
    masks = masks[1:2]
    mean, deviation, _ = class_statistics(features, class_shares(masks, torch.arange(4)))
    mean[0, 3], deviation[0, 3] = float("nan"), float("nan")
    found = feature_matching({"a": features}, masks, {"a": mean[0]}, {"a": deviation[0]})
    assert float(found) == pytest.approx(0.0, abs=1e-8)
    other = feature_matching({"a": features + 1}, masks, {"a": mean[0]}, {"a": deviation[0]})
    assert float(other) > 0.5


def test_classes_that_no_mask_holds_change_nothing() -> None:
    """Nor does the batch that an item is in, whose other members hold them."""
    features = torch.randn(3, 5, 8, 12, generator=torch.Generator().manual_seed(2))
    _, masks = draw()
    means, deviations = torch.randn(9, 5, generator=torch.Generator().manual_seed(4)), torch.ones(9, 5)
    together = feature_matching({"a": features}, masks, {"a": means}, {"a": deviations})
    alone = feature_matching({"a": features[1:2]}, masks[1:2], {"a": means}, {"a": deviations})
    few = feature_matching({"a": features}, masks, {"a": means[:4]}, {"a": deviations[:4]})
    torch.testing.assert_close(together[1:2], alone)
    assert torch.equal(together, few)


def test_a_class_that_the_bank_never_saw_counts_nowhere() -> None:
    _, masks = draw()
    features = torch.randn(3, 5, 8, 12, generator=torch.Generator().manual_seed(2))
    nothing = torch.full((4, 5), float("nan"))
    assert feature_matching({"a": features}, masks, {"a": nothing}, {"a": nothing}).tolist() == [0.0, 0.0, 0.0]


def test_gradients_agree_with_finite_differences() -> None:
    _, masks = draw()
    masks = masks[:, :4, :4].contiguous()
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(3, 4, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: segmentation_consistency(s, masks), scores)

    features = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    means, deviations = torch.randn(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)
    match = lambda f: feature_matching({"a": f}, masks, {"a": means}, {"a": deviations})  # noqa: E731
    assert torch.autograd.gradcheck(match, features)


def far_features(mean: float, classes_apart: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of deviation 0.1 around `mean`, around means of their own for each class; masks twice as fine."""
    rng = torch.Generator().manual_seed(5)
    masks = torch.randint(0, 4, (2, 16, 24), generator=rng, dtype=torch.uint8)
    masks[0, :, :12], masks[1, 0] = 1, 255
    shift = masks[:, None, ::2, ::2].float().clamp(max=3) * classes_apart
    return mean + shift + 0.1 * torch.randn(2, 5, 8, 12, generator=rng), masks


def naive_statistics(features: torch.Tensor, mask: torch.Tensor, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation over the cells of a class, each cell by the share that the class covers."""
    cells = [(y, x) for y in range(features.shape[1]) for x in range(features.shape[2])]
    blocks = [mask[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] == c for y, x in cells]
    weights = [block.double().mean() for block in blocks]
    values = [features[:, y, x] for y, x in cells]
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    variance = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / sum(weights)
    return mean, variance.sqrt()


def naive_matching(
    features: torch.Tensor, masks: torch.Tensor, means: torch.Tensor, stds: torch.Tensor
) -> torch.Tensor:
    items = []
    for item in range(len(masks)):
        found = []
        for c in range(4):
            mean, std = naive_statistics(features[item], masks[item], c)
            found.append((((mean - means[c]) ** 2 + (std - stds[c]) ** 2) / stds[c] ** 2).mean())
        items.append(torch.stack(found).mean())
    return torch.stack(items)


@pytest.mark.parametrize(("mean", "classes_apart"), [(0.0, 0.0), (100.0, 0.0), (1000.0, 0.0), (100.0, 10.0)])
def test_features_far_from_zero_lose_neither_value_nor_gradient(mean: float, classes_apart: float) -> None:
    features, masks = far_features(mean, classes_apart)
    pairs = [naive_statistics(features[0].double(), masks[0], c) for c in range(4)]
    # of about the size of what float32 keeps of the features, so that neither term hides the other
    means = torch.stack([pair[0] for pair in pairs]) + 0.05
    stds = torch.stack([pair[1] for pair in pairs]) * 1.3
    exact = features.double().requires_grad_(True)
    expected = naive_matching(exact, masks, means, stds)
    (slope,) = torch.autograd.grad(expected.sum(), exact)

    ours = features.requires_grad_(True)
    found = feature_matching({"a": ours}, masks, {"a": means.float()}, {"a": stds.float()})
    (found_slope,) = torch.autograd.grad(found.sum(), ours)
    # a float32 of 1000 is known to 6e-5, a two-thousandth of the deviation; the floor adds 1e-6 to variances of 0.01
    tolerance = 2e-3 if mean == 1000 else 5e-4
    torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=tolerance, atol=0)
    off = (found_slope.double() - slope).norm() / slope.norm()
    assert float(off) < tolerance


@pytest.mark.parametrize("mean", [0.0, 100.0, 1000.0])
@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_an_image_against_its_own_statistics_scores_nothing(mean: float, scale: float) -> None:
    features, masks = far_features(mean)
    features = (features[:1] - mean) * scale + mean
    pairs = [naive_statistics(features[0].double(), masks[0], c) for c in range(4)]
    means, stds = (torch.stack(half).float() for half in zip(*pairs, strict=True))
    found = feature_matching({"a": features}, masks[:1], {"a": means}, {"a": stds})
    assert float(found) < 1e-6 + (mean * 1e-7 / (0.1 * scale)) ** 2


class Largest(TorchDispatchMode):
    """Keeps the number of elements of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_memory_is_that_of_the_features_and_not_that_times_the_classes() -> None:
    rng = torch.Generator().manual_seed(6)
    features = torch.randn(2, 64, 16, 16, generator=rng, requires_grad=True)
    masks = torch.arange(32, dtype=torch.uint8).repeat_interleave(8).reshape(1, 16, 16).repeat(2, 1, 1)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    means, stds = torch.zeros(32, 64), torch.ones(32, 64)
    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        feature_matching({"a": features}, masks, {"a": means}, {"a": stds}).sum().backward()
    assert largest.elements <= features.numel()
    assert sum(kept) < 8 * features.numel()
