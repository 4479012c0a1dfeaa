"""The trace of energies is for the page: it may be thin or missing, and no image or label knows of it."""

import json
from pathlib import Path

import pytest
from tiny_run import call, content, distil


def traced(folder: Path, kind: str = "guided") -> list[list[bool]]:
    """For each batch, at which steps its energies were taken."""
    traces = [json.loads(path.read_text()) for path in sorted((folder / "traces").glob(f"{kind}-*.json"))]
    for trace in traces:
        assert [len(trace["noise"])] * 2 == [*map(len, trace["energies"].values())]
    return [[None not in values for values in trace["energies"]["segmentation"]] for trace in traces]


def page(folder: Path) -> str:
    assert call("report", str(folder), "--device", "cpu") == 0
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """`synthesize.trace_every` -> a run with it, of five masks in three batches and three steps."""
    folder = tmp_path_factory.mktemp("trace")
    made = {every: folder / str(every) for every in (0, 1, 2)}
    for every, out in made.items():
        assert distil(out, f"synthesize.trace_every={every}") == 0
    return made


def test_the_distilled_bytes_do_not_depend_on_the_trace(runs: dict[int, Path]) -> None:
    assert content(runs[0]) == content(runs[1]) == content(runs[2])


def test_energies_are_taken_at_every_nth_step_of_both_sets(runs: dict[int, Path]) -> None:
    for kind in ("guided", "unguided"):
        assert traced(runs[0], kind) == [[False, False, False]] * 3
        assert traced(runs[1], kind) == [[True, True, True]] * 3
        assert traced(runs[2], kind) == [[False, True, False]] * 3


def test_the_page_draws_what_was_taken(runs: dict[int, Path]) -> None:
    assert [('id="energies"' in page(runs[every])) for every in (0, 1, 2)] == [False, True, True]


def test_a_run_goes_on_with_another_trace_and_a_page_of_both(runs: dict[int, Path]) -> None:
    folder, before = runs[1], content(runs[1])
    sorted((folder / "images").glob("*.png"))[0].unlink()
    assert distil(folder, "synthesize.trace_every=0") == 0
    assert content(folder) == before
    assert sorted(traced(folder)) == [[False] * 3, [True] * 3, [True] * 3]
    assert 'id="energies"' in page(folder)
