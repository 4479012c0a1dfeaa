"""What `make gpu` does, rehearsed: it resumes, a failure stops nothing else, and what it leaves stays small."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu  # noqa: E402
import pieces as runner  # noqa: E402
from pieces import GRACE_S, Folders, Piece, Record, bytes_of, figures_of, plan_of, run_pieces, table_of  # noqa: E402

from d3s2.recipes import load_run  # noqa: E402

SLOWLY = (
    "import pathlib, time; seen = pathlib.Path(r'{0}'); there = seen.exists(); seen.touch(); there or time.sleep(60)"
)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "out", tmp_path / "work", 300_000)


def python(name: str, folders: Folders, code: str, *leaves: str, **more: object) -> Piece:
    """A piece that runs `code` in its work folder, and notes each start there."""
    place = folders.work / name
    place.mkdir(parents=True, exist_ok=True)
    begin = f"import os; os.chdir(r'{place}'); open('starts', 'a').write('.'); "
    return Piece(name, f"runs {name}", (sys.executable, "-S", "-c", begin + code), leaves, **more)  # type: ignore[arg-type]


def states(records: list[Record]) -> list[str]:
    return [record.state for record in records]


def starts(folders: Folders, name: str) -> int:
    path = folders.work / name / "starts"
    return len(path.read_text()) if path.exists() else 0


def run(pieces: list[Piece], folders: Folders, budget_s: float | None = None) -> list[Record]:
    return run_pieces(pieces, folders, cwd=ROOT, budget_s=budget_s, tell=lambda text: None)


def test_a_failure_is_recorded_the_others_run_and_what_has_finished_is_not_run_again(folders: Folders) -> None:
    write = 'open(\'rate.json\', \'w\').write(\'{"a": {"rate": 2.5}, "b": {"rate": 3}}\')'
    pieces = [
        python("broken", folders, "import pathlib; pathlib.Path('mended').exists() or 1 / 0"),
        python("built-on-it", folders, "pass", after=("broken",)),
        python("empty", folders, "pass", "rate.json"),
        python("rate", folders, write, "rate.json", figures=("*.rate",)),
    ]
    records = run(pieces, folders)
    assert states(records) == ["failed", "waiting", "failed", "finished"]
    assert records[0].says == "exit status 1: ZeroDivisionError: division by zero"
    assert records[1].says == "for broken"
    assert records[2].says == "rate.json: not written"
    assert "| rate | finished | 0 | 1 | rate: a 2.5, b 3 |" in (folders.out / "table.md").read_text()
    assert "rate: runs rate; has finished, not run again" in plan_of(pieces, folders)
    (folders.work / "broken" / "mended").touch()
    assert states(run(pieces, folders)) == ["finished", "finished", "failed", "finished"]
    assert [starts(folders, piece.name) for piece in pieces] == [2, 1, 2, 1]
    assert folders.record(pieces[0]).starts == 2


def test_another_command_is_another_piece_of_work(folders: Folders) -> None:
    run([python("one", folders, "pass")], folders)
    assert states(run([python("one", folders, "1 / 0")], folders)) == ["failed"]


def test_a_limit_fails_what_cannot_resume_and_starts_again_what_can(folders: Folders) -> None:
    limit_s = GRACE_S + 0.3
    code = SLOWLY.format(folders.work / "seen")
    pieces = [
        python("once", folders, "import time; time.sleep(60)", limit_s=limit_s),
        python("resumed", folders, code, resumes=True, limit_s=limit_s),
    ]
    records = run(pieces, folders)
    assert states(records) == ["failed", "finished"]
    assert "took longer than 30 s" in records[0].says
    assert [record.starts for record in records] == [1, 2]


def test_a_call_of_few_minutes_leaves_the_rest_to_the_next(folders: Folders) -> None:
    pieces = [python("short", folders, "pass", limit_s=40.0), python("long", folders, "pass")]
    records = run(pieces, folders, budget_s=60.0)
    assert states(records) == ["finished", "to do"]
    assert "s of this call were left" in records[1].says
    assert states(run(pieces, folders)) == ["finished", "finished"]
    assert starts(folders, "short") == 1


def test_what_the_end_of_a_call_stops_has_not_failed(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LEAST_S", 1.0)
    piece = python("slow", folders, SLOWLY.format(folders.work / "seen"))
    (record,) = run([piece], folders, budget_s=GRACE_S + 1.5)
    assert record.state == "stopped"
    assert "all that was left of this call" in record.says
    assert states(run([piece], folders)) == ["finished"]


def test_what_others_build_on_is_made_again_where_it_is_gone(folders: Folders) -> None:
    made = "open('model', 'w').write('weights')"
    pieces = [python("fit", folders, made, "model"), python("student", folders, "1 / 0", after=("fit",))]
    run(pieces, folders)
    (folders.work / "fit" / "model").unlink()
    run(pieces, folders)
    assert starts(folders, "fit") == 2
    assert (folders.work / "fit" / "model").exists()


def test_results_never_outgrow_their_limit(folders: Folders) -> None:
    code = "[open(name, 'wb').write(bytes(size)) for name, size in {sizes}.items()]"
    pieces = [
        python("much", folders, code.format(sizes={"a.json": 1_000, "b.png": 250_000, "c.png": 100_000}), "a.json",
               also=("*.png",)),
        python("too-much", folders, code.format(sizes={"a.json": 400_000}), "a.json"),
        python("loud", folders, "print('x' * 100 * 2 ** 20)"),
    ]  # fmt: skip
    records = run(pieces, folders)
    assert states(records) == ["finished", "failed", "finished"]
    assert records[0].left_out == ("c.png",)
    assert records[1].says == "a.json: no room"
    assert "no room for c.png" in table_of(pieces, folders)
    assert bytes_of(folders.out) <= folders.most_bytes


def test_a_rehearsal_leaves_figures_and_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rehearse", "--only", "census", "--out", str(tmp_path / "out")]
    assert gpu.main(words) == 0
    shown = capsys.readouterr().out
    assert shown.index("census: masks a second that are counted; at most 9.0 min") < shown.index("census: start 1")
    assert "masks_per_s: census" in (tmp_path / "out" / "table.md").read_text()
    assert gpu.main(words) == 0
    assert "census: start" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["guidance-bfloat16", "attention", "generator-options", "steps-compact-unet", "bank"])
def test_a_benchmark_rehearsed_in_this_process_writes_the_figures_that_the_table_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (piece,) = (piece for piece in gpu.pieces_of(tmp_path, rehearse=True, data=None) if piece.name == name)
    script = importlib.import_module(Path(piece.command[1]).stem)
    monkeypatch.setattr(sys, "argv", list(piece.command[1:]))
    if hasattr(script, "in_own_process"):  # one more process would import everything again
        monkeypatch.setattr(script, "in_own_process", lambda function, *arguments: function(*arguments))
    script.main()
    monkeypatch.undo()
    assert figures_of(piece, tmp_path).count(":") >= 1


def test_every_full_command_names_keys_and_options_that_exist(tmp_path: Path) -> None:
    shared = (ROOT / "benchmarks" / "side_by_side.py").read_text()
    for piece in gpu.pieces_of(tmp_path, rehearse=False, data=tmp_path / "data"):
        assert piece.limit_s <= 540
        words = piece.command[1:]
        if words[0].startswith("benchmarks/"):
            script = (ROOT / words[0]).read_text() + shared
            for flag in (word for word in words if word.startswith("--")):
                assert f'"{flag}"' in script, (piece.name, flag)
        elif words[:2] == ("-m", "d3s2.cli"):
            keys = [word for word in words[4:] if "=" in word and not word.startswith("select.ratio=0.01,")]
            assert load_run(words[3], keys).name == words[3]


def test_only_names_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--rehearse", "--only", "guidanse", "--out", str(tmp_path)]) == 2
    assert "--only guidanse: expected some of tests, guidance" in capsys.readouterr().err
