"""docs/safety.md: every promise names its tests, and every test that it names exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_exist() -> None:
    existing = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    promises = re.findall(r"^- (.*?)(?=^- |^$)", PAGE, re.MULTILINE | re.DOTALL)
    assert len(promises) > 10
    for promise in promises:
        named = re.findall(r"`(test_\w+)`", promise)
        assert named, promise
        assert set(named) <= existing, set(named) - existing


def test_sizes_are_those_of_the_code() -> None:
    from d3s2.base.formats.files import MAX_BYTES
    from d3s2.base.formats.yaml_text import MAX_VALUES
    from d3s2.data.files.image_files import MAX_PIXELS

    assert f"more than {MAX_PIXELS:,} pixels" in PAGE
    assert f"more than {MAX_VALUES:,} values" in PAGE
    assert MAX_BYTES == 1 << 30
    assert "1 GiB" in PAGE
