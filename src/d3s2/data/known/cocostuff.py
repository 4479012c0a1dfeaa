"""COCO-Stuff: 171 classes of things and stuff, on 164 thousand images and on the earlier 10 thousand.

COCO numbers 182 labels from 1; eleven of them have no pixel. PNG files of the 164k version hold the number minus 1,
MATLAB files of the 10k version the number itself, with 0 for unlabelled.
"""

from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace

NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush", "banner",
    "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement",
    "pillow", "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock",
    "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs",
    "stone", "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable",
    "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other",
    "waterdrops", "window-blind", "window-other", "wood",
)  # fmt: skip

WITHOUT_PIXELS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Label numbers that no annotation uses: street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door,
blender, hair brush."""

NUMBERS = tuple(number for number in range(1, 183) if number not in WITHOUT_PIXELS)
"""The label number of each class, in the order of train ids."""

# No palette: the ones in use give several classes one colour. The generated one is distinct.
SPACE = LabelSpace(name="COCO-Stuff", names=NAMES)

SPACE_OF_RAW_PNG = LabelSpace(
    name="COCO-Stuff (raw png)",
    names=NAMES,
    raw_ids={number - 1: train for train, number in enumerate(NUMBERS)},
)

SPACE_OF_MATLAB = LabelSpace(
    name="COCO-Stuff (raw mat)",
    names=NAMES,
    raw_ids={number: train for train, number in enumerate(NUMBERS)},
    ignored=(0,),
)

SPACE_FROM_ONE = LabelSpace(
    name="COCO-Stuff-10k (labelTrainIds)",
    names=NAMES,
    raw_ids={train + 1: train for train in range(len(NAMES))},
    ignored=(0,),
)

PLAN_164K = FolderPlan(
    name="cocostuff164k",
    images=Side(("images/{split}", "{split}"), suffixes=(".jpg",)),
    masks={
        "labelTrainIds": MaskFiles(
            Side(("annotations/{split}", "stuffthingmaps/{split}"), "*_labelTrainIds", (".png",)), SPACE
        ),
        "raw": MaskFiles(
            Side(("stuffthingmaps/{split}", "annotations/{split}"), "*", (".png",), skip="*_labelTrainIds"),
            SPACE_OF_RAW_PNG,
        ),
    },
    splits={
        "train": SplitFiles("train2017", num_pairs=118_287),
        "val": SplitFiles("val2017", num_pairs=5_000),
    },
)

PLAN_10K = FolderPlan(
    name="cocostuff10k",
    images=Side(("images/{split}", "images"), suffixes=(".jpg",)),
    masks={
        "labelTrainIds": MaskFiles(
            Side(("annotations/{split}", "annotations"), "*_labelTrainIds", (".png",)), SPACE_FROM_ONE
        ),
        "mat": MaskFiles(Side(("annotations/{split}", "annotations"), suffixes=(".mat",)), SPACE_OF_MATLAB),
    },
    splits={
        "train": SplitFiles("train2014", lists=("imageLists/train.txt", "imagesLists/train.txt"), num_pairs=9_000),
        "test": SplitFiles("test2014", lists=("imageLists/test.txt", "imagesLists/test.txt"), num_pairs=1_000),
    },
)
