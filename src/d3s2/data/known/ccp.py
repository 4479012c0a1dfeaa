"""Clothing Co-Parsing: 1,004 street-fashion photos with pixel masks of 59 labels, 'null' (the background) among them.

The authors give no split of the photos with masks. Without list files d3s2 takes, in name order, every position that
ends in 0, 3 or 7 for testing (302 photos) and the rest for training (702).
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


def in_train(position: int) -> bool:
    """Whether the photo at a position (from 0, in name order) is one of the training split."""
    return not in_test(position)


PLAN = FolderPlan(
    name="ccp",
    images=Side(("images", "photos")),
    masks={
        "index": MaskFiles(Side(("masks",), suffixes=(".png",)), SPACE),
        "mat": MaskFiles(Side(("annotations/pixel-level",), suffixes=(".mat",)), SPACE),
    },
    splits={
        "train": SplitFiles(lists=("train.txt",), takes=in_train, num_pairs=702),
        "test": SplitFiles(lists=("test.txt",), takes=in_test, num_pairs=302),
    },
    inside=("clothing-co-parsing", "clothing-co-parsing-master"),
)
