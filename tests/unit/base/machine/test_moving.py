"""Moves that wait for nothing give what plain ones give."""

import torch
from elsewhere import ELSEWHERE

from d3s2.base.machine.moving import number_later, to_device


def test_what_is_there_already_stays_and_the_rest_travels() -> None:
    here = torch.ones(3)
    assert to_device(here, torch.device("cpu")) is here
    assert to_device(here, ELSEWHERE).device == ELSEWHERE


def test_a_number_is_that_of_the_tensor() -> None:
    value = torch.tensor(1.5, requires_grad=True) * 2
    assert number_later(value)() == 3.0
