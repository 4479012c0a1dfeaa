"""verify finds every kind of damage and says where."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from d3s2.data.image_files import png_bytes
from d3s2.data.known.scenes import Scenes
from d3s2.store.items import ItemFacts, items_bytes, read_items, sha256_bytes
from d3s2.store.soft import soften
from d3s2.store.verify import verify
from d3s2.store.writer import PROVENANCE, SetWriter

SCENES = Scenes("val", 3, (32, 48))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = SetWriter(tmp_path, "digest", SCENES.space)
    soft = soften(np.full((18, 32, 48), 1 / 18, dtype=np.float32))
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
    table = items_bytes(items)
    (folder / "items.parquet").write_bytes(table)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"items_sha256": sha256_bytes(table)}))


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
    assert "images/000000.png: is damaged and cannot be decoded" in problem


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
    edit_items(folder, lambda item: replace(item, source_id="", teacher_accuracy=1.5, l_seg_after=float("nan")))
    edit_items(folder, lambda item: replace(item, ignored_px=7), "000001")
    assert verify(folder).problems == (
        "000000: names no source mask.",
        "000000: l_seg_after is nan, expected a finite number.",
        "000000: teacher_accuracy is 1.5, expected 0 to 1.",
        "labels/000001.png: 0 pixels are ignored, items.parquet says 7.",
    )


def test_a_manifest_that_does_not_fit_is_named(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["models"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"num_items": 4, "items_sha256": "0"}))
    assert verify(folder).problems == (
        "manifest.json: 'models' is missing, expected the provenance of the set.",
        "items.parquet: holds 3 items, the manifest says 4.",
        "items.parquet: is not the file that the manifest was written for (its SHA-256 differs).",
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
