"""Output of frames on stdout: tables for people, tab-separated values in a pipe, and JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

import polars as pl

from polars_alf.cli import layout
from polars_alf.cli.output import (
    describe_rest,
    is_terminal,
    measure_terminal,
    print_message,
    print_sentence,
    print_visibly,
)
from polars_alf.display import count

BYTES = (
    *("file_size", "previous_size", "table_size", "disk_size", "kept_size", "dropped_size"),
    *("n_bytes", "n_bytes_spare", "more_bytes"),
)
"""Columns of bytes in the tables that commands print."""


def print_json(head: dict[str, object], rows_name: str, rows: pl.DataFrame) -> None:
    """Print one JSON object, its last value an array with a row a line."""
    print(json.dumps(head)[:-1] + f', "{rows_name}": [', end="")
    before = "\n"
    for part in rows.iter_slices():  # the text of millions of rows is not held as a whole
        print(before + part.write_ndjson().strip().replace("\n", ",\n"), end="")
        before = ",\n"
    print("]}" if rows.is_empty() else "\n]}")


def print_listing(
    frame: pl.DataFrame,
    noun: str,
    nothing: str,
    *,
    are_records: bool = False,
    core: Sequence[str] = (),
) -> None:
    """Print what a command was asked to list.

    A terminal gets a table, or records, and how many rows there are; a pipe gets tab-separated
    values alone. Where there is nothing, stderr says so.

    Parameters
    ----------
    noun
        What a row is.
    nothing
        What to say where there are no rows.
    core
        Columns for a terminal that has no room for all.
    """
    if frame.is_empty():
        print_message(nothing)
    elif not is_terminal():
        _print_lines(layout.list_values(frame))
    else:
        is_narrow = core and not layout.can_fit(frame, measure_terminal(), BYTES)
        print_rows(frame.select(core) if is_narrow else frame, are_records=are_records)
        more = "; --json has all columns" if is_narrow else ""
        print_visibly(f"\n{count(len(frame), noun)}{more}")


def print_rows(
    frame: pl.DataFrame,
    *,
    are_records: bool = False,
    exact: bool = False,
    figures: Collection[str] = (),
) -> None:
    """Print a frame for a person, as a table or as records; where it is wide, as records too."""
    width = measure_terminal() if is_terminal() else 1_000_000
    sizes = () if exact else BYTES
    if are_records:
        _print_lines(layout.list_records(frame, width, sizes=sizes))
    else:
        lines = layout.list_lines(frame, width, sizes=sizes, exact=exact, figures=figures)
        _print_lines(lines)


def print_table(
    frame: pl.DataFrame,
    title: str,
    nothing: str = "",
    rows: int | None = None,
    *,
    option: str = "",
    figures: Collection[str] = (),
) -> None:
    """Print a table of a summary, and how many rows there are beyond the first.

    A pipe gets all rows, unless an option of the command says how many.

    Parameters
    ----------
    nothing
        What to say where there are no rows; nothing at all by default.
    rows
        Most rows to print on a terminal, and with `option` in a pipe, too.
    option
        Option of the command that `rows` is the value of.
    figures
        Columns of texts that are numbers with their units.
    """
    if frame.is_empty():
        if nothing:
            print_sentence(f"\n{title}: {nothing}")
        return
    print_sentence(f"\n{title}")
    first = frame.head(rows) if rows and (option or is_terminal()) else frame
    if is_terminal():
        print_rows(first, figures=figures)
    else:
        _print_lines(layout.list_values(first, header=True))
    if len(frame) > len(first):
        how = f"{option} {len(frame)} or --json" if option else ""
        print_visibly(describe_rest(len(frame) - len(first), how))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print_visibly(line)
