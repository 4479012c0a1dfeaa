"""Results of the first format are read as today's."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import read_json
from d3s2.base.formats.records import record_from
from d3s2.results.older_results import current_row
from d3s2.results.records import Results, SetResult, read_results, write_results

ROOT = Path(__file__).resolve().parents[3]


def first_format(results: Results) -> dict[str, Any]:
    """As the first format had them."""
    content = json.loads(json.dumps(asdict(results)))
    del content["format_version"], content["metrics"]
    for row in content["sets"]:
        for name, spread in row.pop("scores").items():
            row |= {f"{name}_mean": spread["mean"], f"{name}_std": spread["std"]}
        row["miou_per_seed"] = row.pop("per_seed")["miou"]
        row["iou_per_class"] = row.pop("per_class")["iou"]
        early = row.pop("early_miou")
        row |= {"early_miou_mean": [one["mean"] for one in early], "early_miou_std": [one["std"] for one in early]}
        row |= {"fw_iou_mean": None, "fw_iou_std": None}
    return content


def test_results_of_the_first_format_are_read(tmp_path: Path, results: Results) -> None:
    (tmp_path / "results.json").write_text(json.dumps(first_format(results)))
    found = read_results(tmp_path / "results.json")
    assert found.sets == results.sets
    assert [metric.title for metric in found.metrics] == ["mIoU", "tail mIoU", "frequency-weighted IoU"]
    write_results(tmp_path / "again.json", found)
    assert read_results(tmp_path / "again.json") == found


def test_a_later_format_is_refused(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(asdict(results) | {"format_version": 3}))
    with pytest.raises(
        StoreError, match=r"results\.json: is of format version 3, this d3s2 reads versions 1 to 2; run"
    ):
        read_results(path)


@pytest.mark.parametrize("damage", [{"sets": 3}, {"sets": [3]}, {"sets": [{"early_miou_mean": 3}]}, {"sets": None}])
def test_damage_in_the_first_format_is_a_sentence(tmp_path: Path, results: Results, damage: dict[str, Any]) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(first_format(results) | damage))
    with pytest.raises(StoreError, match=r"results\.json: key 'sets.*; run `d3s2 evaluate` again\.$"):
        read_results(path)


def test_every_kept_table_is_read() -> None:
    """Beside what a row is, kept ones say their budget and what they were before they were counted anew."""
    fields, num_rows = set(SetResult.__dataclass_fields__), 0
    for path in (ROOT / "benchmarks").glob("*.json"):
        content = read_json(path)
        for row in map(current_row, content.get("sets", []) if isinstance(content, dict) else []):
            assert row.keys() - fields <= {"budget", "as_first_kept", "chosen"}
            own = {key: value for key, value in row.items() if key in fields}
            found: SetResult = record_from(own, SetResult, path.name)
            assert found.mean("miou") is not None
            num_rows += 1
    assert num_rows > 80
