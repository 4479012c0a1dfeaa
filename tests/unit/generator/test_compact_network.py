"""What the compact generator takes from its input, and the layers that see every pixel."""

import pytest
import torch

from d3s2.base.errors import ModelError
from d3s2.generator.compact.network import CompactGenerator, new_generator, take_weights

SHAPE = {"num_classes": 4, "channels": (32, 32), "fine_channels": 8, "fine_layers": 1}


def drawn(time: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(time), 3, 16, 16, generator=generator)
    return x, torch.tensor(time), torch.randint(0, 4, (len(time), 16, 16), generator=generator)


def with_detail(detail: float) -> CompactGenerator:
    return new_generator(0, **SHAPE, detail=detail).eval().requires_grad_(False)


def test_each_side_weighs_by_what_the_other_misses() -> None:
    x, time, classes = drawn([0.02, 0.3, 0.9])
    layers = with_detail(0.0)(x, time, classes)
    found = with_detail(0.1)(x, time, classes)
    for item, t in enumerate(time.tolist()):
        spread = t / (1 - t)
        kept = 0.1**2 / (0.1**2 + spread**2)
        expected = kept * x[item] / (1 - t) + (1 - kept) * layers[item]
        torch.testing.assert_close(found[item], expected)


def test_noise_alone_shows_no_detail() -> None:
    x, time, classes = drawn([1.0])
    torch.testing.assert_close(with_detail(0.1)(x, time, classes), with_detail(0.0)(x, time, classes))


def test_no_weights_of_the_sum_lose_less_than_those() -> None:
    """For a picture of the layers whose error is white and of the deviation `detail`."""
    generator = torch.Generator().manual_seed(1)
    x0, e, error = (torch.randn(100_000, generator=generator) for _ in range(3))
    t, detail = 0.1, 0.08
    spread = t / (1 - t)
    best = detail**2 / (detail**2 + spread**2)

    def loss(kept: float) -> float:
        guess = kept * ((1 - t) * x0 + t * e) / (1 - t) + (1 - kept) * (x0 + detail * error)
        return float((guess - x0).square().mean())

    assert loss(best) < min(loss(best - 0.05), loss(best + 0.05))


def test_a_fit_starts_from_layers_of_another_number() -> None:
    start, model = with_detail(0.0), new_generator(1, **(SHAPE | {"fine_channels": 16, "fine_layers": 2}), detail=0.1)
    fresh = {name: weight.clone() for name, weight in model.refine.state_dict().items()}
    take_weights(model, start)
    for name, weight in start.unet.state_dict().items():
        assert torch.equal(model.unet.state_dict()[name], weight)
    for name, weight in fresh.items():
        assert torch.equal(model.refine.state_dict()[name], weight)
    with pytest.raises(ModelError, match=r"has channels \[32, 32\], this one \[32, 64\]"):
        take_weights(new_generator(0, **(SHAPE | {"channels": (32, 64)})), start)
