"""Every reader of a file that may be damaged, with a real file for it: what a small run left, and a few beside it.

Another reader is one entry of `READERS`.
"""

from contextlib import redirect_stdout
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import yaml
from damaged import Reader, read_network
from data_readers import DATA_READERS, make_data
from tiny_networks import CLASS_NAMES, save_tiny
from tiny_run import TINY, call

from d3s2.base.config import read_yaml, with_overrides
from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.formats.files import write_json
from d3s2.data.census.take import read_bad
from d3s2.data.folder import read_folder_plan
from d3s2.generator.compact.network import load_generator
from d3s2.generator.schedules import levels_of
from d3s2.judgements import read_judgements
from d3s2.nets.compact.unet import CompactUNet
from d3s2.pipeline.cost import accounted, read_costs
from d3s2.pipeline.fitting.record import is_fitted
from d3s2.pipeline.guidance_cost import GUIDANCE_COST
from d3s2.pipeline.report import _energies, _notes, _provenance
from d3s2.pipeline.run import Run, read_config
from d3s2.pipeline.select import read_selection
from d3s2.recipes import load_run
from d3s2.report.ablation_tables import ablation_csv, ablation_table
from d3s2.report.judgement_tables import judgements_table
from d3s2.report.tables import results_table, to_markdown
from d3s2.results.ablation import Ablation, AblationRow, read_ablation, write_ablation
from d3s2.results.records import read_results
from d3s2.results.student_rows import read_student_rows
from d3s2.selection.picks import explain
from d3s2.store.items import json_bytes
from d3s2.store.reader import DistilledSet
from d3s2.store.verification import verify
from d3s2.store.writer import SetWriter
from d3s2.teacher.bank import load_bank

CPU = torch.device("cpu")


def make_run(folder: Path) -> None:
    """Everything that READERS read, made by the code that makes it for users."""
    with redirect_stdout(StringIO()):
        words = ("synthesize.soft={}", "evaluate.seeds=1", "evaluate.sets=[random, distilled]")
        assert call("evaluate", "scenes", *TINY, *words, "--out", str(folder), "--device", "cpu") == 0
    costs = {"unguided_s": 1.0, "fast_s": 2.0, "full_s": 3.0, "fast_ratio": 2.0, "full_ratio": 3.0}
    write_json(folder / GUIDANCE_COST, costs)
    bad = {"dataset": "scenes/train", "num_masks": 24, "skipped": True, "masks": {"3": "is not an image"}}
    write_json(folder / "census-bad" / "bad_masks.json", bad)
    results = read_results(folder / "results.json")
    energies = {"segmentation": 1.5}
    rows = tuple(AblationRow("strength", "1", ("a.b=1",), 0.1, energies, 2.0, result) for result in results.sets)
    rest = {key: getattr(results, key) for key in ("dataset", "hardware", "date", "commit", "command", "versions")}
    write_ablation(folder / "ablation-val.json", Ablation(rows=rows, config={}, **rest))
    save_tiny("segformer", folder / "segformer")
    checkpoint(folder).save(3, 1.5)
    (folder / "run.yaml").write_text(yaml.safe_dump(read_config(folder).model_dump(mode="json")))
    plan: dict[str, Any] = {"name": "mine", "classes": ["a", "b"], "images": {"folder": "i"}, "masks": {"folder": "m"}}
    plan["masks"] |= {"encoding": "colour", "ignore_colours": [[0, 0, 0]]}
    plan |= {"palette": {"a": [1, 2, 3], "b": [4, 5, 6]}, "splits": {"train": {}, "test": {"folder": "t"}}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(plan))
    begin_set(folder)
    make_data(folder)


def begin_set(folder: Path) -> None:
    """An unfinished set beside the finished one, with the record of one item."""
    item = DistilledSet(folder).items[0]
    writer = SetWriter(folder / "begun", "digest", DistilledSet(folder).space)
    record = writer.folder / ".d3s2-unfinished" / "items" / f"{item.item_id}.json"
    record.parent.mkdir()
    record.write_bytes(json_bytes(asdict(replace(item, soft_file=None, soft_sha256=None))))


def checkpoint(folder: Path) -> Checkpoint:
    """Of a training that took a few steps."""
    net = CompactUNet(num_classes=2, width=8)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    if not (folder / "checkpoint.pt").exists():
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    return Checkpoint(folder / "checkpoint.pt", {"net": net, "optimiser": optimiser, "rate": rate})


def resumed(folder: Path) -> None:
    state = checkpoint(folder)
    state.load(CPU)
    for parameter in state.parts["net"].parameters():
        parameter.grad = torch.ones_like(parameter)
    state.parts["optimiser"].step()
    state.parts["rate"].step()


def run_of(folder: Path) -> Run:
    return Run(read_config(folder), folder, CPU)


def read_set(folder: Path) -> None:
    distilled = DistilledSet(folder)
    first = distilled.items[0].item_id if distilled.items else ""
    distilled.mask(first), distilled.image(first), distilled.soft(first), distilled.space.colours
    _provenance(folder, None)
    verify(folder)


def read_generator(folder: Path) -> None:
    model, scheduler = load_generator(folder / "models" / "generator", 18)
    levels_of(scheduler, 3)
    model(torch.zeros(1, 3, 16, 16), torch.zeros(1), torch.zeros(1, 16, 16, dtype=torch.long))


def read_segformer(folder: Path) -> None:
    read_network(folder / "segformer", list(CLASS_NAMES))


def read_soft(folder: Path) -> None:
    distilled = DistilledSet(folder)
    for item_id in distilled.ids:
        distilled.soft(item_id)


def resume_set(folder: Path) -> None:
    SetWriter(folder / "begun", "digest", DistilledSet(folder).space).done()


def show_ablation(folder: Path) -> None:
    ablation = read_ablation(folder / "ablation-val.json")
    ablation_table(ablation), ablation_csv(ablation)


def read_teacher(folder: Path) -> None:
    read_network(folder / "models" / "teacher", list(DistilledSet(folder).space.names))


def read_overrides(folder: Path) -> None:
    text = (folder / "mine.yaml").read_text(encoding="utf-8", errors="replace")
    with_overrides({"a": {"b": 1}}, [f"a.c={text}", f"{text.replace(':', '')}=1"])


def add_cost(folder: Path) -> None:
    with accounted(folder, "select"):
        pass


READERS: dict[str, Reader] = {
    "manifest": Reader("manifest.json", "json", read_set, 3),
    "items": Reader("items.parquet", "parquet", read_set, 2),
    "soft labels": Reader("soft/*.safetensors", "safetensors", read_soft),
    "item record": Reader("begun/.d3s2-unfinished/items/*.json", "json", resume_set),
    "plan of a set": Reader("begun/.d3s2-unfinished/plan.json", "json", resume_set),
    "results": Reader(
        "results.json", "json", lambda folder: to_markdown(results_table(read_results(folder / "results.json"))), 3
    ),
    "ablation": Reader("ablation-val.json", "json", show_ablation, 2),
    "judges": Reader(
        "judges.json", "json", lambda folder: judgements_table(read_judgements(folder / "judges.json")), 2
    ),
    "student rows": Reader(
        "records.parquet", "parquet", lambda folder: read_student_rows(folder / "records.parquet"), 2
    ),
    "census": Reader("census/census.parquet", "parquet", lambda folder: run_of(folder).census, 2),
    "bad masks": Reader("census-bad/bad_masks.json", "json", lambda folder: read_bad(folder / "census-bad")),
    "selection": Reader("selection.json", "json", lambda folder: explain(read_selection(folder)), 2),
    "trace": Reader("traces/guided-000001.json", "json", _energies, 2),
    "cost": Reader("cost.json", "json", read_costs),
    "cost, added to": Reader("cost.json", "json", add_cost),
    "cost of guidance": Reader(GUIDANCE_COST, "json", _notes),
    "run": Reader("run.json", "json", read_config, 3),
    "run file": Reader("run.yaml", "yaml", lambda folder: load_run(str(folder / "run.yaml")), 3),
    "data set file": Reader("mine.yaml", "yaml", lambda folder: read_folder_plan(folder / "mine.yaml"), 3),
    "YAML": Reader("mine.yaml", "yaml", lambda folder: read_yaml(folder / "mine.yaml")),
    "overrides": Reader("mine.yaml", "yaml", read_overrides),
    "fitted": Reader(
        "models/teacher/fitted.json", "json", lambda folder: is_fitted(run_of(folder), folder / "models/teacher"), 0.5
    ),
    "generator config": Reader("models/generator/config.json", "json", read_generator),
    "generator weights": Reader("models/generator/*.safetensors", "safetensors", read_generator),
    "generator schedule": Reader("models/generator/scheduler/*.json", "json", read_generator),
    "teacher config": Reader("models/teacher/config.json", "json", read_teacher),
    "teacher classes": Reader("models/teacher/classes.json", "json", read_teacher),
    "teacher weights": Reader("models/teacher/*.safetensors", "safetensors", read_teacher),
    "bank": Reader(
        "models/bank-*.safetensors",
        "safetensors",
        lambda folder: load_bank(next((folder / "models").glob("bank-*")), {}),
        2,
    ),
    "segformer config": Reader("segformer/config.json", "json", read_segformer, 0.5),
    "segformer weights": Reader("segformer/*.safetensors", "safetensors", read_segformer, 0.5),
    "segformer preprocessing": Reader("segformer/preprocessor_config.json", "json", read_segformer, 0.5),
    "checkpoint": Reader("checkpoint.pt", "checkpoint", resumed, 2),
} | DATA_READERS
