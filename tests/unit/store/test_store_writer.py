"""A distilled set grows item by item, survives being stopped anywhere, and has the same bytes whatever happened."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from d3s2.base.errors import DataError, StoreError, UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.store.item_table import Items, read_items
from d3s2.store.items import ItemFacts, item_id_for
from d3s2.store.manifest import PROVENANCE
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soften
from d3s2.store.writer import SetWriter

SCENES = Scenes("train", 4, (32, 48))
MANIFEST = dict.fromkeys(PROVENANCE) | {"name": "tiny", "cost": {"wall_s": 1.5}}


def facts(index: int) -> ItemFacts:
    return ItemFacts(
        f"source/{index}",
        seed=2**62 + index,
        energies_before={"segmentation": 1.0 / 3},
        energies_after={"segmentation": 0.1},
        teacher_accuracy=0.9,
    )


def write(writer: SetWriter, index: int, soft: bool = True) -> None:
    item_id = SCENES.ids[index]
    image, label = SCENES.image(item_id), SCENES.mask(item_id).copy()
    label[:2] = IGNORE
    labels = torch.from_numpy(SCENES.mask(item_id)).long()
    one_hot = F.one_hot(labels, SCENES.space.num_classes).permute(2, 0, 1).float()
    writer.write(item_id, image, label, facts(index), soften(one_hot, 2, 8) if soft else None)


def begin(folder: Path, kind: type[SetWriter] = SetWriter) -> SetWriter:
    return kind(folder, "digest-1", SCENES.space)


def write_all(folder: Path, kind: type[SetWriter] = SetWriter, manifest: dict = MANIFEST) -> None:
    writer = begin(folder, kind)
    for index in range(4):
        write(writer, index)
    writer.finish(manifest)


def make(folder: Path, order: tuple[int, ...] = (0, 1, 2, 3)) -> Path:
    """What a stage does: the items that are not done, then the end."""
    writer = begin(folder)
    done = writer.done()
    todo = [index for index in order if SCENES.ids[index] not in done]
    for index in todo:
        write(writer, index)
    if todo or not writer.finished:
        writer.finish(MANIFEST)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content(make(tmp_path_factory.mktemp("whole")))


class PowerCutError(Exception):
    pass


class FailingWriter(SetWriter):
    """Loses power at its n-th file, right after it or half-way through, with a temporary file left behind."""

    puts_left = 0
    after = False

    def _put(self, path: Path, content: bytes) -> None:
        if self.puts_left == 0:
            if self.after:
                super()._put(path, content)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                (path.parent / f".{path.name}.0123abcd.d3s2.part").write_bytes(content[: len(content) // 2])
            raise PowerCutError
        self.puts_left -= 1
        super()._put(path, content)


def test_the_folder_holds_what_the_layout_says(whole: dict[str, bytes]) -> None:
    ids = SCENES.ids
    expected = {"README.md", "items.parquet", "manifest.json"}
    expected |= {f"images/{i}.png" for i in ids} | {f"labels/{i}.png" for i in ids}
    expected |= {f"soft/{i}.safetensors" for i in ids}
    assert set(whole) == expected


def test_the_order_of_writing_leaves_no_trace(tmp_path: Path, whole: dict[str, bytes]) -> None:
    assert content(make(tmp_path, (2, 0, 3, 1))) == whole


@pytest.mark.parametrize("after", [False, True])
def test_a_stop_at_any_file_and_the_same_call_again_end_with_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], after: bool
) -> None:
    num_files = 1 + 4 * 4 + 3  # the plan; image, label, soft labels and record of each item; table, card, manifest
    for stop in range(num_files):
        folder = tmp_path / str(stop)
        kind = type("Stopped", (FailingWriter,), {"puts_left": stop, "after": after})
        with pytest.raises(PowerCutError):
            write_all(folder, kind)
        assert content(make(folder)) == whole, f"stopped at file {stop}"


def test_a_stop_loses_at_most_the_item_in_work(tmp_path: Path) -> None:
    kind = type("Stopped", (FailingWriter,), {"puts_left": 1 + 2 * 4 + 3})
    with pytest.raises(PowerCutError):
        write_all(tmp_path, kind)
    assert begin(tmp_path).done() == set(SCENES.ids[:2])


@pytest.mark.parametrize("place", ["images/000001.png", "labels/000001.png", "soft/000001.safetensors"])
@pytest.mark.parametrize("damage", ["delete", "truncate"])
@pytest.mark.parametrize("finished", [False, True])
def test_an_item_with_a_damaged_file_is_absent_and_made_anew(
    tmp_path: Path, whole: dict[str, bytes], place: str, damage: str, finished: bool
) -> None:
    if finished:
        make(tmp_path)
    else:
        writer = begin(tmp_path)
        write(writer, 0)
        write(writer, 1)
    path = tmp_path / place
    path.unlink() if damage == "delete" else path.write_bytes(path.read_bytes()[:-9])
    assert "000001" not in begin(tmp_path).done()
    assert content(make(tmp_path)) == whole


def test_a_damaged_record_makes_its_item_absent(tmp_path: Path, whole: dict[str, bytes]) -> None:
    writer = begin(tmp_path)
    write(writer, 0)
    record = next(tmp_path.rglob("000000.json"))
    record.write_text("{")
    assert begin(tmp_path).done() == set()
    assert content(make(tmp_path)) == whole


def test_a_finished_set_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    make(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


def test_cost_is_the_only_thing_that_may_vary(tmp_path: Path, whole: dict[str, bytes]) -> None:
    write_all(tmp_path, manifest=MANIFEST | {"cost": {"wall_s": 99.0}})
    again = content(tmp_path)
    ours, theirs = (json.loads(found.pop("manifest.json")) for found in (again, dict(whole)))
    assert again == {name: data for name, data in whole.items() if name != "manifest.json"}
    assert {key for key in ours if ours[key] != theirs[key]} == {"cost"}


def test_two_writers_of_one_run_share_a_folder(tmp_path: Path, whole: dict[str, bytes]) -> None:
    one, two = begin(tmp_path), begin(tmp_path)
    write(one, 0)
    write(two, 1)
    write(one, 2)
    write(two, 3)
    one.finish(MANIFEST)
    assert content(tmp_path) == whole


def test_items_survive_the_table(tmp_path: Path) -> None:
    make(tmp_path)
    items = read_items(tmp_path / "items.parquet")
    assert [item.item_id for item in items] == list(SCENES.ids)
    assert items[1].source_id == "source/1"
    assert items[1].seed == 2**62 + 1
    assert items[1].energies_before == {"segmentation": 1.0 / 3}
    assert items[1].energies_after == {"segmentation": 0.1}
    assert items[1].ignored_px == 2 * 48
    assert Items.of(items[::-1]).as_bytes() == (tmp_path / "items.parquet").read_bytes()


def test_the_card_counts_and_names_every_class(whole: dict[str, bytes]) -> None:
    card = whole["README.md"].decode()
    held = sum(bool((SCENES.mask(item_id)[2:] == 0).any()) for item_id in SCENES.ids)
    assert f"| 0 | sky | `#7ebeee` | {held} |" in card
    assert all(f" {name} |" in card for name in SCENES.space.names)
    assert "| items | 4 |" in card
    assert "32 x 48" in card


@pytest.mark.parametrize(
    ("source_id", "copy", "expected"),
    [
        ("0001TP_006690", 0, "0001TP_006690"),
        ("0001TP_006690", 2, "0001TP_006690.2"),
        ("train/a b", 0, "train_a_b-05281d65"),
        ("..", 0, "item-5ec1f7e7"),
    ],
)
def test_item_ids_are_file_names(source_id: str, copy: int, expected: str) -> None:
    assert item_id_for(source_id, copy) == expected


def test_another_plan_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    expected = (
        f"{tmp_path}: holds a distilled set of a different call (other config, data or models); "
        "choose another --out, or repeat the first call to resume it."
    )
    with pytest.raises(StoreError) as caught:
        SetWriter(tmp_path, "digest-2", SCENES.space)
    assert str(caught.value) == expected
    make(tmp_path)
    with pytest.raises(StoreError) as caught:
        SetWriter(tmp_path, "digest-2", SCENES.space)
    assert str(caught.value) == expected


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    begin(tmp_path / "fresh")
    (tmp_path / "images" / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(StoreError) as caught:
        begin(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'images'}: is already there and belongs to no distilled set that d3s2 began; "
        "choose another --out."
    )
    (tmp_path / "manifest.json").write_text('{"mine": 1}')
    with pytest.raises(StoreError, match=r"manifest.json: was not written by d3s2; choose another --out\.$"):
        begin(tmp_path)


def test_a_wrong_pair_is_refused(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, "d", LabelSpace("two", ("a", "b")))
    image, label = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    with pytest.raises(DataError) as caught:
        writer.write("x", image, label[:3], facts(0))
    assert str(caught.value) == (
        "Item 'x' has an image of 4 x 6 px and a label of 3 x 6 px (height x width); a pair must have one size."
    )
    with pytest.raises(DataError) as caught:
        writer.write("x", image, label + np.uint8(7), facts(0))
    assert str(caught.value) == "Item 'x': label 7 is outside two's 0..1 and 255 (ignored)."
    with pytest.raises(UsageError, match=r"^Item id '\.\./x' cannot be a file name"):
        writer.write("../x", image, label, facts(0))
    assert writer.done() == set()


def test_an_end_without_items_or_provenance_is_refused(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    with pytest.raises(StoreError, match=r"holds not a single item, so the set cannot be finished"):
        writer.finish(MANIFEST)
    with pytest.raises(UsageError) as caught:
        writer.finish({"config": {}})
    assert str(caught.value) == (
        "Manifest: 'inputs' is missing, expected config, inputs, models, versions, commit, cost."
    )
    with pytest.raises(UsageError, match=r"^Manifest: 'digest' is filled by the writer; leave it out\.$"):
        writer.finish(MANIFEST | {"digest": "x"})


def test_an_end_after_damage_is_refused(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    write(writer, 0)
    (tmp_path / "images" / "000000.png").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        writer.finish(MANIFEST)
    assert str(caught.value) == (
        f"{tmp_path}: the files of item '000000' were changed after they were written; "
        "run the same call again, it makes the item anew."
    )
    assert not writer.finished


def test_the_set_reads_as_a_data_set(tmp_path: Path) -> None:
    distilled = DistilledSet(make(tmp_path))
    assert distilled.name == "tiny"
    assert distilled.ids == SCENES.ids
    assert distilled.space.names == SCENES.space.names
    assert (distilled.image("000002") == SCENES.image("000002")).all()
    assert (distilled.mask("000002")[2:] == SCENES.mask("000002")[2:]).all()
    assert (distilled.mask("000002")[:2] == IGNORE).all()
    assert distilled.pair_stamp("000002") == distilled.item("000002").label_sha256
    soft = distilled.soft("000002")
    assert soft is not None
    assert soft.probabilities().shape == (18, 4, 6)


def test_a_folder_without_a_finished_set_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        DistilledSet(tmp_path / "none")
    assert str(caught.value) == (
        f"{tmp_path / 'none'}: there is no such folder, expected one that `d3s2 distill` made."
    )
    with pytest.raises(StoreError) as caught:
        DistilledSet(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: has no manifest.json, so it is no distilled set; give the folder of one."
    )
    begin(tmp_path)
    with pytest.raises(StoreError) as caught:
        DistilledSet(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: this distilled set is unfinished; run the call that began it again, it resumes."
    )
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(StoreError, match=r"was not written by d3s2; give the folder of a distilled set\.$"):
        DistilledSet(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "d3s2-distilled-set", "format_version": 9}')
    with pytest.raises(StoreError, match=r"is of format version 9, this d3s2 reads versions 1 to 2"):
        DistilledSet(tmp_path)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    table = make(tmp_path) / "items.parquet"
    table.write_bytes(table.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"items.parquet: cannot be read as Parquet .* restore it from a copy\.$"):
        DistilledSet(tmp_path)
    table.unlink()
    with pytest.raises(StoreError, match=r"items.parquet: is missing, expected the table of the set's items"):
        DistilledSet(tmp_path)


def test_a_table_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    make(tmp_path)
    table = tmp_path / "items.parquet"
    items = read_items(table)
    changed = type(items[0])(**(vars(items[0]) | {"image_file": "images/../../secret.png"}))
    table.write_bytes(Items.of([changed]).as_bytes())
    with pytest.raises(StoreError, match=r"the files of item '000000' do not bear its name"):
        DistilledSet(tmp_path)
    table.write_bytes(Items.of([items[1], items[1]]).as_bytes())
    with pytest.raises(StoreError, match=r"item '000001' is there twice, expected one row an item\.$"):
        DistilledSet(tmp_path)
