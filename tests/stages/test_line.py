"""The whole line, as a user calls it: what it leaves, that it repeats itself, that it resumes after a stop."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_run import TINY, call, content, distil

from d3s2.results.records import read_results
from d3s2.store.reader import DistilledSet
from d3s2.store.verification import verify


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "run"
    assert call("evaluate", "scenes", *TINY, "--out", str(folder), "--device", "cpu") == 0
    return folder


def test_a_run_leaves_everything_that_the_design_names(finished: Path) -> None:
    for name in ("items.parquet", "manifest.json", "README.md", "results.json", "report.html", "gallery.png"):
        assert (finished / name).stat().st_size > 0, name
    assert verify(finished).sound
    assert verify(finished / "unguided").sound
    distilled = DistilledSet(finished)
    assert len(distilled.ids) == 5
    assert distilled.image(distilled.ids[0]).shape == (32, 48, 3)


def test_the_table_holds_every_set_with_two_seeds(finished: Path) -> None:
    results = read_results(finished / "results.json")
    assert [row.name for row in results.sets] == ["random", "balanced", "distilled-unguided", "distilled", "all"]
    assert [row.items for row in results.sets] == [5, 5, 5, 5, 24]
    assert all(len(row.per_seed["miou"]) == 2 for row in results.sets)


def test_energies_are_there_for_every_step(finished: Path) -> None:
    for kind in ("unguided", "guided"):
        traces = [json.loads(path.read_text()) for path in sorted((finished / "traces").glob(f"{kind}-*.json"))]
        assert [len(trace["energies"]["segmentation"]) for trace in traces] == [3, 3, 3]
        assert [len(trace["energies"]["segmentation"][0]) for trace in traces] == [2, 2, 1]
        assert traces[0]["noise"][0] == 1.0


def test_the_page_loads_nothing_from_anywhere(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "independent network" in page


def test_the_page_holds_every_item_as_the_set_does(finished: Path) -> None:
    found = re.search(r'id="items-data">(.*?)</script>', (finished / "report.html").read_text())
    assert found
    told, distilled = json.loads(found[1]), DistilledSet(finished)
    assert [view["key"] for view in told["views"]] == ["mask", "real", "unguided", "guided", "opinion"]
    assert sorted(one["item_id"] for one in told["items"]) == list(distilled.ids)
    for one in told["items"]:
        item = distilled.item(one["item_id"])
        assert one["disagreement"] == pytest.approx(1 - item.teacher_accuracy, abs=1e-3)
        assert one["energies"] == item.energies_after
        assert one["energies_before"] == item.energies_before
        assert one["distance"] >= 0


def test_the_same_call_again_does_nothing_and_changes_nothing(finished: Path) -> None:
    before, when = content(finished), (finished / "images").stat().st_mtime_ns
    assert call("evaluate", "scenes", *TINY, "--out", str(finished), "--device", "cpu") == 0
    assert content(finished) == before
    assert (finished / "images").stat().st_mtime_ns == when


def test_the_page_is_made_again_from_what_is_on_disk(finished: Path) -> None:
    (finished / "report.html").unlink()
    assert call("report", str(finished), "--device", "cpu") == 0
    assert (finished / "report.html").stat().st_size > 0


def test_the_same_call_elsewhere_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    assert distil(tmp_path / "other") == 0
    assert content(tmp_path / "other") == content(finished)


def test_guided_and_unguided_images_differ_and_labels_do_not(finished: Path) -> None:
    guided, unguided = DistilledSet(finished), DistilledSet(finished / "unguided")
    for item_id in guided.ids:
        assert (guided.image(item_id) != unguided.image(item_id)).any()
        assert (guided.mask(item_id) == unguided.mask(item_id)).all()


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "d3s2.cli", "distill", "scenes", *TINY, "--out", str(folder), "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    until = time.monotonic() + 120
    while not list((folder / "images").glob("*.png")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "manifest.json").exists()
    assert distil(folder) == 0
    assert content(folder) == content(finished)


def test_a_damaged_item_is_found_and_made_again(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    image = sorted((folder / "images").glob("*.png"))[1]
    image.write_bytes(image.read_bytes()[:-20])
    assert call("verify", str(folder)) == 1
    assert distil(folder) == 0
    assert content(folder) == content(finished)
    assert call("verify", str(folder)) == 0


def test_global_random_state_is_untouched(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    assert distil(tmp_path / "run") == 0
    assert torch.equal(torch.get_rng_state(), before)
