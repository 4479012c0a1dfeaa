"""The tables of settings on the pages are what the records say, and no key is missing from them."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from d3s2.generator.kinds import LIGHT
from d3s2.pipeline.config import RunConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_tables", DOCS / "settings_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES: Any = maker()


@pytest.mark.parametrize("page", TABLES.pages(), ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_what_the_records_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert TABLES.filled(text) == text, "python docs/settings_tables.py writes them anew"


def test_every_key_of_a_run_file_stands_in_a_table() -> None:
    records = {*LIGHT.values()}
    for name, field in RunConfig.model_fields.items():
        record = TABLES.record_in(field.annotation)
        assert record is not None or name in ("name", "seed")
        if record is not None and name != "generator":
            records.add(record)
    assert records
    shown = TABLES.records_of_tables()
    assert records <= shown
    for record in shown:
        for name, field in record.model_fields.items():
            inner = TABLES.record_in(field.annotation)
            spelled_out = any(row.startswith(f"{name}.") for row, _, _ in TABLES.rows_of(record))
            assert inner is None or inner in shown or spelled_out, f"{record.__name__}.{name} has no table"


def test_every_field_says_what_it_means() -> None:
    rows = [(record.__name__, row) for record in TABLES.records_of_tables() for row in TABLES.rows_of(record)]
    assert not [f"{record}.{name}" for record, (name, _, meaning) in rows if not meaning]
