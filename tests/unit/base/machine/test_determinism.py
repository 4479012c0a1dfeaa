"""What torch is set to while images are sampled, and that it is as before afterwards."""

import pytest
import torch

from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.runtime import tf32


def settings() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )


def test_a_cpu_has_one_thread_within() -> None:
    before = settings()
    torch.set_num_threads(2)
    try:
        with reproducible(torch.device("cpu")):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before[0])
    assert settings() == before


@pytest.mark.parametrize("strict", [False, True])
def test_a_gpu_has_deterministic_algorithms_within_and_what_it_had_after_an_error(strict: bool) -> None:
    torch.use_deterministic_algorithms(strict)
    before = settings()

    def fail() -> None:
        with reproducible(torch.device("cuda")):
            assert settings() == (before[0], True, True, False, False)
            raise KeyError

    try:
        with pytest.raises(KeyError):
            fail()
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_a_gpu_rounds_is_told_as_torch_is_set() -> None:
    convolutions, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = convolutions.fp32_precision, products.fp32_precision
    try:
        assert tf32() == "convolutions"  # torch's own
        products.fp32_precision = "tf32"
        assert tf32() == "convolutions, matrix products"
        convolutions.fp32_precision, products.fp32_precision = "ieee", "ieee"
        assert tf32() == "nothing"
    finally:
        convolutions.fp32_precision, products.fp32_precision = before
