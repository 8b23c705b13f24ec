"""Layout of frames: tables that fit a terminal, and lines of tab-separated values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum, auto
from typing import Any

import polars as pl

from polars_alf.alf.paths import printable, visible
from polars_alf.cli.text import break_path, measure, wrap
from polars_alf.display import describe_size

GAP = "  "
"""Between columns."""

LEAST_PATH = 20
"""Width below which no path is broken into lines."""

LEAST_TEXT = 20
"""Width below which no sentence is broken into lines."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")

_MOST_IN_UNIT = 10_000

_PLAIN = ("year", "number")
"""Numbers that are names, and have no thousands separators."""

_PATHS = ("tables", "kept", "dropped", "first_folder")
"""Columns of paths, beside those whose names end with path."""


class Fit(Enum):
    """How the cells of a column become narrower."""

    WHOLE = auto()
    """Not at all: numbers, times, ids."""
    PATH = auto()
    """Broken into lines after folders."""
    TEXT = auto()
    """Broken into lines between words."""


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    cells: list[str]
    fit: Fit
    is_right: bool
    width: int


def list_lines(
    frame: pl.DataFrame,
    width: int,
    *,
    sizes: Collection[str] = (),
    exact: bool = False,
    figures: Collection[str] = (),
) -> Iterator[str]:
    """Yield the lines of a table that is at most `width` columns wide.

    Numbers are on the right, paths are broken after folders, and sentences between words. Where
    that does not do, each row is a record, a value a line.

    Parameters
    ----------
    sizes
        Columns of bytes, shown in a unit that the heading names.
    exact
        Whether values are shown as they are: no units, thousands separators or rounding.
    figures
        Columns of texts that are numbers with their units, which are on the right, too.
    """
    columns = [_lay_out(column, sizes, exact=exact) for column in frame]
    columns = [
        replace(column, fit=Fit.WHOLE, is_right=True) if name in figures else column
        for name, column in zip(frame.columns, columns, strict=True)
    ]
    fitted = _fit(columns, width)
    if fitted:
        yield from _list_rows(fitted)
    else:
        yield from list_records(frame, width, sizes=sizes, exact=exact)


def can_fit(frame: pl.DataFrame, width: int, sizes: Collection[str] = ()) -> bool:
    """Whether a frame is a table at a width, and not records."""
    return bool(_fit([_lay_out(column, sizes, exact=False) for column in frame], width))


def list_records(
    frame: pl.DataFrame, width: int, *, sizes: Collection[str] = (), exact: bool = False
) -> Iterator[str]:
    """Yield the lines of a frame with a value a line, and its paths whole; as of `list_lines`."""
    # Beside a value alone, its own unit is easier to read than one for all.
    shown = frame.with_columns(
        frame[name].map_elements(describe_size, pl.String) for name in {*sizes} & {*frame.columns}
    )
    return _list_records([_lay_out(column, (), exact=exact) for column in shown], width)


def list_values(frame: pl.DataFrame, *, header: bool = False) -> Iterator[str]:
    """Yield rows as tab-separated values: exact numbers, times in UTC, nothing for null."""
    if header:
        yield "\t".join(map(printable, frame.columns))
    for row in frame.iter_rows():
        yield "\t".join("" if value is None else _write_value(value) for value in row)


def _lay_out(values: pl.Series, sizes: Collection[str], *, exact: bool) -> _Column:
    name, dtype = values.name, values.dtype
    heading = name
    if name in sizes:
        unit = _choose_unit(values)
        heading = f"{name} ({_UNITS[unit]})"
        write: Callable[[Any], str] = lambda value: _write_size(value, unit)  # noqa: E731
    elif exact:
        write = _write_value
    elif dtype.is_float():
        write = "{:,.2f}".format
    elif dtype.is_integer() and name not in _PLAIN:
        write = "{:,}".format
    elif isinstance(dtype, pl.Datetime):
        heading = f"{name} (UTC)"
        write = "{:%Y-%m-%d %H:%M:%S}".format  # seconds are enough for a person
    else:
        write = _write_value
    null = "null" if exact else "-"
    cells = [null if value is None else visible(write(value)) for value in values.to_list()]
    fit = Fit.WHOLE
    if dtype in (pl.String, pl.List(pl.String)):
        fit = _choose_fit(name, cells)
    heading = visible(printable(heading))
    width = max(map(measure, (*heading.split(" "), *cells)))
    return _Column(heading, cells, fit, dtype.is_numeric(), width)


def _choose_fit(name: str, cells: Sequence[str]) -> Fit:
    if name.endswith("path") or name in _PATHS:
        return Fit.PATH
    if any(" " in cell for cell in cells):
        return Fit.TEXT
    return Fit.PATH if any("/" in cell for cell in cells) else Fit.WHOLE


def _choose_unit(values: pl.Series) -> int:
    most = max((abs(value) for value in values if value is not None), default=0)
    unit = 0
    while most >= _MOST_IN_UNIT and unit < len(_UNITS) - 1:
        most /= 1000
        unit += 1
    return unit


def _write_size(n_bytes: int, unit: int) -> str:
    if unit == 0:
        return f"{n_bytes:,}"
    size = n_bytes / 1000**unit
    # What is small, and not nothing, is not to look like nothing.
    return f"{size:,.1f}" if n_bytes <= 0 or size >= 0.05 else "<0.1"


def _write_value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_write_value(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        zone = "Z" if value.tzinfo else ""
        return value.replace(tzinfo=None).isoformat(timespec="seconds") + zone
    if isinstance(value, date):
        return value.isoformat()
    return printable(str(value))


def _fit(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Return columns that fit a width together; none where that cannot be."""
    fitted = list(columns)
    least = [_find_least(column) for column in columns]
    excess = sum(column.width for column in fitted) + len(GAP) * (len(fitted) - 1) - width
    while excess > 0:
        room = [max(column.width - least[n], 0) for n, column in enumerate(fitted)]
        # The widest gives first, down to the next in width.
        widths = [column.width if room[n] else 0 for n, column in enumerate(fitted)]
        widest = max(widths, default=0)
        if not widest:
            return []
        n = widths.index(widest)
        lower = max((other for other in widths if other < widest), default=0)
        step = max(min(excess, room[n], widest - lower), 1)
        fitted[n] = replace(fitted[n], width=widest - step)
        excess -= step
    return fitted


def _find_least(column: _Column) -> int:
    if column.fit is Fit.WHOLE:
        return column.width
    words = column.heading.split(" ")
    if column.fit is Fit.TEXT:
        words += [word for cell in column.cells for word in cell.split(" ")]
    # In a narrower column, a path takes so many lines that a record is easier to read.
    least = max(LEAST_PATH, column.width // 2) if column.fit is Fit.PATH else LEAST_TEXT
    return max(least, *map(measure, words))


def _list_rows(columns: Sequence[_Column]) -> Iterator[str]:
    headings = [wrap(column.heading, column.width) for column in columns]
    yield from _join(headings, columns)
    yield "─" * (sum(column.width for column in columns) + len(GAP) * (len(columns) - 1))
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = []
        for cell, column in zip(row, columns, strict=True):
            if column.fit is Fit.PATH:
                cells.append(break_path(cell, column.width))
            else:
                cells.append(wrap(cell, column.width) if column.fit is Fit.TEXT else [cell])
        yield from _join(cells, columns)


def _join(cells: Sequence[list[str]], columns: Sequence[_Column]) -> Iterator[str]:
    for n in range(max(map(len, cells), default=0)):
        parts = []
        for lines, column in zip(cells, columns, strict=True):
            text = lines[n] if n < len(lines) else ""
            blank = " " * (column.width - measure(text))
            parts.append(blank + text if column.is_right else text + blank)
        yield GAP.join(parts).rstrip()


def _list_records(columns: Sequence[_Column], width: int) -> Iterator[str]:
    label = max((measure(column.heading) for column in columns), default=0)
    for n, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if n:
            yield ""
        for cell, column in zip(row, columns, strict=True):
            room = width - label - len(GAP)
            lines = wrap(cell, max(room, 1)) if column.fit is Fit.TEXT else [cell]
            blank = " " * (label - measure(column.heading))
            yield f"{column.heading}{blank}{GAP}{lines[0]}".rstrip()
            yield from (f"{' ' * label}{GAP}{line}" for line in lines[1:])
