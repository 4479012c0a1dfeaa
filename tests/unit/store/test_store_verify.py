"""verify finds every kind of damage and says where."""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from struct import pack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from d3s2.base.errors import StoreError
from d3s2.data.files.image_files import png_bytes
from d3s2.data.known.scenes import Scenes
from d3s2.store.item_table import SCHEMA, Items, read_items
from d3s2.store.items import ItemFacts, noise_seed, sha256_bytes
from d3s2.store.manifest import PROVENANCE, digest_of
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soften
from d3s2.store.verification import verify
from d3s2.store.writer import SetWriter

SCENES = Scenes("val", 3, (32, 48))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = SetWriter(tmp_path, "digest", SCENES.space)
    soft = soften(torch.full((18, 32, 48), 1 / 18), cell_px=8)
    for item_id in SCENES.ids:
        writer.write(item_id, SCENES.image(item_id), SCENES.mask(item_id), ItemFacts(item_id, 1), soft)
    writer.finish({key: {} for key in PROVENANCE})
    return tmp_path


def replace_file(folder: Path, file: str, content: bytes, **changes: object) -> None:
    """Puts a file in place with a table and a manifest that know of it, so that only its content can be wrong."""
    (folder / file).write_bytes(content)
    kind = {"images": "image", "labels": "label", "soft": "soft"}[file.split("/")[0]]
    edit_items(folder, lambda item: replace(item, **{f"{kind}_sha256": sha256_bytes(content)}, **changes), file)


def edit_items(folder: Path, change: Callable, file: str = "000000") -> None:
    items = [change(item) if Path(file).stem == item.item_id else item for item in read_items(folder / "items.parquet")]
    table = Items.of(items).as_bytes()
    (folder / "items.parquet").write_bytes(table)
    size = sum((folder / file).stat().st_size for item in items for file, _ in item.files)
    ignored_px = sum(item.ignored_px for item in items)
    rewrite_manifest(folder, items_sha256=sha256_bytes(table), bytes=size, ignored_px=ignored_px)


def rewrite_manifest(folder: Path, without: str = "", **changes: object) -> None:
    """Changes a manifest as d3s2 itself would write it, its own digest included."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    manifest.pop(without, None)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"manifest_sha256": digest_of(manifest)}))


def test_a_fresh_set_is_sound(folder: Path) -> None:
    found = verify(folder)
    assert found.sound
    assert (found.num_items, found.num_files, found.problems, found.extra_files) == (3, 9, (), ())


def test_missing_and_changed_files_are_named(folder: Path) -> None:
    (folder / "images/000000.png").unlink()
    (folder / "labels/000001.png").write_bytes(b"other")
    (folder / "soft/000002.safetensors").write_bytes(b"other")
    found = verify(folder)
    assert found.problems == (
        "images/000000.png: is missing.",
        "labels/000001.png: was changed after it was written (its SHA-256 differs).",
        "soft/000002.safetensors: was changed after it was written (its SHA-256 differs).",
    )
    assert not found.sound


def test_labels_outside_the_space_are_named(folder: Path) -> None:
    replace_file(folder, "labels/000000.png", png_bytes(np.full((32, 48), 18, np.uint8)))
    (problem,) = verify(folder).problems
    assert problem.endswith("000000.png: label 18 is outside scenes's 0..17; is this mask already shifted?")


def test_pictures_that_cannot_be_decoded_are_named(folder: Path) -> None:
    replace_file(folder, "images/000000.png", (folder / "images/000000.png").read_bytes()[:-400])
    (problem,) = verify(folder).problems
    assert "images/000000.png: is damaged" in problem


def test_sizes_that_differ_are_named(folder: Path) -> None:
    replace_file(folder, "images/000000.png", png_bytes(np.zeros((16, 48, 3), np.uint8)))
    assert verify(folder).problems == (
        "images/000000.png: is 16 x 48 px and its label 32 x 48 px (height x width); a pair must have one size.",
    )


def test_soft_labels_that_do_not_fit_are_named(folder: Path) -> None:
    other = (folder / "soft/000001.safetensors").read_bytes()
    replace_file(folder, "soft/000000.safetensors", other[:40])
    (problem,) = verify(folder).problems
    assert "soft/000000.safetensors: cannot be read as soft labels" in problem


def test_facts_that_cannot_be_are_named(folder: Path) -> None:
    edit_items(
        folder,
        lambda item: replace(item, source_id="", teacher_accuracy=1.5, energies_after={"segmentation": float("nan")}),
    )
    edit_items(folder, lambda item: replace(item, ignored_px=7), "000001")
    assert verify(folder).problems == (
        "000000: names no source mask.",
        "000000: energies_after of 'segmentation' is nan, expected a finite number.",
        "000000: teacher_accuracy is 1.5, expected 0 to 1.",
        "labels/000001.png: 0 pixels are ignored, items.parquet says 7.",
    )


def test_a_manifest_that_does_not_fit_is_named(folder: Path) -> None:
    size = json.loads((folder / "manifest.json").read_text())["bytes"]
    rewrite_manifest(folder, without="models", num_items=4, items_sha256="0", bytes=1, ignored_px=2)
    assert verify(folder).problems == (
        "manifest.json: 'models' is missing, expected the provenance of the set.",
        "items.parquet: holds 3 items, the manifest says 4.",
        "items.parquet: is not the file that the manifest was written for (its SHA-256 differs).",
        "items.parquet: 0 pixels are ignored, the manifest says 2.",
        f"manifest.json: says 1 bytes, the files of the items have {size:,}.",
    )


def test_extra_files_are_listed(folder: Path) -> None:
    (folder / "images/more").mkdir()
    (folder / "images/more/x.png").write_bytes(b"")
    (folder / "labels/y.png").write_bytes(b"")
    (folder / "report.html").write_text("a page is no part of the set")
    found = verify(folder)
    assert found.extra_files == ("images/more/x.png", "labels/y.png")
    assert found.problems == ()
    assert not found.sound


def test_the_list_is_limited_and_the_count_is_not(folder: Path) -> None:
    for item_id in SCENES.ids:
        (folder / f"images/{item_id}.png").unlink()
    found = verify(folder, limit=2)
    assert len(found.problems) == 2
    assert found.num_problems == 3


NO_DIGEST = "manifest.json: 'manifest_sha256' is missing, expected the provenance of the set."
CHANGED = "manifest.json: was changed after it was written (the digest of what it says differs)."


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["label_space"]["names"].reverse(),
        lambda manifest: manifest["config"].update(seed=9),
        lambda manifest: manifest["models"].update(teacher="another"),
        lambda manifest: manifest.update(digest="another"),
        lambda manifest: manifest.update(name="another"),
        lambda manifest: manifest.pop("manifest_sha256"),
        lambda manifest: manifest.update(bytes=1),
    ],
)
def test_an_edited_manifest_is_found(folder: Path, change: Callable) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = verify(folder)
    assert not found.sound
    assert found.problems[0] in (
        CHANGED,
        "manifest.json: 'manifest_sha256' is missing, expected the provenance of the set.",
    )


def test_a_replaced_card_is_found(folder: Path) -> None:
    (folder / "README.md").write_text("another")
    assert verify(folder).problems == ("README.md: was changed after it was written (its SHA-256 differs).",)
    (folder / "README.md").unlink()
    assert verify(folder).problems == ("README.md: is missing.",)


def test_a_seed_that_is_not_the_runs_is_found(folder: Path) -> None:
    rewrite_manifest(folder, config={"seed": 3})
    assert verify(folder).problems == ("000000: its seed is not what seed 3 of the run gives for its mask.",)
    edit_items(folder, lambda item: replace(item, seed=noise_seed(3, item.source_id, 0)))
    assert verify(folder).problems == ("000001: its seed is not what seed 3 of the run gives for its mask.",)


def test_a_set_of_version_1_is_read_and_has_no_digest_to_compare(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format_version": 1}
    del manifest["manifest_sha256"], manifest["card_sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify(folder).sound


def test_links_are_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (folder / "labels/000001.png").rename(outside / "000001.png")
    (folder / "labels/000001.png").symlink_to(outside / "000001.png")
    (problem,) = verify(folder).problems
    assert problem.startswith(f"{folder}/labels/000001.png: is a link, and links inside a set are not followed; put")
    with pytest.raises(StoreError, match="is a link"):
        DistilledSet(folder).mask("000001")
    (folder / "images").rename(outside / "images")
    (folder / "images").symlink_to(outside / "images")
    with pytest.raises(StoreError, match="images: is a link"):
        DistilledSet(folder).image("000000")
    (folder / "manifest.json").rename(outside / "manifest.json")
    (folder / "manifest.json").symlink_to(outside / "manifest.json")
    with pytest.raises(StoreError, match=r"manifest\.json: is a link"):
        verify(folder)


@pytest.mark.parametrize("side", [20_000, 1 << 30])
def test_a_bomb_in_a_set_is_refused_in_little_memory(folder: Path, side: int) -> None:
    small = png_bytes(np.zeros((8, 8), dtype=np.uint8))
    header = b"IHDR" + pack(">II", side, side) + small[24:29]
    bomb = small[:12] + header + pack(">I", zlib.crc32(header)) + small[33:]
    replace_file(folder, "images/000001.png", bomb)
    before = getrusage(RUSAGE_SELF).ru_maxrss
    (problem,) = verify(folder).problems
    assert problem.startswith(f"{folder}/images/000001.png: refused as a decompression bomb ({side} x {side} px")
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB; decoded it has 400 MB at the least


@pytest.mark.parametrize("name", ["manifest.json", "items.parquet"])
def test_a_pipe_in_place_of_a_file_does_not_wait(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(StoreError, match="is a pipe, expected a regular file"):
        verify(folder)


def test_a_table_of_two_million_equal_rows_is_refused_unread(folder: Path) -> None:
    row = pa.Table.from_pylist([vars(read_items(folder / "items.parquet")[0])], schema=SCHEMA)
    many = row.take(pa.array([0] * 2_000_000))
    pq.write_table(many, folder / "items.parquet", compression="zstd", row_group_size=2_000_000)
    with pytest.raises(StoreError, match=r"items.parquet: claims 2,000,000 rows in [\d,]+ bytes, which cannot be"):
        read_items(folder / "items.parquet")


def test_a_text_that_is_not_utf8_is_named(folder: Path) -> None:
    path = folder / "items.parquet"
    rows = pq.read_table(path)
    bad = pa.array([b"\xff\xfe", b"b", b"c"]).view(pa.string())
    pq.write_table(rows.set_column(1, rows.schema.field("source_id"), bad), path)
    with pytest.raises(StoreError, match=r"items.parquet: cannot be read as Parquet .*UTF8"):
        read_items(path)
