"""Guidance does what it says, with the shipped networks of `scenes` as users load them: on the masks that the recipe
chooses, from the same noise, both energies fall, and a network that never guided sees the masks better too."""

from dataclasses import dataclass

import pytest
import torch

from d3s2.api import distill
from d3s2.data.pairs import Pairs, load_pairs
from d3s2.metrics.formulas import mean_iou
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run
from d3s2.recipes import load_run
from d3s2.store.items import Item
from d3s2.store.reader import DistilledSet
from d3s2.student.prediction import score
from d3s2.student.settings import TrainSettings
from d3s2.student.training import train

CPU = torch.device("cpu")
NUM_ITEMS = 20
GUIDANCE = ("rule=both", "strength=0.25", "energies={segmentation: 1.0, features: 1.0}")
OVERRIDES = (
    "data.options={count: {train: 400, test: 4}}",
    "select.ratio=0.05",
    "select.strips=1",
    "synthesize.start=1",
    "synthesize.steps=12",
    "synthesize.batch=20",
    "synthesize.measure_cost=false",
    *(f"synthesize.guidance.{word}" for word in GUIDANCE),
)


@dataclass(frozen=True)
class Made:
    items: tuple[Item, ...]
    guided: Pairs
    unguided: Pairs
    teacher: Segmenter
    bystander: Segmenter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("guidance") / "run"
    guided = distill("scenes", out=folder, overrides=OVERRIDES, device="cpu")
    unguided = DistilledSet(folder / "unguided")
    run = Run(load_run("scenes", OVERRIDES), folder, CPU)
    bystander = new_segmenter("compact-unet", run.train_data.space.num_classes, seed=5)
    train(bystander, run.train_pairs, TrainSettings(iterations=200, batch=8, lr=3e-3), seed=5, device=CPU)
    return Made(
        items=guided.items,
        guided=load_pairs(guided, guided.ids),
        unguided=load_pairs(unguided, guided.ids),
        teacher=fit_teacher(run),
        bystander=bystander,
    )


def test_both_energies_fall_in_at_least_95_of_100_items(made: Made) -> None:
    assert len(made.items) == NUM_ITEMS
    assert (
        sum(item.energies_after["segmentation"] < item.energies_before["segmentation"] for item in made.items)
        >= 0.95 * NUM_ITEMS
    )
    assert (
        sum(item.energies_after["features"] < item.energies_before["features"] for item in made.items)
        >= 0.95 * NUM_ITEMS
    )


def test_the_teacher_reads_the_masks_better_from_guided_images(made: Made) -> None:
    before, after = (mean_iou(score(made.teacher, pairs, device=CPU)) for pairs in (made.unguided, made.guided))
    assert after > before + 0.03


def test_a_network_that_never_guided_reads_the_masks_better_from_guided_images(made: Made) -> None:
    before, after = (mean_iou(score(made.bystander, pairs, device=CPU)) for pairs in (made.unguided, made.guided))
    assert after > before
