"""Clothing Co-Parsing: 1,004 street-fashion photos with pixel masks of 59 labels, 'null' (the background) among them.

The authors give no split of the photos with masks. Without list files d3s2 takes, in name order, every position that
ends in 0, 3 or 7 for `test` (302 photos); the rest is `trainval` (702). Every sixth photo of that is `val` (117), where
choices are made, the others are `train` (585).
"""

from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace

SPACE = LabelSpace(
    name="CCP",
    names=(
        "null", "accessories", "bag", "belt", "blazer", "blouse", "bodysuit", "boots", "bra", "bracelet", "cape",
        "cardigan", "clogs", "coat", "dress", "earrings", "flats", "glasses", "gloves", "hair", "hat", "heels",
        "hoodie", "intimate", "jacket", "jeans", "jumper", "leggings", "loafers", "necklace", "panties", "pants",
        "pumps", "purse", "ring", "romper", "sandals", "scarf", "shirt", "shoes", "shorts", "skin", "skirt",
        "sneakers", "socks", "stockings", "suit", "sunglasses", "sweater", "sweatshirt", "swimwear", "t-shirt", "tie",
        "tights", "top", "vest", "wallet", "watch", "wedges",
    ),
)  # fmt: skip
"""In the order of the archive's label_list.mat."""

TEST_ENDINGS = (0, 3, 7)


def in_test(position: int) -> bool:
    """Whether the photo at a position (from 0, in name order) is one of the test split."""
    return position % 10 in TEST_ENDINGS


def in_trainval(position: int) -> bool:
    """Whether the photo at a position (from 0, in name order) is none of the test split."""
    return not in_test(position)


EVERY = 6
"""One in so many photos of `trainval` is one of `val`."""


def in_val(position: int) -> bool:
    """Whether the photo at a position of `trainval` (from 0) is one of `val`."""
    return position % EVERY == EVERY - 1


def in_train(position: int) -> bool:
    """Whether the photo at a position of `trainval` (from 0) is one of `train`."""
    return not in_val(position)


PLAN = FolderPlan(
    name="ccp",
    images=Side(("images", "photos")),
    masks={
        "index": MaskFiles(Side(("masks",), suffixes=(".png",)), SPACE),
        "mat": MaskFiles(Side(("annotations/pixel-level",), suffixes=(".mat",)), SPACE),
    },
    splits={
        "train": SplitFiles(lists=("train.txt",), takes=in_trainval, part=in_train, num_pairs=585),
        "val": SplitFiles(lists=("train.txt",), takes=in_trainval, part=in_val, num_pairs=117),
        "trainval": SplitFiles(lists=("train.txt",), takes=in_trainval, num_pairs=702),
        "test": SplitFiles(lists=("test.txt",), takes=in_test, num_pairs=302),
    },
    inside=("clothing-co-parsing", "clothing-co-parsing-master"),
)
