"""The census as pieces of work: some masks each, whose counts are handed back."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from d3s2.data import SegmentationDataset
from d3s2.data.census import Chunk, Counted, Counter, MaskCount, chunks_to_count, count_items, keep_counts
from d3s2.execution import Executor, Outcome, Piece, Task, Work

Counts = list[MaskCount | str]
Tell = Callable[[Iterator[Outcome[Any]]], Iterator[Outcome[Any]]]


def counting_by(executor: Executor, tell: Tell = iter) -> Counter:
    """What counts masks for `take_census`, by an executor; `tell` passes outcomes on, and may keep a log of them."""

    def count(dataset: SegmentationDataset, chunks: Sequence[Sequence[str]]) -> Iterator[Counted]:
        pieces = [Piece(f"{number:06d}", chunk) for number, chunk in enumerate(chunks)]
        work = Work[Sequence[str], Counts]("census", _begin, dataset, advice="use fewer --workers")
        for outcome in tell(executor.run(work, pieces)):
            assert outcome.result is not None
            yield int(outcome.piece), outcome.result

    return count


def count_share(executor: Executor, dataset: SegmentationDataset, cache: Path, tell: Tell = iter) -> None:
    """Counts masks beside other processes, each some chunks, until all are counted; `take_census` merges them.

    Args:
        executor: of a share of the work.
        cache: folder of the counts.
        tell: as for `counting_by`.
    """
    chunks = chunks_to_count(dataset, cache)
    if len(chunks) > 1:
        pieces = [Piece(f"{cache.name}-{chunk.number:06d}", chunk) for chunk in chunks]
        work = Work[Chunk, None]("census", _begin_share, dataset, is_done=lambda chunk: chunk.is_done)
        for _ in tell(executor.run(work, pieces)):
            pass


def _begin_share(dataset: SegmentationDataset) -> Task[Chunk, None]:
    return partial(keep_counts, dataset)


def _begin(dataset: SegmentationDataset) -> Task[Sequence[str], Counts]:
    return partial(count_items, dataset)
