"""What goes to the hub: a card that the hub's library reads, Croissant that its library reads, a dry run offline."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard
from test_store_export import SCENES, make
from tiny_run import call

from d3s2.base.errors import StoreError, UsageError
from d3s2.store.exporting import export
from d3s2.store.exports import hf_parquet
from d3s2.store.hub_upload import publish
from d3s2.store.reader import DistilledSet


def test_the_card_is_read_by_the_hubs_library(tmp_path: Path) -> None:
    make(tmp_path / "set")
    card = DatasetCard.load(export(tmp_path / "set", tmp_path / "hf", "hf") / "README.md")
    about = card.data.to_dict()
    assert about["task_categories"] == ["image-segmentation"]
    assert about["size_categories"] == ["n<1K"]
    (config,) = about["configs"]
    assert [*(tmp_path / "hf").glob(config["data_files"][0]["path"])]
    assert "| items | 3 |" in card.text
    assert all(f"| {name} |" in card.text for name in SCENES.space.names)


@pytest.mark.parametrize("per_shard", [1000, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib, which mlcroissant calls
def test_croissant_is_read_by_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_shard: int) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    monkeypatch.setattr(hf_parquet, "ITEMS_PER_SHARD", per_shard)
    distilled = DistilledSet(make(tmp_path / "set"))
    to = export(tmp_path / "set", tmp_path / "hf", "hf")
    described = mlcroissant.Dataset(jsonld=to / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    assert len(described.metadata.distribution) == 1 + -(-3 // per_shard)
    rows = sorted(described.records("pairs"), key=lambda row: row["pairs/item_id"])
    assert [row["pairs/item_id"].decode() for row in rows] == list(distilled.ids)
    for row, item_id in zip(rows, distilled.ids, strict=True):
        assert (np.asarray(row["pairs/image"]) == distilled.image(item_id)).all()
        assert (np.asarray(row["pairs/mask"]) == distilled.mask(item_id)).all()
        assert row["pairs/segmentation_after"] == 0.5
    names = {row["classes/id"]: row["classes/name"] for row in described.records("classes")}
    assert names == dict(enumerate(SCENES.space.names))


def test_a_dry_run_says_what_would_go_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "set")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert call("export", "set", "--push-to-hub", "me/tiny-set", "--dry-run") == 0
    said = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert said.startswith("Would upload to the data set me/tiny-set: 5 files, ")
    for name in ("README.md", "croissant.json", "d3s2-manifest.json", "data/train-00000-of-00001.parquet", "id2label"):
        assert name in said
    assert "# tiny\n" in said


@pytest.mark.parametrize("repo_id", ["tiny", "a/b/c", "me/", "me/a b", "me/--x", "/tiny"])
def test_a_name_that_the_hub_would_refuse_is_refused_at_once(tmp_path: Path, repo_id: str) -> None:
    make(tmp_path / "set")
    with pytest.raises(UsageError, match=r"names no data set of the hub: expected owner/name, of letters"):
        publish(tmp_path / "set", repo_id, dry_run=True)


def test_a_hub_that_is_not_reached_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "set")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(StoreError, match=r"^me/tiny: was not uploaded \(.*\); log in with `hf auth login`"):
        publish(tmp_path / "set", "me/tiny", endpoint="http://127.0.0.1:9")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_export_needs_a_folder_or_a_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "set")
    assert call("export", str(tmp_path / "set")) == 2
    assert "give --to FOLDER, or --push-to-hub OWNER/NAME" in capsys.readouterr().err
    for words in (("--to", str(tmp_path / "to")), ("--format", "voc")):
        assert call("export", str(tmp_path / "set"), "--push-to-hub", "me/tiny", *words) == 2
    assert not (tmp_path / "to").exists()
