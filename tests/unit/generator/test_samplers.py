import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, LCMScheduler, VQDiffusionScheduler
from torch import Tensor

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.seeds import torch_generator
from d3s2.generator.denoiser import Level
from d3s2.generator.samplers import SAMPLERS, TimeTravel, ddim, dpm_solver_2m, initial_noise
from d3s2.generator.schedules import levels_of

FLOW = tuple(Level(alpha=1 - t, sigma=t, time=t) for t in (1.0, 0.75, 0.5, 0.25, 0.0))
X = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
TARGET = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)


def exact(x: Tensor, level: Level) -> Tensor:
    """A denoiser that knows the answer."""
    return TARGET.to(x).expand_as(x)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_denoiser_that_knows_the_answer_is_followed_to_it(name: str) -> None:
    torch.testing.assert_close(SAMPLERS[name](exact, X, FLOW), TARGET)


def test_time_travel_repeats_the_steps_of_its_window_only() -> None:
    seen: list[float] = []

    def counting(x: Tensor, level: Level) -> Tensor:
        seen.append(level.time)
        return exact(x, level)

    noise = torch.Generator().manual_seed(1)
    ddim(
        counting,
        X,
        FLOW,
        travel=TimeTravel(3, 0.25, 0.75),
        fresh_noise=lambda: torch.randn(X.shape, generator=noise),
    )
    assert seen == [1.0, 0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.25]


def test_time_travel_puts_noise_of_the_right_spread_back() -> None:
    many = torch.zeros(1, 1, 200, 200)
    rng = torch.Generator().manual_seed(2)
    levels = FLOW[1:3]
    x = ddim(
        lambda x, level: torch.zeros_like(x),
        torch.randn(many.shape, generator=rng) * levels[0].sigma,
        levels,
        travel=TimeTravel(4),
        fresh_noise=lambda: torch.randn(many.shape, generator=rng),
    )
    assert abs(float(x.std()) - levels[1].sigma) < 0.01


def test_drawing_without_fresh_noise_is_refused() -> None:
    with pytest.raises(UsageError, match="give fresh_noise"):
        ddim(exact, X, FLOW, eta=0.5)
    with pytest.raises(UsageError, match="give fresh_noise"):
        ddim(exact, X, FLOW, travel=TimeTravel(2))


def test_dpm_solver_refuses_eta() -> None:
    with pytest.raises(UsageError, match=r"eta is 0\.5, but dpm-solver-2m is deterministic"):
        dpm_solver_2m(exact, X, FLOW, eta=0.5)


def test_no_step_is_refused() -> None:
    with pytest.raises(UsageError, match="steps is 0, expected at least 1"):
        levels_of(LCMScheduler(), 0)


def test_scheduler_without_alphas_is_refused() -> None:
    with pytest.raises(ModelError, match="VQDiffusionScheduler has no alphas_cumprod"):
        levels_of(VQDiffusionScheduler(num_vec_classes=4), 3)
    with pytest.raises(ModelError, match="use_flow_sigmas is not known here"):
        levels_of(DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"), 3)


def test_initial_noise_of_an_item_depends_on_no_batch() -> None:
    one = initial_noise([torch_generator(0, "b")], (4, 2, 2))
    two = initial_noise([torch_generator(0, "a"), torch_generator(0, "b")], (4, 2, 2))
    assert torch.equal(one[0], two[1])
