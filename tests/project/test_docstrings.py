"""Examples in the docstrings of what packages export run as they stand, each by itself."""

import ast
import doctest
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import d3s2

SOURCE = Path(__file__).resolve().parents[2] / "src" / "d3s2"
FOR_USERS = ("data", "metrics", "nets", "selection", "store", "student", "synthesis", "teacher")
"""Packages whose functions are of use without a run."""
NEED_A_RUN = {
    "compose_masks", "with_groups", "with_image_groups",  # of a run's census
    "deepest_layer", "pooled_features", "native_pairs", "measure_native",  # of evaluations
    "launched_group", "precision_name", "precision_of",  # of what was launched, and of a machine
    "join_set", "keep_provenance", "publish",  # of several processes, and of a hub
    "load_bank", "load_part", "save_bank", "save_part",  # files of a run
    "energies_of", "perturbed",  # inside guidance
    "best_of", "own_update", "require_finite", "sampled_together", "soft_labels", "stepped",
}  # fmt: skip
"""Functions of these packages that the pipeline calls with what it has at hand; the pages say what they are for."""


def exported(package: str) -> dict[str, Any]:
    """Name -> what a package exports."""
    tree = ast.parse((SOURCE / package / "__init__.pyi").read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {name: getattr(import_module(f"d3s2.{package}"), name) for name in names}


PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.pyi"))
NAMES = {("d3s2", name): getattr(d3s2, name) for name in d3s2.__all__}
NAMES |= {(package, name): found for package in PACKAGES for name, found in exported(package).items()}
WITH_EXAMPLE = {at: found for at, found in NAMES.items() if callable(found) and ">>>" in (inspect.getdoc(found) or "")}


@pytest.mark.parametrize("at", WITH_EXAMPLE, ids=".".join)
def test_an_example_runs(
    at: tuple[str, str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.getbasetemp())  # examples of one run resume it
    text = inspect.getdoc(WITH_EXAMPLE[at]) or ""
    example = doctest.DocTestParser().get_doctest(text, {}, ".".join(at), None, None)
    said: list[str] = []
    found = doctest.DocTestRunner().run(example, out=said.append)
    assert found.attempted
    assert not found.failed, "".join(said)


@pytest.mark.parametrize("package", FOR_USERS)
def test_functions_for_users_have_an_example(package: str) -> None:
    functions = {name for name, found in exported(package).items() if inspect.isfunction(found)}
    assert not {name for name in functions - NEED_A_RUN if (package, name) not in WITH_EXAMPLE}


def test_what_the_package_itself_offers_has_an_example() -> None:
    assert {name for package, name in WITH_EXAMPLE if package == "d3s2"} == set(d3s2.__all__) - {"RunConfig"}


def test_functions_that_are_left_out_exist() -> None:
    assert {name for _, name in NAMES} >= NEED_A_RUN
