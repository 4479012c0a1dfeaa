"""A signal is never lost, wherever in the code it arrives."""

import signal
import sys
import time
from collections.abc import Iterator

import pytest

from d3s2.base.machine.signals import NUMBERS, TERMINATED, unwinding


class Signalled:
    """Is sent a signal while it is finalised, where Python drops exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)
        time.sleep(0)  # the handler has run by now


def finalised_while_unwinding(number: signal.Signals) -> None:
    with unwinding():
        dropped = Signalled(number)
        del dropped
        for _ in range(500):
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of a command that a person started: tests that run in the background ignore Ctrl-C otherwise."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():  # a signal that was handled leaves the default of both
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_within_a_finalizer_comes_again(number: signal.Signals, error: type[BaseException]) -> None:
    hook = sys.unraisablehook
    with pytest.raises(error) as raised:
        finalised_while_unwinding(number)
    assert number == signal.SIGINT or raised.value.args == (TERMINATED,)
    assert sys.unraisablehook is hook


def test_what_else_python_drops_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_value))

    class Failing:
        def __del__(self) -> None:
            raise ValueError("told")

    with unwinding():
        dropped = Failing()
        del dropped
    assert [str(error) for error in told] == ["told"]
