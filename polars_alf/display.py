"""Presentation of results, sizes and counts in a line or a table, and of warnings."""

from __future__ import annotations

import html
import sys
import warnings
from collections.abc import Mapping
from datetime import datetime
from types import FrameType

PALETTE = (
    *("#3f84c6", "#c8690f", "#279063", "#a05fb4", "#d4504c", "#1d8ba0", "#a0714a", "#cf5597"),
    "#7d8590",
)
"""Colours of charts, which stand out by 3 to 1 at least from white and from dark pages."""


class Shown:
    """A result that shows its most important figures, and not all that it holds."""

    __slots__ = ()

    def _list_figures(self) -> Mapping[str, object]:
        """Return the figures to show by their names: whole numbers, texts or paths."""
        raise NotImplementedError

    def __repr__(self) -> str:
        figures = [f"{name} {_format(value)}" for name, value in self._list_figures().items()]
        return f"<{type(self).__name__}: {', '.join(figures)}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(_format(value))}</td></tr>'
            for name, value in self._list_figures().items()
        )
        return f"<table><caption>{type(self).__name__}</caption><tbody>{rows}</tbody></table>"


def describe_size(n_bytes: int) -> str:
    """Return a number of bytes in the unit that a person would choose."""
    size = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if abs(size) < 1000:
            return count(n_bytes, "byte") if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} EB"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number and what there are so many of, in the singular or the plural."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def describe_backoffs(number: int, least_share: float) -> str:
    """Return how often a walk backed off from a crowded storage, and how far."""
    return f"{count(number, 'time')}, to 1/{round(1 / least_share)} of the threads"


def describe_time(text: str) -> str:
    """Return an ISO time with its zone, for a person; earlier versions have written none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    offset = time.isoformat(timespec="seconds")[19:]
    zone = {"": "in an unknown zone", "+00:00": "UTC"}.get(offset, f"UTC{offset}")
    return f"{time:%Y-%m-%d %H:%M:%S} {zone}"


def _format(value: object) -> str:
    if isinstance(value, Mapping):
        counts = [f"{count:,} {name}" for name, count in value.items() if count]
        return " and ".join(filter(None, (", ".join(counts[:-1]), *counts[-1:]))) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn, as from the line of who calls this package, however deep in it the reason was found."""
    package = __name__.partition(".")[0]
    frame: FrameType | None = sys._getframe()
    level, above = 0, 1
    while frame is not None:
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            above = level + 1
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=above)
