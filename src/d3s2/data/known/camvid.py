"""CamVid in SegNet's version: 480 x 360 frames of a drive, 11 classes, 11 is void. Neighbours are near-duplicates."""

from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace

SPACE = LabelSpace(
    name="CamVid",
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
    ),
    ignored=(11,),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    ignored_colours=((0, 0, 0),),
)  # fmt: skip

PLAN = FolderPlan(
    name="camvid",
    images=Side(("{split}",)),
    masks={"index": MaskFiles(Side(("{split}annot",), suffixes=(".png",)), SPACE)},
    splits={
        "train": SplitFiles("train", num_pairs=367),
        "val": SplitFiles("val", num_pairs=101),
        "test": SplitFiles("test", num_pairs=233),
    },
    inside=("CamVid",),
)
