"""judges.json is read strictly, and its table says what was measured and nothing else."""

from pathlib import Path

import pytest

from d3s2.base.errors import StoreError
from d3s2.judgements import Judgement, Judgements, Neighbour, read_judgements, write_judgements
from d3s2.report.judgement_tables import HEADERS, MEASURES, judgements_table, neighbours_table

NEIGHBOURS = (Neighbour("a", "a", "b", 12.0, 1.5), Neighbour("c", "c", "c", 3.0, 0.25))
FOUND = Judgements(
    digest="0" * 64,
    network="independent",
    layer="down3",
    num_real=24,
    real_distance=8.0,
    rows=(
        Judgement("distilled", 2, 0.8, 0.5, 0.0, 0.9, 0.25, 1.75, 0.5, NEIGHBOURS),
        Judgement("own-real", 2, 0.7, None, 0.01, vendi=2.0),
    ),
)


def test_judgements_come_back_as_they_were(tmp_path: Path) -> None:
    write_judgements(tmp_path / "judges.json", FOUND)
    assert read_judgements(tmp_path / "judges.json") == FOUND


def test_what_is_no_judgement_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judges.json"
    with pytest.raises(StoreError, match="there is no such file; `d3s2 evaluate` makes it"):
        read_judgements(path)
    path.write_text('{"digest": "0", "network": "teacher", "layer": "x", "num_real": 1, "real_distance": 1.0}')
    with pytest.raises(StoreError, match="key 'rows': field required; run `d3s2 evaluate` again"):
        read_judgements(path)


def test_every_measure_has_a_column_and_a_sentence() -> None:
    assert list(HEADERS) == list(MEASURES)
    assert set(MEASURES) < set(Judgement.__dataclass_fields__)
    assert all(text.endswith(".") for text in MEASURES.values())


def test_the_table_shows_what_was_measured() -> None:
    table = judgements_table(FOUND)
    assert table.rows == (
        ("distilled", "2", "80.0", "50.0", "0.0", "0.90", "25.0", "1.75", "50.0"),
        ("real, same masks", "2", "70.0", "–", "1.0", "–", "–", "2.00", "–"),
    )
    assert table.emphasis == (0,)


def test_the_closest_come_first() -> None:
    judged = FOUND.of("distilled")
    assert judged is not None
    assert neighbours_table(judged.closest(5)).rows == (
        ("c", "c", "c", "3.0", "0.25"),
        ("a", "a", "b", "12.0", "1.50"),
    )
    assert len(judged.closest(1)) == 1
    assert FOUND.of("distilled-unguided") is None
