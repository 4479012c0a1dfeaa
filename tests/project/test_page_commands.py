"""Commands and Python on the pages run where they stand; each that does not has its reason here."""

import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import yaml
from test_pages import FENCE, PAGES, commands_on
from tiny_run import TINY, call, distil
from unknown_data import LAYOUTS

from d3s2.data.census import MaskCensus

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("evaluate.seeds=1", "evaluate.sets=[random, distilled]")
OWN_DATA = (*(word for word in TINY if not word.startswith(("data.", "select."))), *SMALL, "data.size=[32, 48]")

TINY_WORDS: dict[str, tuple[str, ...]] = {
    r"evaluate mine/run\.yaml --out": OWN_DATA,
    r"(distill|evaluate) ccp data\.dataset=plants\.yaml .*--out runs/plants": (*OWN_DATA, "select.ratio=0.3"),
    r"select scenes --out runs/demo": TINY,
}
"""What makes a command small; it runs with these words behind it."""

PLANNED = (
    r"evaluate scenes 'evaluate\.metrics=",  # test_examples.py evaluates with it
    r"evaluate streets/run\.yaml --out",  # as README's `evaluate mine/run.yaml`, which runs
    r"ablate scenes --axis",  # tests/stages/test_ablation_stage.py runs axes
    r"fit scenes teacher\.source=null",  # minutes; tests/stages run fits
)
"""Only the plan of these is made (`--dry-run`): keys and values are checked, nothing is trained."""

NOT_RUN: dict[str, str] = {
    r"^demo --out": "takes minutes; its plan is made in test_rules.py, and tests/stages run its steps",
    r"(--dataset|evaluate|fit) (ade20k|cocostuff164k)(?! --dry-run)": "needs the data set: test_full_recipes.py",
    r"generator\.fit\.start=runs/scenes-fit": "needs what the call before it fits: test_compact_fit.py",
    r"--push-to-hub .*--private$": "uploads: test_publish.py does so to a hub of its own",
    r"--install-completion": "changes the files of a shell",
    r"\bfit \.\.\.|data\.size=\S+ \.\.\.": "is abridged on the page",
    r"my\.yaml": "is any run file of the generators above it: test_fit_on_latents.py, test_fit_controlnet.py",
    r"^distill mine\.yaml --out": "names own code: test_examples.py",
    r"run\.yaml.* --out (/shared/run|runs/steps)": "belongs to a cluster, or to any run file: test_executors_bytes.py",
}
SNIPPETS: dict[str, tuple[int, ...]] = {"distilled-set.md": (0, 1, 2), "selection.md": (0,)}
"""Which Python snippets of a page run, in one namespace."""
SNIPPETS_NOT_RUN: dict[str, str] = {
    "README.md": "takes minutes; test_docstrings.py runs the same call on less data",
    "datasets.md": "needs ADE20K: test_known_data_sets.py opens a miniature",
    "extending.md": "shows parts of the files in examples, which test_examples.py runs",
    "generators.md": "needs published weights, or is a sketch: test_controlnet.py, test_examples.py",
    "guidance.md": "is the last line of the example of guided_sample, or a sketch: test_docstrings.py",
    "networks.md": "needs published weights, or is a sketch: test_loading.py, test_fresh.py",
}

COMMANDS = {page.name: [*commands_on(page.read_text(encoding="utf-8"))] for page in PAGES}
RUN_PAGES = [
    name for name, lines in COMMANDS.items() if any(not any(re.search(one, line) for one in NOT_RUN) for line in lines)
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `d3s2 demo` leaves, tiny."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert distil(folder) == 0
    return folder


@pytest.fixture
def at_home(tmp_path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds what the pages speak of; the test works in it."""
    for name in ("mine", "streets"):
        LAYOUTS["split_folders"](tmp_path / "data" / name)
    (page,) = (text for kind, text in FENCE.findall((ROOT / "README.md").read_text()) if kind == "yaml")
    plan = yaml.safe_load(page)
    for split in plan["splits"]:
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        pairs = LAYOUTS["two_folders"](tmp_path / f"pairs-{split}")
        for file in (pairs / "images").iterdir():
            shutil.copy(file, tmp_path / split / "images" / file.name)
            shutil.copy(pairs / "masks" / f"{file.stem}.png", tmp_path / split / "masks")
    (tmp_path / "plants.yaml").write_text(page)
    shutil.copytree(demo, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    return tmp_path


def words_of(line: str, page: str) -> list[str] | None:
    """The call as it is made here; None for one that is not run. What several pages have runs for the first of them."""
    if any(re.search(one, line) for one in NOT_RUN):
        return None
    words = shlex.split(line, comments=True)
    more = next((some for pattern, some in TINY_WORDS.items() if re.search(pattern, line)), ())
    ran_before = bool(more) and page != next(name for name, lines in COMMANDS.items() if line in lines)
    planned = ["--dry-run"] if ran_before or any(re.search(one, line) for one in PLANNED) else []
    return [*words, *more, *planned]


@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_of_a_page_run_in_their_order(page: str, at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done: set[str] = set()
    for line in COMMANDS[page]:
        words = words_of(line, page)
        if words is None or line in done:
            continue
        done.add(line)
        status = call(*words)
        said = capsys.readouterr()
        assert status == 0, f"{line}: {said.err}"
        assert said.out


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in SNIPPETS], ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path, at_home: Path) -> None:
    codes = [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind == "python"]
    space: dict[str, Any] = {"census": census_with_lamps()}
    for index in SNIPPETS[page.name]:
        exec(compile(codes[index], f"{page.name}, snippet {index}", "exec"), space)


def census_with_lamps() -> MaskCensus:
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(1, 100, (400, 3), dtype=np.int32)
    pixels[drawn.random(400) > 0.05, 2] = 0
    layouts = drawn.integers(0, 3, (400, 192), dtype=np.uint8)
    ids = tuple(f"{number:04d}" for number in range(400))
    names = ("sky", "road", "lamp")
    return MaskCensus(names, ids, scipy.sparse.csr_array(pixels), pixels.sum(axis=1, dtype=np.int32), layouts)


def test_every_snippet_runs_or_has_a_reason() -> None:
    with_python = {page.name for page in PAGES if any(kind == "python" for kind, _ in FENCE.findall(page.read_text()))}
    assert with_python == {*SNIPPETS, *SNIPPETS_NOT_RUN}


def test_every_rule_is_about_a_command_that_stands_on_a_page() -> None:
    lines = [line for one in COMMANDS.values() for line in one]
    rules: Mapping[str, Any] = {**TINY_WORDS, **dict.fromkeys(PLANNED), **NOT_RUN}
    assert not [pattern for pattern in rules if not any(re.search(pattern, line) for line in lines)]


def test_reasons_name_tests_that_are_there() -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for reason in (*NOT_RUN.values(), *SNIPPETS_NOT_RUN.values()):
        assert set(re.findall(r"test_\w+\.py", reason)) <= there, reason
