"""Cityscapes, finely annotated: 19 classes, as `_labelIds` (what the archive holds) or `_labelTrainIds`."""

from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace

# name, value in `_labelIds`, colour. Source: labels.py of cityscapesScripts.
CLASSES = (
    ("road", 7, (128, 64, 128)), ("sidewalk", 8, (244, 35, 232)), ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)), ("fence", 13, (190, 153, 153)), ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)), ("traffic sign", 20, (220, 220, 0)), ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)), ("sky", 23, (70, 130, 180)), ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)), ("car", 26, (0, 0, 142)), ("truck", 27, (0, 0, 70)), ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)), ("motorcycle", 32, (0, 0, 230)), ("bicycle", 33, (119, 11, 32)),
)  # fmt: skip
NAMES = tuple(name for name, _, _ in CLASSES)
PALETTE = tuple(colour for _, _, colour in CLASSES)
RAW_IDS = {value: train for train, (_, value, _) in enumerate(CLASSES)}

SPACE = LabelSpace(name="Cityscapes", names=NAMES, palette=PALETTE)
SPACE_OF_LABEL_IDS = LabelSpace(
    name="Cityscapes (labelIds)",
    names=NAMES,
    raw_ids=RAW_IDS,
    ignored=tuple(value for value in range(34) if value not in RAW_IDS),
    palette=PALETTE,
)

PLAN = FolderPlan(
    name="cityscapes",
    images=Side(("leftImg8bit/{split}",), pattern="*_leftImg8bit"),
    masks={
        "labelTrainIds": MaskFiles(Side(("gtFine/{split}",), "*_gtFine_labelTrainIds", (".png",)), SPACE),
        "labelIds": MaskFiles(Side(("gtFine/{split}",), "*_gtFine_labelIds", (".png",)), SPACE_OF_LABEL_IDS),
    },
    splits={
        "train": SplitFiles("train", num_pairs=2_975),
        "val": SplitFiles("val", num_pairs=500),
    },
)
