"""Readers of a user's data, and of what pieces of work leave, with a real file for each; beside those of `readers`."""

import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from damaged import Reader, read_network
from tiny_networks import CLASS_NAMES, save_tiny
from tiny_run import TINY, call
from unknown_data import colour_masks, list_files, panoptic, two_folders

from d3s2.data.catalogue import open_dataset
from d3s2.data.dataset import read_pair
from d3s2.data.folder import read_palette
from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairing import pair_files
from d3s2.evaluation.judges import load_facts
from d3s2.evaluation.student_records import Expected, read_early, read_record, times_scored
from d3s2.pipeline.fitting.features import read_features, teacher_features
from d3s2.pipeline.judge import read_for_judges
from d3s2.pipeline.run import Run, read_config
from d3s2.pipeline.select import read_selection
from d3s2.pipeline.work import join_run
from d3s2.planning import start
from d3s2.selection import explain
from d3s2.store import item_id_for
from d3s2.teacher import load_part, save_part
from d3s2.teacher.bank import BankPart, RunningStatistics
from d3s2.teacher.class_losses import LossSums

CPU = torch.device("cpu")
PALETTE = "name,r,g,b\nnone,0,0,0\nroad,128,64,128\nhouse,70,70,70\ntree,0,128,0\n"


def make_data(folder: Path) -> None:
    """Folders of data in several layouts, and a run of which items are made and parts are there."""
    for name, layout in (("plain", two_folders), ("lists", list_files), ("colours", colour_masks), ("coco", panoptic)):
        layout(folder / "data" / name)
    (folder / "data/plain/classes.txt").write_text("none\nroad\nhouse\ntree\n")
    (folder / "data/colours/palette.csv").write_text(PALETTE)
    first, second = sorted(path.stem for path in (folder / "data/plain/masks").iterdir())[:2]
    (folder / "data/plain/pairs.txt").write_text(f"{first}\nimages/{second}.jpg masks/{second}.png\n")
    _make_shared_run(folder / "shared")
    save_tiny("oneformer", folder / "oneformer")
    statistics = RunningStatistics.empty(2, 3)
    save_part(BankPart({"down1": statistics}, LossSums.empty(2)), folder / "parts" / "0000.safetensors")
    early = folder / "students" / "random.early.json"
    early.write_text('{"10": 0.25, "20": 0.5}')
    shutil.copy(next((folder / "students").glob("random-*.json")), folder / "student.json")


def _make_shared_run(folder: Path) -> None:
    """Put together of strips, with the items made and not joined, and what judges and selections keep of its data."""
    with redirect_stdout(StringIO()):
        words = ("select.strips=2", "evaluate.sets=[random]", "synthesize.unguided_too=false")
        where = ("--out", str(folder), "--device", "cpu")
        assert call("distill", "scenes", *TINY, *words, "--shard", "1/2", *where) == 0
    run = Run(read_config(folder), folder, CPU)
    read_for_judges(run)
    teacher_features(run)


def read_selected(folder: Path) -> None:
    """A selection of composed masks, whose ids name pairs and files."""
    selection = read_selection(folder / "shared")
    explain(selection), [item_id_for(source_id) for source_id in selection.ids]


def join_again(folder: Path) -> None:
    """Joins a copy: who joins finishes the set."""
    copy = folder / "joined"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "shared", copy, ignore=lambda *_: ("models", "judges.parts", "census"))
    join_run(copy)


def read_student(folder: Path) -> None:
    """A record, for a student of which another record is there: what the undamaged one says is expected of it."""
    whole = json.loads((folder / "student.json").read_text())
    test_px = tuple(map(sum, whole["confusion"]))
    expected = Expected(whole["set_name"], whole["student"], whole["depends"], whole["items"], test_px)
    read_record(next((folder / "students").glob("random-*[0-9a-f].json")), expected)
    times_scored(folder, whole["depends"]["test"])


def initialised(name: str) -> Callable[[Path], None]:
    """`d3s2 init` of one of the folders of data."""

    def read(folder: Path) -> None:
        start(folder / "data" / name, folder / "initialised", CPU, overwrite=True)

    return read


def read_coco(folder: Path) -> None:
    dataset = open_dataset("coco-panoptic", "train", folder / "data/coco")
    for item_id in dataset.ids:
        read_pair(dataset, item_id), dataset.pair_digest(item_id)


def read_list(folder: Path) -> None:
    masks = MaskFiles(Side(("masks",), suffixes=(".png",)), LabelSpace("four", ("a", "b", "c", "d")))
    plan = FolderPlan("mine", Side(("images",)), {"index": masks}, {"train": SplitFiles(lists=("pairs.txt",))})
    dataset = pair_files(plan, "train", folder / "data/plain").dataset()
    for item_id in dataset.ids:
        read_pair(dataset, item_id)


DATA_READERS: dict[str, Reader] = {
    "panoptic JSON": Reader("data/coco/annotations/panoptic_train.json", "json", read_coco, 3),
    "panoptic mask": Reader("data/coco/annotations/panoptic_train/*.png", "bytes", read_coco),
    "list file": Reader("data/plain/pairs.txt", "text", read_list, 2),
    "palette": Reader(
        "data/colours/palette.csv", "text", lambda folder: read_palette(folder / "data/colours/palette.csv"), 2
    ),
    "init, mask": Reader("data/plain/masks/*.png", "bytes", initialised("plain")),
    "init, image": Reader("data/plain/images/*.jpg", "bytes", initialised("plain")),
    "init, class list": Reader("data/plain/classes.txt", "text", initialised("plain")),
    "init, list file": Reader("data/lists/ImageSets/Segmentation/train.txt", "text", initialised("lists")),
    "init, palette": Reader("data/colours/palette.csv", "text", initialised("colours")),
    "init, panoptic JSON": Reader("data/coco/annotations/panoptic_val.json", "json", initialised("coco")),
    "composed selection": Reader("shared/selection.json", "json", read_selected, 2),
    "join, selection": Reader("shared/selection.json", "json", join_again),
    "join, run": Reader("shared/run.json", "json", join_again),
    "join, plan": Reader("shared/.d3s2-unfinished/plan.json", "json", join_again),
    "join, provenance": Reader("shared/.d3s2-unfinished/provenance.json", "json", join_again),
    "join, item record": Reader("shared/.d3s2-unfinished/items/*.json", "json", join_again),
    "join, trace": Reader("shared/traces/guided-000000.json", "json", join_again),
    "student record": Reader("students/random-*[0-9a-f].json", "json", read_student, 2),
    "early scores": Reader(
        "students/random.early.json", "json", lambda folder: read_early(folder / "students/random.early.json")
    ),
    "part of a bank": Reader(
        "parts/0000.safetensors", "safetensors", lambda folder: load_part(folder / "parts/0000.safetensors")
    ),
    "part of judges": Reader(
        "shared/judges.parts/*/all-real-0000.safetensors",
        "safetensors",
        lambda folder: load_facts(next(folder.glob("shared/judges.parts/*/all-real-0000.safetensors"))),
    ),
    "features": Reader(
        "shared/models/features-*.safetensors",
        "safetensors",
        lambda folder: read_features(next(folder.glob("shared/models/features-*")), 24),
    ),
    "oneformer config": Reader(
        "oneformer/config.json", "json", lambda folder: read_network(folder / "oneformer", list(CLASS_NAMES), 64), 0.3
    ),
}
