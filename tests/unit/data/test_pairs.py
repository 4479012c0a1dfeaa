"""Pairs from memory and from files are the same pairs, whatever the threads do."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.data.dataset import Entry, FileDataset, ResizedDataset, read_pair
from d3s2.data.joined import JoinedDataset
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import READ_AHEAD, FilePairs, Pairs, PairSource, in_order, load_pairs, open_pairs

SCENES = Scenes("train", 12, size_px=(32, 48))
BYTES = 12 * 32 * 48 * 4


@dataclass(frozen=True)
class SlowAtFirst:
    """A data set whose first pairs take longest to read, and one of which cannot be read at all."""

    source: Scenes
    broken: str | None = None
    name = "slow"

    @property
    def space(self) -> LabelSpace:
        return self.source.space

    @property
    def ids(self) -> Sequence[str]:
        return self.source.ids

    def image(self, item_id: str) -> np.ndarray:
        time.sleep(0.002 * (len(self.ids) - self.ids.index(item_id)))
        return self.source.image(item_id)

    def mask(self, item_id: str) -> np.ndarray:
        if item_id == self.broken:
            raise DataError(f"{item_id}: cannot be read.")
        return self.source.mask(item_id)

    def pair_stamp(self, item_id: str) -> str:
        return self.source.pair_stamp(item_id)

    def pair_digest(self, item_id: str) -> str:
        return self.source.pair_digest(item_id)


def sources() -> list[PairSource]:
    return [load_pairs(SCENES, SCENES.ids), FilePairs(SlowAtFirst(SCENES), tuple(SCENES.ids), threads=5)]


def test_any_positions_give_the_same_pairs_from_memory_and_from_files() -> None:
    held, read = sources()
    for positions in ([0], [11, 3, 3, 0], range(2, 9)):
        one, other = held.take(positions), read.take(positions)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)
        assert torch.equal(held.take_masks(positions), read.take_masks(positions))


def test_batches_come_in_the_order_of_draws() -> None:
    draws = [[11, 0, 5], [1], [2, 2], *[[position] for position in range(12)]]
    for source in sources():
        for positions, batch in zip(draws, source.batches(draws), strict=True):
            assert torch.equal(batch.images, source.take(positions).images)


def test_reading_ahead_ends_with_who_stops_early() -> None:
    asked = []

    def draws() -> Iterator[list[int]]:
        for position in range(12):
            asked.append(position)
            yield [position]

    batches = FilePairs(SCENES, tuple(SCENES.ids)).batches(draws())
    next(batches)
    assert len(asked) == READ_AHEAD + 1


def test_a_pair_that_cannot_be_read_is_the_error_of_its_batch() -> None:
    source = FilePairs(SlowAtFirst(SCENES, broken=SCENES.ids[3]), tuple(SCENES.ids))
    batches = source.batches(in_order(12, 2))
    next(batches)
    with pytest.raises(DataError, match=f"{SCENES.ids[3]}: cannot be read"):
        next(batches)


def test_what_is_within_the_limit_is_held_in_memory() -> None:
    limit = BYTES / 2**30
    assert isinstance(open_pairs(SCENES, SCENES.ids, limit), Pairs)
    assert isinstance(open_pairs(SCENES, SCENES.ids, limit * 0.999), FilePairs)


def test_consecutive_draws_hold_every_position_once() -> None:
    assert in_order(7, 3) == [range(3), range(3, 6), range(6, 7)]
    assert in_order(0, 3) == []


def test_sizes_of_a_pair_are_compared_where_sets_are_joined(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "m.png")
    member = FileDataset("mine/train", LabelSpace("one", ("a",)), (Entry("a", tmp_path / "a.png", tmp_path / "m.png"),))
    joined = JoinedDataset(((ResizedDataset(member, (4, 6)), ("a",)),))
    with pytest.raises(DataError, match="mine/train: 'a' has an image of 4 x 6 px and a mask of 4 x 5 px"):
        read_pair(joined, "0/a")
