"""A run whose masks are put together: distilled, evaluated beside the same real pixels, and shown on the page."""

from pathlib import Path

from tiny_run import TINY, call, content

from d3s2.data.strips import sources_of
from d3s2.results.records import read_results
from d3s2.store import DistilledSet

WORDS = (
    *TINY,
    "select.strips=2",
    "synthesize.start=0.7",
    "evaluate.sets=[balanced, composed, composed-soft, distilled, distilled-soft]",
    "synthesize.soft={}",
    "evaluate.seeds=1",
)


def test_a_run_of_composed_masks(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert call("evaluate", "scenes", *WORDS, "--out", str(out), "--device", "cpu") == 0
    made = DistilledSet(out)
    assert all(len(sources_of(item.source_id)) == 2 for item in made.items)
    rows = {row.name: row for row in read_results(out / "results.json").sets}
    assert rows["composed"].items == rows["distilled"].items == len(made.items)
    assert "composed real" in (out / "report.html").read_text()
    assert call("verify", str(out)) == 0
    again = tmp_path / "again"
    assert call("distill", "scenes", *WORDS, "--out", str(again), "--device", "cpu") == 0
    assert content(again) == {name: found for name, found in content(out).items() if name in content(again)}


def test_composed_real_pairs_need_composed_masks(tmp_path: Path, capsys) -> None:
    words = (*TINY, "evaluate.sets=[composed]", "evaluate.seeds=1")
    assert call("evaluate", "scenes", *words, "--out", str(tmp_path / "run"), "--device", "cpu") == 2
    assert "evaluate.sets names 'composed'" in " ".join(capsys.readouterr().err.split())
