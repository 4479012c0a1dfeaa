"""The bars that the code keeps, by the figures of benchmarks/house.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import house


def test_no_module_is_long_and_no_directory_is_full() -> None:
    long = {path: lines for path, lines in house.module_lines().items() if lines > house.MAX_LINES}
    full = {path: modules for path, modules in house.directory_modules().items() if modules > house.MAX_MODULES}
    assert (long, full) == ({}, {})


@pytest.mark.parametrize("package", house.package_exports())
def test_a_package_exports_few_names_and_others_use_them(package: str) -> None:
    assert len(house.package_exports()[package]) <= house.MAX_EXPORTS
    assert house.share_unused(package) < house.MAX_UNUSED, house.unused_exports()[package]
