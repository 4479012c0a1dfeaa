"""Local processes and Ray actors: results, errors of a piece, workers that end."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from d3s2.base.errors import DataError, UsageError, WorkError
from d3s2.execution.executors import cluster_of, executor_of
from d3s2.execution.pieces import Executor, Needs, Piece, Work
from d3s2.execution.settings import Execution

PIECES = [Piece(f"{number:02d}", number) for number in range(12)]


def begin_square(factor: int) -> Callable[[int], int]:
    return lambda number: factor * number**2


def begin_refusal(_: None) -> Callable[[int], int]:
    return refuse


def refuse(number: int) -> int:
    if number == 3:
        raise DataError("Mask 3 is none.")
    return number


def begin_end(marks: Path) -> Callable[[int], int]:
    return partial(end_once, marks)


def end_once(marks: Path, number: int) -> int:
    """Ends its process the first time that it comes to piece 5."""
    if number == 5 and not (marks / "ended").exists():
        (marks / "ended").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.fixture(scope="module", params=["local", "ray"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    execution = Execution(request.param, workers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")  # Ray's workers
        with cluster_of(execution):
            yield executor_of(execution, tmp_path_factory.mktemp("run"), torch.device("cpu"))


def test_every_piece_has_its_result_and_its_worker(executor: Executor) -> None:
    outcomes = list(executor.run(Work("square", begin_square, 2), PIECES))
    assert {outcome.piece: outcome.result for outcome in outcomes} == {p.id: 2 * p.content**2 for p in PIECES}
    assert len({outcome.worker for outcome in outcomes}) <= 2
    assert f":{os.getpid()}" not in {outcome.worker[outcome.worker.rindex(":") :] for outcome in outcomes}
    assert list(executor.run(Work("square", begin_square, 2), [])) == []


def test_an_error_of_a_piece_comes_back_as_it_was(executor: Executor) -> None:
    with pytest.raises(DataError, match=r"^Mask 3 is none\.$"):
        list(executor.run(Work("refuse", begin_refusal), PIECES))


def test_a_worker_that_is_killed(executor: Executor, tmp_path: Path) -> None:
    work = Work("end", begin_end, tmp_path, advice="take fewer")
    if type(executor).__name__ == "Local":  # the same call resumes
        with pytest.raises(WorkError, match=r"ended from outside.*take fewer"):
            list(executor.run(work, PIECES))
    assert sorted(outcome.piece for outcome in executor.run(work, PIECES)) == [piece.id for piece in PIECES]
    assert (tmp_path / "ended").exists()


def test_a_need_that_no_node_meets_is_named(executor: Executor) -> None:
    if type(executor).__name__ == "RayActors":
        with pytest.raises(WorkError, match="no node of the cluster has what step square needs"):
            list(executor.run(Work("square", begin_square, 2, Needs(num_gpus=1)), PIECES))


def test_a_missing_ray_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d3s2.execution.ray_actors.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'd3s2\[ray\]'"), cluster_of(Execution("ray")):
        pass
