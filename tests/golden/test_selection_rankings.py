import pytest
from selection_rankings import GOLDEN, rankings


def test_every_method_gives_its_golden_ranking_with_its_gains():
    golden = [line.split("\t") for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    found = rankings()
    assert [list(pick[:3]) for pick in found] == [pick[:3] for pick in golden]
    assert [pick[3] for pick in found] == pytest.approx([float(pick[3]) for pick in golden], abs=1e-8)
