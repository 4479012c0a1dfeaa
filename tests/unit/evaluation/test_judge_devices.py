"""Judges work on the device: bytes of images travel there, vectors and counts come back, sets are judged there."""

from pathlib import Path

import pytest
import torch
from elsewhere import ELSEWHERE, Watched, landing_from
from torch import Tensor

from d3s2 import similarity
from d3s2.data import catalogue
from d3s2.data.known.scenes import Scenes
from d3s2.data.settings import DataSettings
from d3s2.evaluation.judges import facts, judging
from d3s2.evaluation.judges.facts import ImageFacts
from d3s2.judgements import OWN_REAL
from d3s2.metrics import counting
from d3s2.nets.fresh import new_segmenter
from d3s2.store.items import ItemFacts
from d3s2.store.manifest import PROVENANCE
from d3s2.store.reader import DistilledSet
from d3s2.store.writer import SetWriter

NUM_IMAGES = 6


def test_images_travel_as_bytes_and_vectors_and_counts_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    landed = landing_from(monkeypatch, facts, counting)
    monkeypatch.setattr(facts, "BATCH", 3)
    settings = DataSettings(dataset="scenes", size=(32, 48), options={"count": {"train": NUM_IMAGES, "test": 2}})
    data = catalogue.open_split(settings, "train")
    net = new_segmenter("compact-unet", data.space.num_classes, seed=0, width=8).to(ELSEWHERE).eval()
    with Watched() as watched:
        found = facts.read_facts({facts.TEACHER: net}, data, data.ids, scored=True, device=ELSEWHERE)
    assert len(found.features) == NUM_IMAGES
    assert {tensor.device for tensor in landed} == {ELSEWHERE}
    assert max(tensor.numel() for tensor in landed) <= max(found.features[:3].numel(), data.space.num_classes**2)
    assert {tensor.dtype for tensor in watched.moved} == {torch.uint8}


def vectors(count: int, device: torch.device) -> Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(count)).to(device)


def test_distances_are_taken_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 3)
    with Watched() as watched:
        spread = similarity.spread_of(vectors(8, ELSEWHERE))
    assert spread.radius.device == ELSEWHERE
    assert [tuple(tensor.shape) for tensor in watched.moved] == [(8, 4)]


@pytest.mark.parametrize("block", [2, 8])
def test_a_comparison_is_waited_for_once_however_many_blocks_it_has(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "BLOCK", block)
    landed = landing_from(monkeypatch, similarity)
    spread = similarity.spread_of(vectors(8, ELSEWHERE))
    similarity.compare(spread, vectors(5, ELSEWHERE))
    assert [tuple(tensor.shape) for tensor in landed] == [(2,), (5,), (5,), (5,)]  # counts, and three numbers an image
    assert {tensor.device for tensor in landed} == {ELSEWHERE}


def some_facts(count: int) -> ImageFacts:
    return ImageFacts(
        vectors(count, torch.device("cpu")), vectors(count, torch.device("cpu")), 0, 1, {}, "teacher", "x"
    )


def test_sets_are_judged_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landed = landing_from(monkeypatch, similarity, judging)
    data = Scenes("train", 4, (32, 48))
    writer = SetWriter(tmp_path, "digest", data.space)
    for item_id in data.ids:
        writer.write(item_id, data.image(item_id), data.mask(item_id), ItemFacts(item_id, seed=0))
    writer.finish(dict.fromkeys(PROVENANCE) | {"name": "tiny", "cost": {"wall_s": 1.0}})
    facts_of = {judging.ALL_REAL: some_facts(8), "distilled": some_facts(4), OWN_REAL: some_facts(4)}
    real_ids = [f"real/{index}" for index in range(8)]
    sets = {"distilled": DistilledSet(tmp_path)}
    with Watched() as watched:
        found = judging.judge_sets(facts_of, sets, real_ids, digest="", device=ELSEWHERE)
    assert [row.name for row in found.rows] == ["distilled", OWN_REAL]
    assert [one.nearest_id for one in found.rows[0].neighbours] == [real_ids[0]] * 4  # what lands is 0
    assert {tensor.device for tensor in landed} == {ELSEWHERE}
    # the vectors of each table, twice: as features, as pictures; own images are not compared as pictures
    assert [tuple(tensor.shape) for tensor in watched.moved] == [(8, 4), (8, 4), (4, 4), (4, 4), (4, 4)]
