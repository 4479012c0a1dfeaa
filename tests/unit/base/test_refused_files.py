"""A file that the operating system does not give is no defect."""

import errno
import os

import pytest

from d3s2.base.errors import StoreError, refused_file


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_is_not_given_is_named(number: int) -> None:
    named = refused_file(OSError(number, os.strerror(number), "runs/a/labels/1.png"))
    assert isinstance(named, StoreError)
    assert str(named).startswith(f"runs/a/labels/1.png: cannot be used ({os.strerror(number)}); check the file, its")


def test_other_errors_stay_what_they_are() -> None:
    for error in (OSError(errno.EINVAL, "Invalid", "x"), OSError("text"), ValueError("x"), StoreError("x: is full.")):
        assert refused_file(error) is None
