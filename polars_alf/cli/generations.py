"""Commands about earlier generations of tables: history, restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from typer import Option, Typer

import polars_alf
from polars_alf.cli import frames, output
from polars_alf.cli.options import AsJson, Folder, JsonLines, Progress, Quiet
from polars_alf.cli.progress import ProgressKind, show_steps
from polars_alf.tables.generations import SHORT_NAME

# The twin of `query.summary.GROUPS`, whose room only one command needs to load.
Group = Literal["lab", "subject", "year", "collection", "extension"]

_CORE = ("time", "run", "generation", "status", "n_sessions", "n_datasets")

app = Typer()


@app.command()
def history(
    folder: Folder,
    by: Annotated[
        Group | None, Option(help="Show instead how the tables that are kept grew by this.")
    ] = None,
    as_json: JsonLines = False,
    progress: Progress = ProgressKind.AUTO,
) -> None:
    """List the runs that wrote the tables in DIR, or how these grew.

    The status of their generation is current, kept (restore puts it back) or gone, or repeated: a
    later run has the same tables, and its row has their status. A dash instead of a run stands for
    tables of another program.

    With --by lab, there is a row for each lab in the tables and in each earlier generation that is
    kept: its datasets and bytes, and how many more these are than in the generation before.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    if by is not None:
        _print_growth(folder, by, progress, as_json=as_json)
        return
    with output.running("nothing was changed"):
        rows = polars_alf.read_history(folder)
    if as_json:
        print(rows.write_ndjson(), end="")
    else:
        if output.is_terminal():
            rows = rows.with_columns(pl.col("generation").str.slice(0, SHORT_NAME))
        nothing = f"no runs: nothing has written tables into {folder}"
        frames.print_listing(rows, "run", nothing, core=_CORE)


def _print_growth(folder: Path, by: str, progress: ProgressKind, *, as_json: bool) -> None:
    with output.running("nothing was changed"), show_steps(progress, quiet=False) as show:
        rows = polars_alf.measure_growth(folder, by, progress=show)
    if as_json:
        print(rows.write_ndjson(), end="")
        return
    if output.is_terminal():
        rows = rows.with_columns(pl.col("generation").str.slice(0, SHORT_NAME))
    core = ("generation", by, "datasets", "n_bytes", "more_datasets", "more_bytes")
    frames.print_listing(rows, "row", f"no rows: the tables in {folder} are empty", core=core)
    if rows["more_bytes"].null_count() == len(rows) > 0:
        output.print_message(
            "nothing to compare with: no earlier tables are kept; index again, and see "
            "--keep-generations"
        )


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
