"""Pascal VOC 2012 segmentation: 21 classes with the background, 255 on borders; and the augmented training list."""

from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace

NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
    "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip

PALETTE = (
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
    (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128), (192, 128, 128),
    (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
)  # fmt: skip

SPACE = LabelSpace(name="VOC 2012", names=NAMES, palette=PALETTE, ignored_colours=((224, 224, 192),))

LISTS = "ImageSets/Segmentation"

PLAN = FolderPlan(
    name="voc2012",
    images=Side(("JPEGImages",), suffixes=(".jpg",)),
    masks={"index": MaskFiles(Side(("SegmentationClass",), suffixes=(".png",)), SPACE)},
    splits={
        "train": SplitFiles(lists=(f"{LISTS}/train.txt",), num_pairs=1_464),
        "val": SplitFiles(lists=(f"{LISTS}/val.txt",), num_pairs=1_449),
        "trainval": SplitFiles(lists=(f"{LISTS}/trainval.txt",), num_pairs=2_913),
        "trainaug": SplitFiles(
            lists=(f"{LISTS}/trainaug.txt", f"{LISTS}/train_aug.txt"), masks="SegmentationClassAug", num_pairs=10_582
        ),
    },
    inside=("VOCdevkit/VOC2012", "VOC2012"),
)
