"""The census stage: equal to a loop, reads only what changed, survives a kill, and names every bad file."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import d3s2
from d3s2.base.errors import DataError, StoreError
from d3s2.data.census.cache import CENSUS_FILE
from d3s2.data.census.chunks import chunks_to_count
from d3s2.data.census.counts import MaskCensus, MaskCount
from d3s2.data.census.take import BAD_FILE, count_items, read_bad, take_census
from d3s2.data.dataset import Entry, FileDataset, ResizedDataset, SegmentationDataset
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.execution.local import Local
from d3s2.execution.pieces import Outcome
from d3s2.execution.settings import Share
from d3s2.execution.shares import Shares
from d3s2.pipeline.work.census import count_share, counting_by

SPACE = LabelSpace("five", ("a", "b", "c", "d", "e"))
VALUES = np.array([0, 1, 2, 3, 255], dtype=np.uint8)

TWO_PROCESSES = counting_by(Local([("cpu",)], 2))


def some_masks(folder: Path, count: int) -> FileDataset:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        mask = VALUES[np.random.default_rng(index).integers(0, 1 + index % 5, (9, 8 + index % 3))]
        Image.fromarray(mask).save(folder / f"{index:04d}.png")
    return dataset_of(folder)


def dataset_of(folder: Path, space: LabelSpace = SPACE) -> FileDataset:
    paths = sorted(folder.iterdir())
    return FileDataset("mine/train", space, tuple(Entry(path.stem, folder.parent / "none", path) for path in paths))


def by_loop(dataset: SegmentationDataset) -> np.ndarray:
    masks = [dataset.mask(item_id) for item_id in dataset.ids]
    return np.array([[int((mask == c).sum()) for c in range(dataset.space.num_classes)] for mask in masks])


def assert_equal(one: MaskCensus, other: MaskCensus) -> None:
    assert one.ids == other.ids
    assert one.class_names == other.class_names
    assert (one.pixels.toarray() == other.pixels.toarray()).all()
    assert (one.mask_px == other.mask_px).all()
    assert one.layouts is not None
    assert other.layouts is not None
    assert (one.layouts == other.layouts).all()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids whose masks are read, as they are."""
    ids: list[str] = []

    def counting(dataset: SegmentationDataset, some: Sequence[str]) -> list[MaskCount | str]:
        ids.extend(some)
        return count_items(dataset, some)

    monkeypatch.setattr("d3s2.data.census.take.count_items", counting)
    return ids


def test_the_census_equals_a_loop_over_classes(tmp_path: Path):
    dataset = some_masks(tmp_path / "masks", 70)
    census = take_census(dataset, tmp_path / "cache")
    assert census.pixels.dtype == np.int32
    assert (census.pixels.toarray() == by_loop(dataset)).all()
    assert census.mask_px.tolist() == [dataset.mask(item_id).size for item_id in dataset.ids]
    assert census.ids == dataset.ids


@pytest.mark.parametrize("resized", [False, True])
def test_drawn_and_resized_data_sets_are_counted(tmp_path: Path, resized: bool):
    scenes = Scenes("train", 5, (32, 48))
    dataset = ResizedDataset(scenes, (16, 24)) if resized else scenes
    assert (take_census(dataset, tmp_path).pixels.toarray() == by_loop(dataset)).all()


def test_processes_give_the_same_census(tmp_path: Path):
    dataset = some_masks(tmp_path / "masks", 140)
    alone = take_census(dataset, tmp_path / "alone")
    assert_equal(take_census(dataset, tmp_path / "two", count=TWO_PROCESSES), alone)
    small = ResizedDataset(dataset, (5, 5))
    assert_equal(
        take_census(small, tmp_path / "small", count=TWO_PROCESSES), take_census(small, tmp_path / "small alone")
    )


def test_only_changed_masks_are_read_again(tmp_path: Path, counted: list[str]):
    folder = tmp_path / "masks"
    dataset = some_masks(folder, 30)
    before = take_census(dataset, tmp_path / "cache")
    counted.clear()
    Image.fromarray(np.full((20, 20), 4, dtype=np.uint8)).save(folder / "0007.png")
    after = take_census(dataset_of(folder), tmp_path / "cache")
    assert counted == ["0007"]
    others = [position for position in range(30) if position != 7]
    assert_equal(after.rows(others), before.rows(others))
    assert after.pixels[[7]].toarray().tolist() == [[0, 0, 0, 0, 400]]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [CENSUS_FILE]


def test_masks_that_come_and_go_leave_the_others_counted(tmp_path: Path, counted: list[str]):
    folder = tmp_path / "masks"
    before = take_census(some_masks(folder, 10), tmp_path / "cache")
    counted.clear()
    (folder / "0003.png").unlink()
    Image.fromarray(np.full((2, 2), 1, dtype=np.uint8)).save(folder / "0000a.png")
    after = take_census(dataset_of(folder), tmp_path / "cache")
    assert counted == ["0000a"]
    assert after.ids == ("0000", "0000a", "0001", "0002", *(f"{index:04d}" for index in range(4, 10)))
    assert_equal(after.rows([0, 2, 3]), before.rows([0, 1, 2]))


def test_other_classes_are_counted_anew(tmp_path: Path):
    dataset = some_masks(tmp_path / "masks", 6)
    take_census(dataset, tmp_path / "cache")
    swapped = LabelSpace("five", SPACE.names, raw_ids={0: 1, 1: 0, 2: 2, 3: 3, 4: 4})
    other = dataset_of(tmp_path / "masks", swapped)
    assert (take_census(other, tmp_path / "cache").pixels.toarray() == by_loop(other)).all()


def test_the_digest_follows_what_pairs_hold_and_not_where_or_when(tmp_path: Path):
    folder, images = tmp_path / "masks", tmp_path / "none"
    digest = take_census(some_masks(folder, 5), tmp_path / "cache").digest
    copy = tmp_path / "elsewhere" / "masks"
    shutil.copytree(folder, copy)
    for path in copy.iterdir():
        os.utime(path, ns=(1, 1))

    def digest_of(space: LabelSpace = SPACE) -> str:
        return take_census(dataset_of(copy, space), tmp_path / "other").digest

    assert digest_of() == digest
    assert digest_of(LabelSpace("five", SPACE.names, raw_ids={0: 1, 1: 0, 2: 2, 3: 3, 4: 4})) != digest
    (copy.parent / images.name).write_bytes(b"an image")
    assert digest_of() != digest
    (copy.parent / images.name).unlink()
    assert digest_of() == digest
    mask = np.array(Image.open(copy / "0004.png"))
    mask[0, 0], mask[0, 1] = 3, 2
    Image.fromarray(mask).save(copy / "0004.png")
    assert digest_of() != digest


def test_the_data_folder_is_left_alone(tmp_path: Path):
    dataset = some_masks(tmp_path / "masks", 3)
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "masks").iterdir())
    take_census(dataset, tmp_path / "cache")
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "masks").iterdir()) == before


KILLED = """
    import os, signal
    from contextlib import contextmanager
    from pathlib import Path
    from d3s2.data.dataset import Entry, FileDataset
    from d3s2.data.label_space import LabelSpace
    from d3s2.data.census.take import take_census

    class Killer:
        seen = 0
        def advance(self, steps=1, note=""):
            Killer.seen += steps
            if Killer.seen >= 2100:
                os.kill(os.getpid(), signal.SIGKILL)
        @contextmanager
        def task(self, label, total, done=0):
            yield self
        def say(self, text):
            pass

    folder = Path({folder!r})
    paths = sorted(folder.iterdir())
    entries = tuple(Entry(path.stem, folder.parent / "none", path) for path in paths)
    space = LabelSpace("five", ("a", "b", "c", "d", "e"))
    take_census(FileDataset("mine/train", space, entries), Path({cache!r}), progress=Killer())
    """


def test_a_killed_census_goes_on_and_ends_the_same(tmp_path: Path):
    folder, cache = tmp_path / "masks", tmp_path / "cache"
    some_masks(folder, 20)
    for index in range(20, 2200):
        os.link(folder / f"{index % 20:04d}.png", folder / f"{index:04d}.png")
    script = dedent(KILLED).format(folder=str(folder), cache=str(cache))
    source = {"PYTHONPATH": str(Path(d3s2.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | source, timeout=100, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.name for path in cache.iterdir()] == ["part-000000.parquet"]

    class Bar:
        """Remembers how much was done when the bar opened."""

        done = -1

        def task(self, label: str, total: int, done: int = 0):
            Bar.done = done
            return nullcontext(self)

        def advance(self, steps: int = 1, note: str = "") -> None:
            pass

        def say(self, text: str) -> None:
            pass

    resumed = take_census(dataset_of(folder), cache, progress=Bar())
    assert Bar.done == 2048
    assert_equal(resumed, take_census(dataset_of(folder), tmp_path / "whole"))
    assert [path.name for path in cache.iterdir()] == [CENSUS_FILE]


KILLED_SHARE = """
    import os, signal
    from pathlib import Path
    from d3s2.data.census import chunks
    from d3s2.execution.settings import Share
    from d3s2.execution.shares import Shares
    from d3s2.pipeline.work.census import count_share
    from test_census_stage import dataset_of

    chunks.MASKS_A_CHUNK = 8
    cache = Path({cache!r})
    def once(outcomes):
        next(outcomes)
        os.kill(os.getpid(), signal.SIGKILL)
    count_share(Shares(Share(1, 2), cache), dataset_of(Path({folder!r})), cache, once)
"""


def test_a_census_that_two_share_ends_the_same_where_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tmp_path / "masks", tmp_path / "cache"
    dataset = some_masks(folder, 30)
    script = dedent(KILLED_SHARE).format(folder=str(folder), cache=str(cache))
    source = {"PYTHONPATH": os.pathsep.join([str(Path(d3s2.__file__).parents[1]), str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | source, timeout=100, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.name[:12] for path in sorted(cache.glob("*.parquet"))] == ["part-000000-"]
    monkeypatch.setattr("d3s2.data.census.chunks.MASKS_A_CHUNK", 8)
    told: list[str] = []

    def tell(outcomes: Iterator[Outcome[None]]) -> Iterator[Outcome[None]]:
        for outcome in outcomes:
            told.append(outcome.piece)
            yield outcome

    count_share(Shares(Share(2, 2), cache), dataset, cache, tell)
    assert sorted(told) == ["cache-000001", "cache-000002", "cache-000003"]  # what the killed one counted is there
    monkeypatch.setattr("d3s2.data.census.take.count_items", None)  # nothing is left to count
    shared = take_census(dataset, cache)
    monkeypatch.undo()
    assert_equal(shared, take_census(dataset, tmp_path / "whole"))
    assert [path.name for path in cache.glob("*.parquet")] == [CENSUS_FILE]


def test_who_comes_late_to_a_shared_census_finds_it_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = some_masks(tmp_path / "masks", 30)
    monkeypatch.setattr("d3s2.data.census.chunks.MASKS_A_CHUNK", 8)
    chunks = chunks_to_count(dataset, tmp_path / "cache")
    assert [len(chunk.ids) for chunk in chunks] == [8, 8, 8, 6]
    assert not any(chunk.is_done for chunk in chunks)
    take_census(dataset, tmp_path / "cache")
    assert all(chunk.is_done for chunk in chunks)
    assert chunks_to_count(dataset, tmp_path / "cache") == []


def with_bad_files(tmp_path: Path) -> tuple[FileDataset, dict[str, str]]:
    folder = tmp_path / "masks"
    dataset = some_masks(folder, 12)
    (folder / "0002.png").write_bytes(b"")
    Image.fromarray(np.full((4, 4), 9, dtype=np.uint8)).save(folder / "0005.png")
    (folder / "0008.png").unlink()
    return dataset, {
        "0002": f"{folder / '0002.png'}: is not an image that can be read; is the file damaged?",
        "0005": f"{folder / '0005.png'}: label 9 is outside five's 0..4; is it the right mask?",
        "0008": f"{folder / '0008.png'}: the mask of '0008' cannot be read (No such file or directory).",
    }


def test_every_bad_file_is_named_in_one_report(tmp_path: Path):
    dataset, expected = with_bad_files(tmp_path)
    with pytest.raises(DataError) as error:
        take_census(dataset, tmp_path / "cache")
    path = tmp_path / "cache" / BAD_FILE
    assert str(error.value).splitlines() == [
        f"mine/train: 3 of 12 masks cannot be used ({path} names all); repair or remove them, or leave them out with "
        "select.skip_bad=true:",
        *(f"  {line}" for line in expected.values()),
    ]
    assert read_bad(tmp_path / "cache") == expected


def test_a_long_report_has_a_limit_and_its_file_has_none(tmp_path: Path):
    dataset, expected = with_bad_files(tmp_path)
    with pytest.raises(DataError) as error:
        take_census(dataset, tmp_path / "cache", max_reported=2)
    assert str(error.value).splitlines()[-2:] == [f"  {expected['0005']}", "  and 1 more"]
    assert read_bad(tmp_path / "cache") == expected


def test_skipped_files_are_left_out_and_recorded(tmp_path: Path):
    dataset, expected = with_bad_files(tmp_path)
    census = take_census(dataset, tmp_path / "cache", skip_bad=True)
    assert census.ids == tuple(item_id for item_id in dataset.ids if item_id not in expected)
    record = json.loads((tmp_path / "cache" / BAD_FILE).read_text())
    assert (record["skipped"], record["num_masks"], record["masks"]) == (True, 12, expected)
    assert_equal(take_census(dataset, tmp_path / "cache", skip_bad=True), census)


def test_the_record_of_bad_files_goes_when_they_are_repaired(tmp_path: Path):
    dataset, expected = with_bad_files(tmp_path)
    take_census(dataset, tmp_path / "cache", skip_bad=True)
    for item_id in expected:
        Image.fromarray(np.zeros((3, 3), dtype=np.uint8)).save(tmp_path / "masks" / f"{item_id}.png")
    assert take_census(dataset, tmp_path / "cache").ids == dataset.ids
    assert read_bad(tmp_path / "cache") == {}


def test_nothing_but_bad_files_is_an_error_even_when_they_are_skipped(tmp_path: Path):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "a.png").write_text("")
    with pytest.raises(DataError, match=r"^mine/train: 1 of 1 masks cannot be used"):
        take_census(dataset_of(folder), tmp_path / "cache", skip_bad=True)


def test_a_damaged_cache_is_named(tmp_path: Path):
    dataset = some_masks(tmp_path / "masks", 3)
    take_census(dataset, tmp_path / "cache")
    path = tmp_path / "cache" / CENSUS_FILE
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(OSError, match=r"census\.parquet: cannot be read .* delete it to have them counted again\.$"):
        take_census(dataset, tmp_path / "cache")


def test_counts_that_cannot_be_are_named(tmp_path: Path):
    dataset = some_masks(tmp_path / "masks", 3)
    take_census(dataset, tmp_path / "cache")
    path = tmp_path / "cache" / CENSUS_FILE
    table, good = pq.read_table(path), path.read_bytes()

    def refused(changed: pa.Table) -> str:
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
        with pytest.raises(StoreError) as error:
            take_census(dataset, tmp_path / "cache")
        return str(error.value)

    assert "census.parquet: has columns id, stamp" in refused(table.drop_columns(["digest"]))
    nothing = pa.array([None] * 3, pa.large_string())
    assert "column stamp has a row without a value; delete it" in refused(table.set_column(1, "stamp", nothing))
    far = pa.array([[99]] * 3, pa.large_list(pa.uint8()))
    assert "a mask has other classes than counts" in refused(
        table.set_column(3, "classes", pa.array([[]] * 3, far.type))
    )
    ones = pa.array([[1]] * 3, pa.large_list(pa.int32()))
    assert "a class is outside 0..4" in refused(table.set_column(3, "classes", far).set_column(4, "class_px", ones))
    path.write_bytes(good)
    take_census(dataset, tmp_path / "cache")


def test_classes_without_a_pixel_are_told(tmp_path: Path):
    said: list[str] = []

    class Listener:
        def task(self, label: str, total: int, done: int = 0):
            return nullcontext(self)

        def advance(self, steps: int = 1, note: str = "") -> None:
            pass

        def say(self, text: str) -> None:
            said.append(text)

    take_census(some_masks(tmp_path / "masks", 5), tmp_path / "cache", progress=Listener())
    assert said == ["mine/train: 1 class has not a single pixel: e."]
