"""How long a thread was off the processor in calls to the storage: those of Python.

It waited there for what they return, or for a processor. What it waited for Python's lock counts in
Python, and not in C.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class _Time(threading.local):
    ns = 0


_off_cpu = _Time()


def counting_off_cpu(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Count how long a thread is off the processor in a function."""

    @functools.wraps(function)
    def counted(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        begin = time.monotonic_ns() - time.thread_time_ns()
        try:
            return function(*args, **kwargs)
        finally:
            _off_cpu.ns += time.monotonic_ns() - time.thread_time_ns() - begin

    return counted


def discount_off_cpu(duration: int) -> None:
    """Take away some nanoseconds: a sleep until a turn is no call to the storage."""
    _off_cpu.ns -= duration


def read_off_cpu() -> int:
    """Return the nanoseconds that this thread was off the processor in what is counted."""
    return _off_cpu.ns
