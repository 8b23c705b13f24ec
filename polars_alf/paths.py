"""Paths relative to an archive's root: POSIX, "" for the root itself."""

from __future__ import annotations

import os
import re
from itertools import accumulate

import pathspec

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that break a path over lines, or move a terminal's cursor."""

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys but lines and tabs, or lets text look like another: the marks that turn
its direction."""

BENCH_PREFIX = "polars_alf_bench_"
BENCH_FOLDER = re.compile(f"{BENCH_PREFIX}[0-9a-f]{{12}}")
"""Name of the folder of a bench that is under way, or was killed: its sessions are made up."""


def join(directory: str, name: str) -> str:
    """Return the path of what lies in a directory."""
    return f"{directory}/{name}" if directory else name


def is_excluded(patterns: pathspec.GitIgnoreSpec, path: str) -> bool:
    """Tell whether a walk leaves out a file: by its own path, or with a folder above it."""
    folders = accumulate(path.split("/")[:-1], join)
    return any(patterns.match_file(f"{folder}/") for folder in folders) or bool(
        patterns.match_file(path)
    )


def printable(path: str) -> str:
    r"""Return a path as text of one line; bytes not UTF-8 and control characters as ``\xNN``."""
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, as Windows allows
        text = path.encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def visible(text: str) -> str:
    r"""Return text of lines and tabs with all else that steers a terminal as ``\uNNNN``."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
