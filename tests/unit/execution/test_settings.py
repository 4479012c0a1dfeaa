"""Which share of the work a call does, and what is refused."""

import pytest

from d3s2.base.errors import UsageError
from d3s2.execution.settings import Execution, Share, share_of


def test_a_share_is_what_the_flag_says_or_else_the_place_in_the_array() -> None:
    array = {"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "3"}
    even = {**array, "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "6", "SLURM_ARRAY_TASK_STEP": "2"}
    assert share_of("2/4", even) == Share(2, 4)
    assert share_of(None, even) == Share(3, 3)
    assert share_of("1/1", even) is None
    assert share_of(None, {}) is None
    assert share_of(None, {**array, "SLURM_ARRAY_TASK_COUNT": "1"}) is None


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "2/", "-1/4", "2/4/6", "a/b", "1/0"])
def test_a_share_that_is_none_says_what_is_expected(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n with i from 1 to n, for example --shard 2/4"):
        share_of(text, {})


@pytest.mark.parametrize(
    ("number", "count", "message"),
    [("7", "3", "expected the ids of the array to lie evenly"), ("x", "3", "expected numbers")],
)
def test_an_array_that_is_uneven_is_refused(number: str, count: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        share_of(None, {"SLURM_ARRAY_TASK_ID": number, "SLURM_ARRAY_TASK_COUNT": count})


def test_combinations_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Unknown executor 'rai': known are local, ray\. Did you mean 'ray'\?"):
        Execution("rai")
    with pytest.raises(UsageError, match="--workers is -1"):
        Execution(workers=-1)
    with pytest.raises(UsageError, match="give --executor ray with it"):
        Execution(address="auto")
    with pytest.raises(UsageError, match="give one of them"):
        Execution("ray", share=Share(1, 2))
