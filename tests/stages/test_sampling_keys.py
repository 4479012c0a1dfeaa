"""Keys of `synthesize` that reach the sampler: fresh noise, and steps that are repeated in guidance's window."""

from pathlib import Path

import pytest
import torch
from tiny_run import TINY

from d3s2.data.pairs import load_masks
from d3s2.pipeline.fitting.fit import Models, fit_models
from d3s2.pipeline.run import Run, open_run
from d3s2.recipes import load_run
from d3s2.synthesis.guided import Sampled, guided_sample, item_noise


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, Models]:
    folder = tmp_path_factory.mktemp("keys") / "run"
    run = open_run(load_run("scenes", TINY), folder, torch.device("cpu"))
    return folder, run, fit_models(run)


def sampled(made: tuple[Path, Run, Models], *words: str) -> Sampled:
    _, run, models = made
    settings = load_run("scenes", [*TINY, "synthesize.steps=10", *words]).synthesize
    ids = run.train_data.ids[:1]
    noises, parts = [item_noise(0, name) for name in ids], (models.generator, models.teacher, models.bank)
    return guided_sample(*parts, load_masks(run.train_data, ids), noises, settings, device=run.device, guided=False)


def test_eta_draws_the_same_fresh_noise_each_time(made: tuple[Path, Run, Models]) -> None:
    without, once, again = (sampled(made, *words) for words in ((), ("synthesize.eta=0.5",), ("synthesize.eta=0.5",)))
    assert (once.items[0].image != without.items[0].image).any()
    assert (once.items[0].image == again.items[0].image).all()


def test_repeated_steps_are_those_in_the_window_of_guidance(made: tuple[Path, Run, Models]) -> None:
    shares = sampled(made, "synthesize.repeats=2", "synthesize.guidance.window=[0.25, 0.55]").trace.noise
    assert [round(share, 1) for share in shares] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.1]
