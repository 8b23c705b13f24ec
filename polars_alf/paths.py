"""Paths relative to an archive's root: POSIX, "" for the root itself."""

from __future__ import annotations

import os
import re
from itertools import accumulate

import pathspec

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that break a path over lines, or move a terminal's cursor."""


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
