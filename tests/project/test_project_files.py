"""Files about the project agree with it: versions, make targets, citation, what a wheel has to hold."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import d3s2
from d3s2.store.exports.croissant import CITATION

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_the_version_stands_in_one_place() -> None:
    assert d3s2.__version__ == version("d3s2") == PROJECT["version"]
    files = [*(ROOT / "src").rglob("*.py"), ROOT / "CITATION.cff", ROOT / "README.md"]
    assert not [path for path in files if f'"{PROJECT["version"]}"' in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_make_targets_that_exist(workflow: Path) -> None:
    called = {word for line in steps(workflow) for word in re.findall(r"make (\w+)", line)}
    assert called
    assert called <= TARGETS


def test_workflows_test_the_versions_of_python_that_the_project_names() -> None:
    named = [one.rsplit(" ", 1)[1] for one in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", one)]
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == named


def test_hooks_before_a_commit_call_make_targets_that_exist() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"].split() for repo in config["repos"] for hook in repo["hooks"]]
    assert {program for program, _ in entries} == {"make"}
    assert {target for _, target in entries} <= TARGETS


def test_the_citation_names_the_paper_as_exports_do() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = citation["references"]
    assert f"{paper['title']}, {paper['identifiers'][0]['value'].replace(':', ' ')}" == CITATION
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_have_what_github_asks_of_them(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    assert all(field["attributes"]["label"] for field in content["body"])
    names = [field["id"] for field in content["body"]]
    assert len(names) == len(set(names))
