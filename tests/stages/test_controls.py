"""What a distilled set is compared with, through the command line: soft labels of real images, the best real subset,
draws, and the validation split that choices are made on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import TINY, call, content

from d3s2.base.pixels import to_unit
from d3s2.data.known.scenes import Scenes
from d3s2.nets.loading import load_segmenter
from d3s2.results.records import read_results
from d3s2.results.student_rows import read_student_rows
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soften
from d3s2.store.soft.files import read_soft, soft_path
from d3s2.store.soft.labels import soft_bytes
from d3s2.store.verification import verify

SETS = "random, random-soft, best-real, best-real-soft, distilled, distilled-soft, random-soft@distilled-soft, all-soft"
ASKED = (
    *TINY,
    "data.options={count: {train: 24, val: 5, test: 6}, size_px: [32, 48]}",
    "synthesize.soft={num_top: 3, cell_px: 5}",
    "synthesize.unguided_too=false",
    "synthesize.trace_every=0",
    f"evaluate.sets=[{SETS}]",
    "evaluate.draws=2",
    "evaluate.best_real={candidates: [balanced, medoids], seeds: 1}",
)
EVALUATE = ("evaluate", "scenes", *ASKED)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("controls") / "run"
    assert call(*EVALUATE, "--out", str(folder), "--device", "cpu") == 0
    return folder


def test_soft_labels_of_real_images_are_made_and_stored_as_those_of_synthetic_ones(run: Path) -> None:
    (folder,) = (run / "soft-real").iterdir()
    real = Scenes("train", 24, (32, 48))
    assert {path.name for path in folder.iterdir()} == {f"{item_id}.safetensors" for item_id in real.ids}
    teacher = load_segmenter(run / "models/teacher", real.space.names, device=torch.device("cpu"))
    for item_id in real.ids[:3]:
        image = torch.from_numpy(real.image(item_id)).permute(2, 0, 1)[None]
        with torch.no_grad():
            seen = teacher(to_unit(image)).scores.softmax(dim=1)[0]
        expected, stored = soften(seen, 3, 5), read_soft(folder, item_id, 18)
        assert (stored.classes == expected.classes).all()
        assert np.abs(stored.weights.astype(int) - expected.weights).max() <= 1  # another number of threads
        assert soft_path(folder, item_id).stat().st_size == len(soft_bytes(expected))
        of_set = DistilledSet(run).soft(DistilledSet(run).ids[0])
        assert of_set is not None
        assert of_set.classes.shape == stored.classes.shape


def test_their_bytes_count_and_sets_at_equal_bytes_take_them_along(run: Path) -> None:
    rows = {row.name: row for row in read_results(run / "results.json").sets}
    (folder,) = (run / "soft-real").iterdir()
    one = np.mean([path.stat().st_size for path in folder.iterdir()])
    assert rows["random-soft"].bytes - rows["random"].bytes == pytest.approx(5 * one, rel=0.01)
    assert rows["random-soft"].jpeg_bytes - rows["random"].jpeg_bytes == pytest.approx(5 * one, rel=0.01)
    assert rows["random"].jpeg_bytes < rows["random"].bytes
    like = rows["random-soft@distilled-soft"]
    assert like.bytes == pytest.approx(rows["distilled-soft"].bytes, rel=0.6 / like.items + 0.1)


def test_the_best_real_subset_is_chosen_on_validation_and_the_choice_recorded(run: Path) -> None:
    results = read_results(run / "results.json")
    assert results.dataset == "scenes/test"
    assert [(choice.soft, choice.dataset) for choice in results.best_real] == [
        (False, "scenes/val"),
        (True, "scenes/val"),
    ]
    for choice in results.best_real:
        kept = json.loads((run / f"best_real{'-soft' if choice.soft else ''}.json").read_text())
        assert kept["chosen"] == choice.chosen == max(choice.scores, key=lambda name: np.mean(choice.scores[name]))
        assert {name: len(scores) for name, scores in choice.scores.items()} == {"balanced": 1, "medoids": 1}
    records = [json.loads(path.read_text()) for path in (run / "students").glob("*.json")]
    tried = {(one["set_name"], np.sum(one["confusion"])) for one in records if one["set_name"].startswith("medoids")}
    assert tried == {("medoids", 5 * 32 * 48), ("medoids-soft", 5 * 32 * 48)}


@pytest.mark.slow
def test_a_share_makes_draws_and_choices_as_one_process_does(run: Path, tmp_path: Path) -> None:
    made = ("students", "draws", "soft-real", "best_real.json", "best_real-soft.json", "judges.json", "results.json")
    shutil.copytree(run, tmp_path / "run", ignore=lambda *_: made)
    assert call(*EVALUATE, "--out", str(tmp_path / "run"), "--device", "cpu", "--shard", "2/2") == 0
    assert content(tmp_path / "run/draws/1") == content(run / "draws/1")
    for name in ("best_real.json", "best_real-soft.json"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    here, there = (sorted((one / "students").glob("*.json")) for one in (run, tmp_path / "run"))
    assert [path.name for path in here] == [path.name for path in there]
    for one, other in zip(here, there, strict=True):
        assert json.loads(one.read_text())["confusion"] == json.loads(other.read_text())["confusion"]


def test_each_draw_is_the_set_of_the_next_seed_from_the_same_models(run: Path) -> None:
    first, second = DistilledSet(run), DistilledSet(run / "draws" / "1")
    assert verify(run / "draws" / "1").sound
    assert (second.manifest["config"]["seed"], first.manifest["config"]["seed"]) == (1, 0)
    assert first.manifest["models"]["teacher"] == second.manifest["models"]["teacher"]
    for item_id in set(first.ids) & set(second.ids):
        assert (first.image(item_id) != second.image(item_id)).any()
    rows, _ = read_student_rows(run / "records.parquet")
    records = {}
    for path in (run / "students").glob("distilled-compact*.json"):
        record = json.loads(path.read_text())
        records[record["seed"]] = record["depends"]["pairs"]
    assert records[0] != records[1]
    assert len(rows) == 16


def test_tables_and_page_tell_of_both_bases_and_of_the_spread(run: Path) -> None:
    results = read_results(run / "results.json")
    assert (results.draws, results.times_scored) == (2, 1)
    found = {(one.ours, one.base): one for one in results.comparisons}
    assert {("distilled", "random"), ("distilled", "best-real"), ("distilled-soft", "best-real-soft")} <= set(found)
    mine = results.row("distilled", "compact-unet")
    theirs = results.row("best-real", "compact-unet")
    assert mine is not None
    assert theirs is not None
    expected = np.mean(mine.per_seed["miou"]) - np.mean(theirs.per_seed["miou"])
    assert found["distilled", "best-real"].difference == pytest.approx(expected)
    table, page = (run / "results.md").read_text(), (run / "report.html").read_text()
    assert "| × random | × best real |" in table
    assert "Deviations are over students and 2 draws of the distilled set." in table
    assert "the best of 2 by mIoU on scenes/val" in table
    assert "| set | items | hard, % | soft, % | soft - hard, points |" in table
    assert page.index("over the best real subset of its size") < page.index("over a random one of its size")
    for row in results.sets:  # a verdict is given by its interval alone
        assert row.failure is None


def test_evaluated_on_validation_the_test_split_is_not_read(run: Path, tmp_path: Path) -> None:
    words = (*ASKED, "evaluate.split=val", "evaluate.sets=[random, best-real]", "evaluate.draws=1")
    folder = tmp_path / "run"
    assert call("evaluate", "scenes", *words, "--out", str(folder), "--device", "cpu") == 0
    assert read_results(folder / "results.json").dataset == "scenes/val"
    assert (folder / "census-val").is_dir()
    assert not (folder / "census-test").exists()


def test_students_are_scored_at_the_size_of_the_real_masks(tmp_path: Path) -> None:
    larger = "data.options={count: {train: 24, test: 6}, size_px: [48, 80]}"
    words = (*TINY, larger, "synthesize.unguided_too=false", "evaluate.sets=[random]", "evaluate.seeds=1")
    native, folder = "evaluate.scored_at=native", tmp_path / "run"
    for asked in ((), (native,), (native,)):
        assert call("evaluate", "scenes", *words, *asked, "--out", str(folder), "--device", "cpu") == 0
    records = [json.loads(path.read_text()) for path in (folder / "students").glob("*.json")]
    scored = {record["depends"].get("scored_at", "working"): np.sum(record["confusion"]) for record in records}
    assert scored == {"working": 6 * 32 * 48, "native": 6 * 48 * 80}
    assert (read_results(folder / "results.json").scored_at, len(records)) == ("native", 2)
    assert "Scored at the size of the real masks." in (folder / "results.md").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("data.val=train",),
            "data.val and data.train are both 'train', and what is chosen has to be chosen on pairs of",
        ),
        (("data.val=test",), "data.val and data.test are both 'test', and what is chosen has to be chosen on pairs of"),
        (("evaluate.draws=3",), "evaluate.draws is 3 and evaluate.seeds 2, so that some draws would train nobody"),
    ],
)
def test_what_would_choose_on_other_pairs_is_refused(
    words: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*EVALUATE, *words, "--out", str(tmp_path / "run"), "--device", "cpu") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run" / "images").exists()
