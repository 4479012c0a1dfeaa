"""The census as pieces of work: some masks each, whose counts are handed back."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from d3s2.data import SegmentationDataset
from d3s2.data.census import Counted, Counter, MaskCount, count_items
from d3s2.execution import Executor, Outcome, Piece, Task, Work

Counts = list[MaskCount | str]
Tell = Callable[[Iterator[Outcome[Counts]]], Iterator[Outcome[Counts]]]


def counting_by(executor: Executor, tell: Tell = iter) -> Counter:
    """What counts masks for `take_census`, by an executor; `tell` passes outcomes on, and may keep a log of them."""

    def count(dataset: SegmentationDataset, chunks: Sequence[Sequence[str]]) -> Iterator[Counted]:
        pieces = [Piece(f"{number:06d}", chunk) for number, chunk in enumerate(chunks)]
        work = Work[Sequence[str], Counts]("census", _begin, dataset, advice="use fewer --workers")
        for outcome in tell(executor.run(work, pieces)):
            assert outcome.result is not None
            yield pieces[int(outcome.piece)].content, outcome.result

    return count


def _begin(dataset: SegmentationDataset) -> Task[Sequence[str], Counts]:
    return partial(count_items, dataset)
