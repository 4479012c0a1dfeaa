"""Masks that are put together of strips: by the method, position by position, paired where seams fit best."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.data.dataset import Entry, FileDataset, ResizedDataset, read_pair
from d3s2.data.strips import ComposedDataset, StripsDataset, composed_id, place_of, sources_of, strip_id, with_composed
from d3s2.pipeline.run import Run, open_run
from d3s2.pipeline.select import chosen_masks
from d3s2.recipes import load_run
from d3s2.selection.picks import Selection

WORDS = ("data.size=[32, 48]", "data.options={count: {train: 40, test: 4}, size_px: [32, 48]}", "select.ratio=0.15")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = load_run("scenes", [*WORDS, "select.strips=2", "select.forbid=['000003']"])
    return open_run(config, tmp_path_factory.mktemp("strips") / "run", torch.device("cpu"))


@pytest.fixture(scope="module")
def selection(run: Run) -> Selection:
    return chosen_masks(run)


def test_a_composed_pair_holds_each_strip_where_it_was(run: Run) -> None:
    data, (a, b, c) = run.train_data, run.train_data.ids[:3]
    name = composed_id([a, b, c])
    assert sources_of(name) == (a, b, c)
    made = ComposedDataset(data)
    edges = (0, 16, 32, 48)
    for read in (data.image, data.mask):
        whole = made.image(name) if read == data.image else made.mask(name)
        for source, left, right in zip((a, b, c), edges[:-1], edges[1:], strict=True):
            assert (whole[:, left:right] == read(source)[:, left:right]).all()
    assert (made.mask(a) == data.mask(a)).all()


def test_strips_of_a_pair_are_the_pair(run: Run) -> None:
    strips, item_id = StripsDataset(run.train_data, 3), run.train_data.ids[5]
    parts = [strips.mask(strip_id(item_id, position)) for position in range(3)]
    assert (np.concatenate(parts, axis=1) == run.train_data.mask(item_id)).all()
    assert len(strips.ids) == len(set(strips.ids)) == 3 * len(run.train_data.ids)
    assert place_of(strip_id(item_id, 2)) == (item_id, 2)
    digests = [strips.pair_digest(strip_id(item_id, position)) for position in range(3)]
    assert len(set(digests)) == 3


def test_every_mask_has_its_strips_from_their_own_places_and_none_twice(run: Run, selection: Selection) -> None:
    assert len(selection.picks) == 6
    lefts, rights = zip(*map(sources_of, selection.ids), strict=True)
    assert len(set(lefts)) == len(set(rights)) == 6
    assert "000003" in run.train_data.ids
    assert "000003" not in (*lefts, *rights)


def test_what_the_strips_cover_is_what_the_masks_cover(run: Run, selection: Selection) -> None:
    census, rows = run.strip_census, {name: row for row, name in enumerate(run.strip_census.ids)}
    taken = [strip_id(source, place) for name in selection.ids for place, source in enumerate(sources_of(name))]
    from_strips = np.asarray(census.pixels[[rows[name] for name in taken]].sum(axis=0)).ravel()
    masks = np.stack([run.source_data.mask(name) for name in selection.ids])
    assert (from_strips == np.bincount(masks[masks != 255], minlength=census.num_classes)).all()


def test_seams_are_the_best_of_all_pairings(run: Run, selection: Selection) -> None:
    def cost(pairs: list[tuple[str, str]]) -> float:
        masks = [ComposedDataset(run.train_data).mask(composed_id(pair)) for pair in pairs]
        return sum(float((mask[:, 23] != mask[:, 24]).mean()) for mask in masks)

    pairs = [(left, right) for left, right in map(sources_of, selection.ids)]
    lefts, rights = zip(*pairs, strict=True)
    best = min(cost(list(zip(lefts, order, strict=True))) for order in permutations(rights))
    assert cost(pairs) == pytest.approx(best)


def test_more_strips_cover_no_less_of_rare_classes(run: Run, selection: Selection) -> None:
    rare = np.argsort(run.census.images_per_class)[: run.census.num_classes // 2]
    whole = load_run("scenes", [*WORDS, "select.strips=1"])
    chosen = chosen_masks(open_run(whole, run.folder.parent / "whole", run.device))

    def held(ids: tuple[str, ...]) -> int:
        return sum(int(np.isin(rare, run.source_data.mask(item_id)).sum()) for item_id in ids)

    assert held(selection.ids) >= held(chosen.ids)


def test_an_id_of_the_data_set_that_holds_the_sign_is_one_pair(run: Run) -> None:
    class Signed(ComposedDataset):
        @property
        def ids(self) -> list[str]:
            return ["a|b"]

        def mask(self, item_id: str) -> np.ndarray:
            assert item_id == "a|b"
            return self.source.mask(self.source.ids[0])

    signed = Signed(run.train_data)
    assert (ComposedDataset(signed).mask("a|b") == signed.mask("a|b")).all()
    assert with_composed(signed, ["a|b"]) is signed
    a, b = run.train_data.ids[:2]
    assert with_composed(run.train_data, [a, b]) is run.train_data
    assert isinstance(with_composed(run.train_data, [composed_id([a, b])]), ComposedDataset)


def test_a_source_whose_image_and_mask_differ_in_size_is_named(run: Run, tmp_path: Path) -> None:
    entries = []
    for name, height in (("a", 32), ("b", 30)):
        Image.new("RGB", (48, height)).save(tmp_path / f"{name}.png")
        Image.new("L", (48, 32)).save(tmp_path / f"{name}-mask.png")
        entries.append(Entry(name, tmp_path / f"{name}.png", tmp_path / f"{name}-mask.png"))
    data = ResizedDataset(FileDataset("uneven", run.train_data.space, tuple(entries)), (32, 48))
    with pytest.raises(DataError, match=r"'b' has an image of 30 x 48 px and a mask of 32 x 48 px"):
        read_pair(ComposedDataset(data), composed_id(["a", "b"]))


def test_ids_with_the_sign_are_refused(run: Run) -> None:
    class Signed(ComposedDataset):
        @property
        def ids(self) -> list[str]:
            return ["a|b"]

    with pytest.raises(DataError, match=r"id 'a\|b' holds a '\|', which names composed masks; rename its files"):
        StripsDataset(Signed(run.train_data), 2)
