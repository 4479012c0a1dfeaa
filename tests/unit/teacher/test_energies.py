"""Both losses against naive loops, and their gradients against finite differences."""

import pytest
import torch

from d3s2.teacher.energies import class_shares, class_statistics, feature_matching, segmentation_consistency


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
