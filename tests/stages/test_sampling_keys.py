"""Keys of `synthesize` that reach the sampler: fresh noise, and steps that are repeated in guidance's window."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import TINY

from d3s2.data.pairs import load_masks
from d3s2.pipeline.fit import Models, fit_models
from d3s2.pipeline.run import Run, open_run
from d3s2.recipes import load_run
from d3s2.synthesis.sampling import Sampled, sample_batch


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, Models]:
    folder = tmp_path_factory.mktemp("keys") / "run"
    run = open_run(load_run("scenes", TINY), folder, torch.device("cpu"))
    return folder, run, fit_models(run)


def sampled(made: tuple[Path, Run, Models], *words: str) -> Sampled:
    _, run, models = made
    other = replace(run, config=load_run("scenes", [*TINY, "synthesize.steps=10", *words]))
    ids = run.train_data.ids[:1]
    return sample_batch(other, models, ids, load_masks(run.train_data, ids), guided=False)


def test_eta_draws_the_same_fresh_noise_each_time(made: tuple[Path, Run, Models]) -> None:
    without, once, again = (sampled(made, *words) for words in ((), ("synthesize.eta=0.5",), ("synthesize.eta=0.5",)))
    assert (once.drawn[0].image != without.drawn[0].image).any()
    assert (once.drawn[0].image == again.drawn[0].image).all()


def test_repeated_steps_are_those_in_the_window_of_guidance(made: tuple[Path, Run, Models]) -> None:
    shares = sampled(made, "synthesize.repeats=2", "synthesize.guidance.window=[0.25, 0.55]").trace.noise
    assert [round(share, 1) for share in shares] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.1]
