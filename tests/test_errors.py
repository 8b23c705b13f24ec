"""Exceptions: each is also the builtin that a caller would catch, and reads as a sentence."""

from __future__ import annotations

import errno

import pytest

from polars_alf import errors

RAISED = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.PolarsAlfError)
]


@pytest.mark.parametrize("error", RAISED[1:])
def test_errors_are_builtins_and_say_their_message_alone(error: type[Exception]) -> None:
    builtins = {base for base in error.__mro__ if base.__module__ == "builtins"}
    assert builtins > {Exception, BaseException, object}
    assert str(error("x is wrong; give y")) == "x is wrong; give y"
    raised = error(errno.EIO, "x cannot be read; mount it")
    if getattr(raised, "errno", None):
        assert str(raised) == "x cannot be read; mount it"
