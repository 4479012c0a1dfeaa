"""Numbers that are not finite end the work with a sentence that names the item or the step; none becomes an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from jaxtyping import UInt8
from tiny_run import TINY, distil
from torch import Tensor

from d3s2.base.config import Config
from d3s2.base.errors import NumericError
from d3s2.base.pixels import to_bytes
from d3s2.data.pairs import load_pairs
from d3s2.generator.compact.adapter import CompactAdapter
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.pipeline.distill import distill_run
from d3s2.pipeline.fitting.fit import Models, fit_models
from d3s2.pipeline.run import Run, open_run
from d3s2.recipes import load_run
from d3s2.synthesis.candidates import best_of, require_finite
from d3s2.synthesis.guided import Sampled, guided_sample, item_noise

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Breaking(CompactAdapter):
    """The same generator, whose predictions are NaN for some of the samples it is asked for.

    Args:
        breaks: of the number of a sample, from 0 in the order of calls, whether it breaks.
        bound: one entry a sample so far.
    """

    breaks: Callable[[int], bool] = lambda number: False
    bound: list[int] = field(default_factory=list)

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        denoiser, broken = super().bind(masks, guidance_scale), self.breaks(len(self.bound))
        self.bound.append(len(masks))

        def denoise(x: Tensor, level: Level) -> Tensor:
            clean = denoiser(x, level)
            return clean * torch.nan if broken else clean

        return denoise


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Models]:
    words = ["synthesize.candidates=3", "synthesize.soft={}", "synthesize.filter=1.25", "synthesize.steps=6"]
    config = load_run("scenes", [*TINY, *words])
    run = open_run(config, tmp_path_factory.mktemp("finite") / "run", CPU)
    return run, fit_models(run)


def broken(models: Models, breaks: Callable[[int], bool]) -> Models:
    generator = models.generator
    assert isinstance(generator, CompactAdapter)
    return replace(models, generator=Breaking(generator.model, generator.scheduler, breaks=breaks))


def sampled(run: Run, models: Models, ids: Sequence[str], candidate: int = 0, *, guided: bool = True) -> Sampled:
    masks = load_pairs(run.train_data, ids).masks
    noises = [item_noise(run.config.seed, name, candidate) for name in ids]
    parts = (models.generator, models.teacher, models.bank)
    return guided_sample(*parts, masks, noises, run.config.synthesize, device=CPU, guided=guided)


def best_of_three(run: Run, models: Models, ids: Sequence[str]) -> Sampled:
    tries = [sampled(run, models, ids, candidate) for candidate in range(3)]
    return require_finite(ids, best_of(tries, run.config.synthesize.guidance))


def test_a_candidate_that_is_not_finite_never_wins(made: tuple[Run, Models]) -> None:
    run, models = made
    ids = run.train_data.ids[:2]
    first_and_last = broken(models, lambda number: number // 2 != 1)
    found = best_of_three(run, first_and_last, ids)
    assert [item.candidate for item in found.items] == [1, 1]
    assert all(item.image.std() > 0 and item.is_finite and item.soft is not None for item in found.items)


def test_an_item_without_a_finite_candidate_is_named(made: tuple[Run, Models]) -> None:
    run, models = made
    ids = run.train_data.ids[:2]
    second = broken(models, lambda number: number % 2 == 1)
    with pytest.raises(NumericError, match=rf"^Item '{ids[1]}': what was sampled is not finite, .* lower synthesize"):
        best_of_three(run, second, ids)


def test_an_unguided_item_that_is_not_finite_is_named(made: tuple[Run, Models]) -> None:
    run, models = made
    ids = run.train_data.ids[:2]
    with pytest.raises(NumericError, match=rf"^Item '{ids[0]}': what was sampled is not finite"):
        require_finite(ids, sampled(run, broken(models, lambda number: True), ids, guided=False))


def test_bytes_are_not_made_of_what_is_not_finite() -> None:
    images = torch.rand(2, 3, 4, 4)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(NumericError, match="not finite"):
        to_bytes(images)


def changed(record: Config, key: str, value: float) -> Config:
    """The record with a number that no run file may hold; the checks of settings are passed over."""
    name, _, rest = key.partition(".")
    return record.model_copy(update={name: changed(getattr(record, name), rest, value) if rest else value})


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (("generator.fit.steps=6",), "generator.fit.lr", "fit generator: the loss of step "),
        (("teacher.train.iterations=6",), "teacher.train.lr", "fit teacher: the loss of step "),
        (("synthesize.unguided_too=false",), "synthesize.guidance.strength", "Item '"),
    ],
)
def test_a_run_that_leaves_the_numbers_ends_with_a_sentence(
    words: tuple[str, ...], key: str, said: str, tmp_path: Path
) -> None:
    config = changed(load_run("scenes", [*TINY, *words]), key, 1e30)
    with pytest.raises(NumericError, match=f"^{said}"):
        distill_run(Run(config, tmp_path / "run", CPU))
    assert not (tmp_path / "run/manifest.json").exists()
    assert not [*(tmp_path / "run").glob("images/*")]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("synthesize.guidance_scale=.inf", "'synthesize.guidance_scale': input should be a finite number, got inf"),
        ("synthesize.guidance.strength=.nan", "'synthesize.guidance.strength': input should be a finite number"),
        ("synthesize.eta=1.5", "'synthesize.eta': input should be less than or equal to 1, got 1.5"),
        ("synthesize={eta: 0.5, sampler: dpm-solver-2m}", "synthesize.eta is 0.5, but the sampler dpm-solver-2m is"),
    ],
)
def test_settings_without_an_image_are_refused(
    word: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert distil(tmp_path / "run", word) == 2
    assert said in capsys.readouterr().err
