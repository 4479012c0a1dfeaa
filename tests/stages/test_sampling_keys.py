"""Keys of `synthesize` that reach the sampler: fresh noise, and steps that are repeated in guidance's window."""

from pathlib import Path

import pytest
import torch
from tiny_run import TINY, content, distil

from d3s2.base.errors import UsageError
from d3s2.data.pairs import load_pairs
from d3s2.pipeline.fitting.fit import Models, fit_models
from d3s2.pipeline.run import Run, open_run
from d3s2.recipes import load_run
from d3s2.synthesis.guided import Sampled, guided_sample, item_noise


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, Models]:
    folder = tmp_path_factory.mktemp("keys") / "run"
    run = open_run(load_run("scenes", TINY), folder, torch.device("cpu"))
    return folder, run, fit_models(run)


def sampled(made: tuple[Path, Run, Models], *words: str, images: bool = True) -> Sampled:
    """One unguided item, of the real image of its mask or of a black one."""
    _, run, models = made
    settings = load_run("scenes", [*TINY, "synthesize.steps=10", *words]).synthesize
    ids = run.train_data.ids[:1]
    noises, parts = [item_noise(0, name) for name in ids], (models.generator, models.teacher, models.bank)
    pairs = load_pairs(run.train_data, ids)
    call = {"device": run.device, "images": pairs.images if images else 0 * pairs.images, "guided": False}
    return guided_sample(*parts, pairs.masks, noises, settings, **call)


def test_eta_draws_the_same_fresh_noise_each_time(made: tuple[Path, Run, Models]) -> None:
    without, once, again = (sampled(made, *words) for words in ((), ("synthesize.eta=0.5",), ("synthesize.eta=0.5",)))
    assert (once.items[0].image != without.items[0].image).any()
    assert (once.items[0].image == again.items[0].image).all()


def test_sampling_starts_from_the_real_image_of_the_mask(made: tuple[Path, Run, Models]) -> None:
    from_image, from_noise = sampled(made, "synthesize.start=0.6"), sampled(made)
    assert [round(share, 1) for share in from_image.trace.noise] == [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert (sampled(made, "synthesize.start=0.6", images=False).items[0].image != from_image.items[0].image).any()
    assert (sampled(made, images=False).items[0].image == from_noise.items[0].image).all()


def test_a_start_without_a_step_or_an_image_is_named(made: tuple[Path, Run, Models]) -> None:
    with pytest.raises(UsageError, match=r"synthesize\.start is 0\.05, and no step of 10 starts with so little noise"):
        sampled(made, "synthesize.start=0.05")
    _, run, models = made
    settings = load_run("scenes", [*TINY, "synthesize.start=0.5"]).synthesize
    masks = load_pairs(run.train_data, run.train_data.ids[:1]).masks
    parts = (models.generator, models.teacher, models.bank)
    with pytest.raises(UsageError, match="give the images"):
        guided_sample(*parts, masks, [item_noise(0, "a")], settings, device=run.device)


def test_a_distilled_set_from_real_images_is_the_same_set_again(made: tuple[Path, Run, Models], tmp_path: Path) -> None:
    for folder in ("once", "again"):
        assert distil(tmp_path / folder, "synthesize.start=0.7") == 0
    assert content(tmp_path / "once") == content(tmp_path / "again")
    assert distil(tmp_path / "noise") == 0
    assert content(tmp_path / "once").keys() == content(tmp_path / "noise").keys()
    assert content(tmp_path / "once") != content(tmp_path / "noise")


def test_repeated_steps_are_those_in_the_window_of_guidance(made: tuple[Path, Run, Models]) -> None:
    shares = sampled(made, "synthesize.repeats=2", "synthesize.guidance.window=[0.25, 0.55]").trace.noise
    assert [round(share, 1) for share in shares] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.1]
