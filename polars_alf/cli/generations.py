"""Commands about earlier generations of tables: history, restore."""

from __future__ import annotations

import json
from typing import Annotated

import polars as pl
from typer import Option, Typer

import polars_alf
from polars_alf.cli import output
from polars_alf.cli.options import AsJson, Folder, JsonLines, Quiet

_CORE = ("time", "run", "generation", "status", "n_sessions", "n_datasets")

_LETTERS = 10
"""Beginning of a generation's name, of which restore needs no more."""

app = Typer()


@app.command()
def history(folder: Folder, as_json: JsonLines = False) -> None:
    """List the runs that wrote the tables in DIR.

    The status of their generation is current, kept (restore puts it back) or gone. A dash instead
    of a run stands for tables of another program.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("nothing was changed"):
        rows = polars_alf.read_history(folder)
    if as_json:
        print(rows.write_ndjson(), end="")
    else:
        if output.is_terminal():
            rows = rows.with_columns(pl.col("generation").str.slice(0, _LETTERS))
        nothing = f"no runs: nothing has written tables into {folder}"
        output.print_listing(rows, "run", nothing, core=_CORE)


@app.command()
def restore(
    folder: Folder,
    generation: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Generation to put back, or the beginning of its name; that replaced last by "
            "default.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Put back the tables in DIR that were replaced last.

    These are the tables before the last index, merge or restore. Both are exchanged, or neither,
    with their issues, changes and report. Those that were there are kept in turn: the same command
    again brings them back. Index before you prune: files that are newer than the tables put back
    are in none of their rows.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("the tables are whole: the old ones, or those put back"):
        restored = polars_alf.restore_tables(folder, generation)
    if as_json:
        print(json.dumps(restored.to_dict()))
    elif not quiet:
        counts = (restored.n_sessions, restored.n_datasets)
        sessions, datasets = ("unknown" if n is None else f"{n:,}" for n in counts)
        output.print_fields(
            ("Restored", restored.generation),
            ("Sessions", sessions),
            ("Datasets", datasets),
            ("Replaced", restored.replaced or "nothing: there were no tables"),
            ("Tables", restored.folder),
        )
