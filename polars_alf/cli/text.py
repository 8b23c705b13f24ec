"""Texts on a terminal: how wide they are, and the lines that they are broken into."""

from __future__ import annotations

import re

INDENT = "  "
"""Before the further lines of a path."""


def break_path(path: str, width: int) -> list[str]:
    """Return lines of a path, broken after folders, or where a name is too wide, in it.

    Nothing is left out, so that two paths never look the same. Further lines are indented, to look
    like no path of their own.
    """
    lines = [""]
    for part in re.findall("[^/]*/|[^/]+", path):
        rest = part
        if lines != [""] and measure(lines[-1] + rest) > width:
            lines.append(INDENT)
        while measure(lines[-1] + rest) > width:
            n_letters = _count_letters(rest, width - measure(lines[-1]))
            lines[-1] += rest[:n_letters]
            lines.append(INDENT)
            rest = rest[n_letters:]
        lines[-1] += rest
    return lines


def wrap(text: str, width: int) -> list[str]:
    """Return lines of a text, broken between words only."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and measure(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def measure(text: str) -> int:
    """Return the columns of a terminal that a text takes: letters may be as wide as two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _count_letters(text: str, width: int) -> int:
    """Return how many letters of a text a width has room for, one at least."""
    n_letters = max(width, 1)
    while n_letters > 1 and measure(text[:n_letters]) > width:
        n_letters -= 1
    return n_letters
