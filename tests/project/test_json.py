"""--json: every command has it; standard output is one JSON document, and what is for people is on standard error."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tiny_run import TINY, call
from unknown_data import LAYOUTS

from d3s2.commands import COMMANDS

SMALL = (*TINY, "evaluate.seeds=1", "evaluate.sets=[random, distilled]")
LINES = {  # in an order in which each finds what it needs
    "census": "census scenes {small} --out {run}",
    "select": "select scenes {small} --out {run}",
    "fit --dry-run": "fit scenes {small} --dry-run",
    "fit": "fit scenes {small} --out {run}",
    "distill --shard 1/2": "distill scenes {small} --shard 1/2 --out {run}",
    "synthesize --shard 2/2": "synthesize scenes {small} --shard 2/2 --out {run}",
    "join": "join {run}",
    "synthesize": "synthesize scenes {small} --out {run}",
    "distill": "distill scenes {small} --out {run}",
    "evaluate": "evaluate scenes {small} --out {run}",
    "report": "report {run}",
    "verify": "verify {run}",
    "export": "export {run} --format mmseg --to {folder}/mmseg",
    "export --push-to-hub": "export {run} --push-to-hub owner/name --dry-run",
    "ablate": "ablate scenes {small} --vary synthesize.steps=3 --dry-run",
    "demo": "demo --dry-run",
    "init": "init {data} --out {folder}/mine",
    "doctor": "doctor",
}


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each line, called with --json."""
    folder = tmp_path_factory.mktemp("json")
    data = LAYOUTS["two_folders"](folder / "data")
    found = {}
    for name, line in LINES.items():
        words: list[str] = []
        for word in line.split():
            words += SMALL if word == "{small}" else [word.format(run=folder / "run", folder=folder, data=data)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = call(*words, "--json")
        found[name] = Outcome(status, out.getvalue(), err.getvalue())
    return found


def test_every_command_is_called_here() -> None:
    assert {line.split()[0] for line in LINES.values()} == set(COMMANDS)


@pytest.mark.parametrize("name", LINES)
def test_standard_output_is_one_json_document(outcomes: dict[str, Outcome], name: str) -> None:
    found = outcomes[name]
    assert found.status == 0, found.err
    assert isinstance(json.loads(found.out), dict)


def test_what_was_made_is_named(outcomes: dict[str, Outcome]) -> None:
    def said(name: str) -> Any:
        return json.loads(outcomes[name].out)

    assert Path(said("fit")["models"]).is_dir()
    assert said("distill --shard 1/2")["share"] == "1/2"
    assert said("join")["num_items"] == 10  # five with guidance, and five without
    assert Path(said("report")["page"]) == Path(said("evaluate")["page"])
    assert Path(said("export")["to"]).is_dir()
    assert said("export --push-to-hub")["address"] is None
    assert said("verify")["sound"] is True
    assert [row["name"] for row in said("evaluate")["results"]["sets"]] == ["random", "distilled"]


def test_progress_is_on_standard_error(outcomes: dict[str, Outcome]) -> None:
    assert "students: 2/2" in outcomes["evaluate"].err
    assert "student" not in outcomes["fit"].out


def test_a_refusal_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("verify", str(tmp_path), "--json") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("d3s2: ")
