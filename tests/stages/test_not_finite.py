"""Numbers that are not finite end the work with a sentence that names the item or the step; none becomes an image."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from jaxtyping import UInt8
from tiny_run import TINY, distil
from torch import Tensor

from d3s2.base.errors import NumericError
from d3s2.data.pairs import load_masks, to_bytes
from d3s2.generator.compact.adapter import CompactAdapter
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.pipeline.fit import Models, fit_models
from d3s2.pipeline.run import Run, open_run
from d3s2.recipes import load_run
from d3s2.synthesis.sampling import best_of_candidates, sample_batch

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


def test_a_candidate_that_is_not_finite_never_wins(made: tuple[Run, Models]) -> None:
    run, models = made
    ids = run.train_data.ids[:2]
    first_and_last = broken(models, lambda number: number // 2 != 1)
    found = best_of_candidates(run, first_and_last, ids, load_masks(run.train_data, ids))
    assert [drawn.candidate for drawn in found.drawn] == [1, 1]
    assert all(drawn.image.std() > 0 and drawn.l_seg < 1e9 and drawn.soft is not None for drawn in found.drawn)


def test_an_item_without_a_finite_candidate_is_named(made: tuple[Run, Models]) -> None:
    run, models = made
    ids = run.train_data.ids[:2]
    second = broken(models, lambda number: number % 2 == 1)
    with pytest.raises(NumericError, match=rf"^Item '{ids[1]}': what was sampled is not finite, .* lower synthesize"):
        best_of_candidates(run, second, ids, load_masks(run.train_data, ids))


def test_an_unguided_item_that_is_not_finite_is_named(made: tuple[Run, Models]) -> None:
    run, models = made
    ids = run.train_data.ids[:2]
    with pytest.raises(NumericError, match=rf"^Item '{ids[0]}': what was sampled is not finite"):
        sample_batch(run, broken(models, lambda number: True), ids, load_masks(run.train_data, ids), guided=False)


def test_bytes_are_not_made_of_what_is_not_finite() -> None:
    images = torch.rand(2, 3, 4, 4)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(NumericError, match="not finite"):
        to_bytes(images)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generator.fit.lr=1e30", "generator.fit.steps=6"), "fit generator: the loss of step "),
        (("teacher.train.lr=1e30", "teacher.train.iterations=6"), "fit teacher: the loss of step "),
        (("synthesize.guidance.strength=1e30", "synthesize.unguided_too=false"), "Item '"),
    ],
)
def test_a_run_that_leaves_the_numbers_ends_with_a_sentence(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert distil(tmp_path / "run", *words) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
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
