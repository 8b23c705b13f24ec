"""The command that queries tables: sql."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, get_args

import polars as pl
from typer import Argument, Option, Typer

import polars_alf
from polars_alf.cli import frames, layout, output
from polars_alf.cli.options import Force, Tables
from polars_alf.cli.streams import keeping_errors
from polars_alf.display import count, describe_size
from polars_alf.errors import OptionError, OutputError
from polars_alf.tables.files import replace_file
from polars_alf.tables.output import check_output

Format = Literal["table", "tsv", "csv", "jsonl", "parquet"]

_FORMATS: dict[str, Format] = {
    **{".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pqt": "parquet"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
}

_SINKS: dict[str, Callable[..., object]] = {
    "csv": pl.LazyFrame.sink_csv,
    "tsv": lambda answer, sink: answer.sink_csv(sink, separator="\t"),
    "jsonl": pl.LazyFrame.sink_ndjson,
    "parquet": pl.LazyFrame.sink_parquet,
}

_ANSWER_ROWS = 100
"""Rows of an answer that a terminal gets by default."""

app = Typer()


@app.command()
def sql(
    folder: Tables,
    query: Annotated[
        str, Argument(metavar="QUERY", help="SELECT, WITH, SHOW TABLES or DESCRIBE TABLE.")
    ],
    form: Annotated[
        Format | None,
        Option(
            "--format",
            help="Format; by default that of FILE's suffix, or a table, in a pipe tab-separated.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        Option(
            metavar="N",
            min=0,
            help="Most rows to print, 0 for all; by default 100 in a table, else all.",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object a line.")] = False,
    out: Annotated[
        Path | None,
        Option("--out", metavar="FILE", help="File for the answer, in no archive of DIR."),
    ] = None,
    force: Force = False,
) -> None:
    """Query the tables in DIR with the SQL of Polars.

    The tables are named sessions and datasets; DESCRIBE sessions says what is in the columns.
    Values are printed as they are. Nothing else can be read, and nothing can be written but the
    answer: over no table, into no archive, and over another file with --force only.

    Exit codes: 0 done, 1 failed, 2 wrong usage, or a query that cannot be answered.
    """
    if as_json and form not in (None, "jsonl"):
        raise OptionError(f"--json is --format jsonl, and not {form}; give one of them")
    form = _choose_format("jsonl" if as_json else form, out)
    with output.running("nothing was changed"):
        from polars_alf.query.scan import find_places
        from polars_alf.query.sql import reporting_query_errors

        if out:
            folders = [place for place in find_places(folder) if isinstance(place, Path)]
            check_output(out, folders, force=force)
        answer = polars_alf.query_tables(folder, query)
        with reporting_query_errors(query):
            _write_answer(answer, form, out, limit)


def _choose_format(form: Format | None, file: Path | None) -> Format:
    if form is None and file is None:
        return "table" if output.is_terminal() else "tsv"
    if form is None and file:
        form = _FORMATS.get(file.suffix.lower())
    if form is None:
        known = ", ".join(get_args(Format))
        raise OptionError(f"{str(file)!r} says no format; give --format, one of {known}")
    if form == "table" and file:
        raise OptionError("a table is for reading; give --format csv, jsonl or parquet for a file")
    if form == "parquet" and file is None and output.is_terminal():
        raise OptionError("Parquet is nothing for a terminal; give --out FILE, or a pipe")
    return form


def _write_answer(answer: pl.LazyFrame, form: Format, file: Path | None, limit: int | None) -> None:
    """Write the answer of a query to stdout or a file, whole or not at all."""
    if form == "table":
        _print_answer(answer.collect(), _ANSWER_ROWS if limit is None else limit)
        return
    if limit:
        answer = answer.head(limit)
    if file is None:
        rows = answer.collect()
        if rows.is_empty():
            output.print_message("no rows")
        if form == "tsv":
            for line in layout.list_values(rows):
                print(line)
            return
        sys.stdout.flush()  # the rows go past the text that it holds
        with keeping_errors(sys.stdout.buffer) as sink:
            _SINKS[form](rows.lazy(), sink)
    else:
        try:
            with replace_file(file) as stream, keeping_errors(stream) as sink:
                _SINKS[form](answer, sink)
        except OSError as error:
            raise OutputError(
                error.errno, f"{file} cannot be written: {error.strerror}; give another file"
            ) from error
        output.print_message(f"the answer is in {file} ({describe_size(file.stat().st_size)})")


def _print_answer(rows: pl.DataFrame, limit: int) -> None:
    shown = rows.head(limit) if limit else rows
    if len(shown):
        frames.print_rows(shown, exact=True)
        output.print_visibly()
    if len(shown) < len(rows):
        more = f"{len(shown):,} of {count(len(rows), 'row')}; --limit 0 prints all"
        output.print_visibly(more)
    else:
        output.print_visibly(count(len(rows), "row"))
