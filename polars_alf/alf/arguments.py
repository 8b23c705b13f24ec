"""Checks of the types of arguments, which Python itself leaves to the line that first uses them."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Iterable
from typing import Any

from polars_alf.errors import OptionError

_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}


def check_session_path(path: str, where: str, example: str) -> None:
    """Raise OptionError where a path, or a pattern of paths, is none in a session."""
    if not all(part.strip(".") for part in path.split("/")):
        raise OptionError(
            f"{path!r} in {where} is no path in a session; give one such as {example}"
        )


def check_argument(name: str, value: object, kind: type, *, is_optional: bool = False) -> Any:
    """Return an argument; OptionError where it is not of a kind: bool, int, float or str.

    Whole numbers of any library become ``int``.
    """
    base, words = _KINDS[kind]
    if value is None and is_optional:
        return None
    if isinstance(value, base) and (kind is bool or not isinstance(value, bool)):
        return int(value) if isinstance(value, numbers.Integral) and kind is int else value
    raise _describe(name, value, f"{words}, or None" if is_optional else words)


def check_texts(name: str, value: object) -> tuple[str, ...]:
    """Return one text, or several, as a tuple; OptionError where there is anything else."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, Iterable):
        raise _describe(name, value, "a text, or several")
    texts = tuple(values)
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise _describe(name, wrong[0], "a text, or several")
    return texts


def _describe(name: str, value: object, wanted: str) -> OptionError:
    text = " ".join(reprlib.repr(value).split())
    return OptionError(f"{name} is {text}, of type {type(value).__name__}; give {wanted}")
