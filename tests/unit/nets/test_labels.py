"""Labels of a network against the classes of a data set."""

import pytest
import torch

from d3s2.base.errors import ModelError
from d3s2.nets.labels import group_labels, merge_scores

KNOWN = ("sky", "road", "tree", "car", "van")


def test_the_same_classes_need_no_map_and_another_order_is_followed_by_name() -> None:
    assert group_labels("net", KNOWN, KNOWN) == ((0,), (1,), (2,), (3,), (4,))
    assert group_labels("net", KNOWN, ("van", "sky", "road", "car", "tree")) == ((4,), (0,), (1,), (3,), (2,))


def test_a_map_takes_names_and_ids_and_leaves_the_rest_to_their_own_names() -> None:
    groups = group_labels("net", KNOWN, ("vehicle", "sky", "ground"), {"vehicle": ["car", 4], "ground": "road"})
    assert groups == ((3, 4), (0,), (1,))


def test_labels_in_order_need_no_names() -> None:
    assert group_labels("net", ("LABEL_0", "LABEL_1"), ("sky", "road"), "in-order") == ((0,), (1,))


def test_several_labels_of_one_class_are_added_as_probabilities() -> None:
    scores = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    merged = merge_scores(scores, ((3, 4), (0,), (1, 2))).softmax(dim=1)
    p = scores.softmax(dim=1)
    torch.testing.assert_close(merged, torch.stack([p[:, 3] + p[:, 4], p[:, 0], p[:, 1] + p[:, 2]], dim=1))


def test_labels_of_no_class_share_their_probability_out_among_the_rest() -> None:
    scores = torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    merged = merge_scores(scores, ((4,), (1,))).softmax(dim=1)
    p = scores.softmax(dim=1)[:, [4, 1]]
    torch.testing.assert_close(merged, p / p.sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("known", "wanted", "label_map", "said"),
    [
        (KNOWN, ("sky", "sea"), None, r"5 classes instead of 2; without 'sea'; with 'road', 'tree', 'car', 'van'\)"),
        (("LABEL_0", "LABEL_1"), ("sky", "sea"), None, r"no names; .* map 'in-order' says so\); .* give a label map"),
        (
            KNOWN,
            ("sky", "sea"),
            "in-order",
            r"5 labels and the data set 2 classes, so they cannot be the same in order",
        ),
        (KNOWN, ("sky",), {"skye": "sky"}, r"names class 'skye', which the data set has not; did you mean 'sky'\?"),
        (KNOWN, ("sky", "lane"), {"lane": "raod"}, r"'lane' is mapped to 'raod', which is no label .* mean 'road'\?"),
        (KNOWN, ("sky", "lane"), {"lane": 5}, r"'lane' is mapped to label 5, outside 0\.\.4"),
        (KNOWN, ("sky", "lane"), {"lane": []}, r"gives no label for class 'lane'"),
        (KNOWN, ("sky", "lane"), {"lane": ["road", "sky"]}, r"'sky' is mapped to both 'sky' and 'lane'"),
        (KNOWN, ("sky", "lane"), {"sky": "sky"}, r"'lane' is mapped to 'lane', which is no label"),
        (("sky", "sky"), ("sky",), {"sky": "sky"}, r"several labels called 'sky'; map class 'sky' to ids"),
    ],
)
def test_what_does_not_fit_is_named(
    known: tuple[str, ...], wanted: tuple[str, ...], label_map: object, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        group_labels("net", known, wanted, label_map)  # type: ignore[arg-type]
