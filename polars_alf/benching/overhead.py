"""What a call takes in this program beside what the system takes for it.

The same call is made from Python and, through ctypes, straight to the C library; what ctypes
takes for itself is known from a function that does nothing. All three in turn, so that they meet
the same machine, on files that are surely in memory: those of Python's own library.
"""

from __future__ import annotations

import ctypes
import functools
import os
import statistics
from collections.abc import Callable
from itertools import islice
from typing import Any, Literal, NamedTuple

from polars_alf.benching.meters import Meter

Kind = Literal["loop", "stat", "open"]

_ROUNDS = 5
_FILES = 1000
"""So many that they fill the processor's caches about as those that are measured do."""
_MOST_NS = 5000.0
"""What Python never takes: beyond, its own library lies on storage that is slow itself."""
_STATUS_BYTES = 1024
"""Room for a ``struct stat`` of any system."""


class _Calls(NamedTuple):
    """The same call from Python and from C, and a call that does nothing in the place of that."""

    python: Callable[[str], object]
    direct: Callable[[bytes], object]
    empty: Callable[[bytes], object]


def measure_overhead(kind: Kind) -> float:
    """Return the nanoseconds of a call that are this program's own.

    Parameters
    ----------
    kind
        ``stat``, ``open`` (and close) or, for anything else, ``loop``: what is around every call.
        So it is also where the C library does not have these functions under these names.
    """
    paths = _list_paths()
    loops = statistics.median(_time(len, paths) for _ in range(_ROUNDS))
    calls = _find_calls().get(kind)
    if not calls:
        return loops
    names = [os.fsencode(path) for path in paths]
    shares = [
        _time(calls.python, paths) - _time(calls.direct, names) + _time(calls.empty, names)
        for _ in range(_ROUNDS)
    ]
    return min(max(statistics.median(shares), loops), _MOST_NS)


@functools.cache
def _list_paths() -> list[str]:
    folder = os.path.dirname(os.__file__)  # noqa: PTH120
    paths = (f"{above}/{name}" for above, _, names in os.walk(folder) for name in names)
    return list(islice(paths, _FILES))


@functools.cache
def _find_calls() -> dict[str, _Calls]:
    try:
        library = ctypes.CDLL(None)
        stat, open_, close = library.stat, library.open, library.close
        compare, absolute = library.memcmp, library.labs
    except (AttributeError, OSError, TypeError):
        return {}
    status = ctypes.create_string_buffer(_STATUS_BYTES)
    stat.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    compare.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
    open_.argtypes, close.argtypes = [ctypes.c_char_p, ctypes.c_int], [ctypes.c_int]
    absolute.argtypes = [ctypes.c_int]

    def direct_stat(name: bytes) -> None:
        stat(name, status)

    def empty_stat(name: bytes) -> None:
        compare(name, status, 0)

    def python_open(path: str) -> None:
        os.close(os.open(path, os.O_RDONLY))

    def direct_open(name: bytes) -> None:
        close(open_(name, os.O_RDONLY))

    def empty_open(name: bytes) -> None:
        compare(name, status, 0)
        absolute(0)

    return {
        "stat": _Calls(os.stat, direct_stat, empty_stat),
        "open": _Calls(python_open, direct_open, empty_open),
    }


def _time(call: Callable[[Any], object], items: list[Any]) -> float:
    """Return the nanoseconds that a call takes, the loop around it included."""
    meter = Meter(seconds=60)
    meter.repeat(call, items)
    return statistics.median(meter.latencies)
