"""The bars that the code keeps, by the figures of benchmarks/code_bars.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import code_bars


def test_no_module_is_long_and_no_directory_is_full() -> None:
    long = {path: lines for path, lines in code_bars.module_lines().items() if lines > code_bars.MAX_LINES}
    full = {path: modules for path, modules in code_bars.directory_modules().items() if modules > code_bars.MAX_MODULES}
    assert (long, full) == ({}, {})


@pytest.mark.parametrize("package", code_bars.package_exports())
def test_a_package_exports_few_names_and_others_use_them(package: str) -> None:
    assert len(code_bars.package_exports()[package]) <= code_bars.MAX_EXPORTS
    assert code_bars.share_unused(package) < code_bars.MAX_UNUSED, code_bars.unused_exports()[package]


def test_packages_import_only_what_others_export() -> None:
    assert code_bars.imports_past_exports() == {}
