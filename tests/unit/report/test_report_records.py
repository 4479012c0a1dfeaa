"""results.json survives writing and reading, and nothing that is wrong gets in or out."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3s2.base.errors import StoreError, UsageError
from d3s2.results.records import Results, SetResult, Spread, read_results, write_results


def test_results_survive_the_file(tmp_path: Path, results: Results, failed_row: SetResult) -> None:
    results = replace(results, sets=(*results.sets, failed_row))
    write_results(tmp_path / "results.json", results)
    first = (tmp_path / "results.json").read_bytes()
    assert read_results(tmp_path / "results.json") == results
    write_results(tmp_path / "results.json", results)
    assert (tmp_path / "results.json").read_bytes() == first


def test_the_file_has_the_documented_keys(tmp_path: Path, results: Results) -> None:
    write_results(tmp_path / "results.json", results)
    record = json.loads((tmp_path / "results.json").read_text())
    documented = {"name", "items", "bytes", "student", "seeds", "scores", "per_seed", "per_class"}
    assert documented <= set(record["sets"][0])
    assert set(record["sets"][0]["scores"]["miou"]) == {"mean", "std"}
    assert record["format_version"] == 2


def test_mean_and_deviation_are_those_of_a_sample() -> None:
    values = [0.31, 0.29, 0.36, 0.30]
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.std == pytest.approx(np.std(values, ddof=1))
    assert Spread.of([0.5]) == Spread(0.5, None)
    with pytest.raises(UsageError, match=r"^A mean over seeds needs at least one value; give at least one seed\.$"):
        Spread.of([])


def test_rows_are_ordered_and_found(results: Results) -> None:
    assert [row.name for row in results.of("compact-unet")] == ["random", "distilled-unguided", "distilled", "all"]
    assert results.students == ("compact-unet",)
    assert results.row("balanced", "compact-unet") is None
    assert results.ratio("distilled", "random", "compact-unet") == pytest.approx(0.46 / 0.23)
    assert results.ratio("distilled", "balanced", "compact-unet") is None


def drop(record: dict[str, Any]) -> None:
    del record["sets"][1]["items"]


def misspell(record: dict[str, Any]) -> None:
    record["sets"][0]["mious"] = 1


def as_text(record: dict[str, Any]) -> None:
    record["sets"][0]["items"] = "20"


def per_cent(record: dict[str, Any]) -> None:
    record["sets"][0]["scores"]["miou"]["mean"] = 46.0


def lose_a_seed(record: dict[str, Any]) -> None:
    record["sets"][0]["per_seed"]["miou"].pop()


def lose_a_class(record: dict[str, Any]) -> None:
    record["sets"][0]["per_class"]["iou"].pop()


def repeat(record: dict[str, Any]) -> None:
    record["sets"].append(record["sets"][0])


def no_number(record: dict[str, Any]) -> None:
    del record["sets"][0]["scores"]["miou"]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (drop, "key 'sets.1.items': field required; run `d3s2 evaluate` again."),
        (misspell, "key 'sets.0.mious': unexpected keyword argument; run `d3s2 evaluate` again."),
        (as_text, "key 'sets.0.items': input should be a valid integer, got '20'; run `d3s2 evaluate` again."),
        (
            per_cent,
            "set 'distilled' with student 'compact-unet' holds 46.0, expected every score as a share, 0 to 1.",
        ),
        (
            lose_a_seed,
            "set 'distilled' with student 'compact-unet' has 2 values for 3 seeds, expected one each.",
        ),
        (lose_a_class, "set 'distilled' with student 'compact-unet' has 3 IoUs for 4 classes."),
        (repeat, "set 'distilled' with student 'compact-unet' is there twice, expected one row each."),
        (
            no_number,
            "set 'distilled' with student 'compact-unet' has neither a mIoU nor a failure; give one of them.",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, results: Results, damage: Callable, sentence: str) -> None:
    path = tmp_path / "results.json"
    write_results(path, results)
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError) as caught:
        read_results(path)
    assert str(caught.value) == f"{path}: {sentence}"


def test_a_missing_or_broken_file_is_named(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(StoreError, match=r"results.json: there is no such file; `d3s2 evaluate` makes it\.$"):
        read_results(path)
    path.write_text('{"sets": [')
    with pytest.raises(StoreError, match=r"results.json: cannot be read .*; run `d3s2 evaluate` again\.$"):
        read_results(path)


def test_wrong_results_are_not_written(tmp_path: Path, results: Results) -> None:
    with pytest.raises(UsageError, match=r"results.json: a tail class is outside 0..3\.$"):
        write_results(tmp_path / "results.json", replace(results, tail_classes=(4,)))
    assert not list(tmp_path.iterdir())
