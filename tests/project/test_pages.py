"""Commands and Python on the pages, and the examples of help, are what the command line and the package take."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_run import call
from typer.main import get_command

from d3s2.commands import COMMANDS, app
from d3s2.commands.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^(?:srun |\w+=\S+ )*(?:d3s2|torchrun .*-m d3s2\.cli) +(.+)$")


def commands_on(text: str) -> Iterator[str]:
    """What stands behind `d3s2` in the fenced and the indented blocks, without comments."""
    fenced = [block for language, block in FENCE.findall(text) if language not in ("python", "yaml")]
    indented = re.findall(r"^ {4} *(\S.*)$", FENCE.sub("", text), re.MULTILINE)
    for line in "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines():
        yield from LINE.findall(line.strip())


def parsed(words: list[str]) -> str:
    """The command of a call that the command line takes; raises click's error for any other."""
    name, *rest = words
    whole = get_command(app)
    if name.startswith("--"):
        assert name in {flag for param in whole.params for flag in param.opts}
    else:
        whole.commands[name].make_context(name, rest)  # type: ignore[attr-defined]
    return name


CALLS = [(page.name, line) for page in PAGES for line in commands_on(page.read_text(encoding="utf-8"))]
SNIPPETS = [
    pytest.param(code, id=f"{page.stem}-{index}")
    for page in PAGES
    for index, (language, code) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
    if language == "python"
]


@pytest.mark.parametrize(("page", "line"), CALLS)
def test_a_command_on_a_page_is_taken_by_the_command_line(page: str, line: str) -> None:
    assert parsed(shlex.split(line, comments=True)) in {*COMMANDS, "--install-completion"}


def test_commands_are_found_on_the_pages() -> None:
    assert {name for name, _ in CALLS} >= {"README.md", "first-hour.md", "distilled-set.md", "scaling.md"}
    assert len(CALLS) > 30
    assert list(commands_on("```\nA=b d3s2 fit x \\\n  --half  # why\n```\n    d3s2 verify y\n")) == [
        "fit x    --half  # why",
        "verify y",
    ]


def test_a_wrong_option_on_a_page_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["verify", "runs/mine", "--jsn"])


@pytest.mark.parametrize("code", SNIPPETS)
def test_python_on_a_page_compiles_and_imports_what_exists(code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "d3s2":
            for alias in node.names:
                found = hasattr(import_module(str(node.module)), alias.name)
                assert found or find_spec(f"{node.module}.{alias.name}") is not None, alias.name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_is_taken(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    shown = capsys.readouterr().out
    for line in EXAMPLES[name]:
        assert f"\n    {line}\n" in shown
    assert name in [parsed(shlex.split(line)[1:]) for line in EXAMPLES[name]]
