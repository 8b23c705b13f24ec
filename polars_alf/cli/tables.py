"""Commands about tables: merge, diff, verify, info, sql."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

import polars_alf
from polars_alf.cli import printing
from polars_alf.cli.options import (
    EXIT_INCOMPLETE,
    Jobs,
    Quiet,
    Root,
    interruptible,
    saying_warnings,
    showing_progress,
)
from polars_alf.errors import OptionError
from polars_alf.index.report import read_run
from polars_alf.merge.sources import KEEPS, Keep
from polars_alf.parallel.executors import EXECUTORS, check_executor

app = typer.Typer()

Folder = Annotated[
    str,
    typer.Argument(
        metavar="DIR", help="Folder of tables, or a pattern of several.", show_default=False
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command()
def merge(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...", help="Folders of tables, or patterns of them.", show_default=False
        ),
    ],
    out_dir: Annotated[
        str, typer.Option(help="Existing folder for the merged tables.", show_default=False)
    ],
    keep: Annotated[
        str,
        typer.Option(
            metavar="|".join(KEEPS),
            help="Which of several rows to keep: of the DIR given first, or of the newest tables.",
        ),
    ] = "first",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where there are conflicts.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Merge tables of many archives, or of parts of one, into tables that ONE opens.

    What is in any of them is in the result, each session and each dataset once. Rows that were
    left out although they say something else are in .polars_alf/conflicts.arrow beside the tables.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but with conflicts under --strict.
    """
    with saying_warnings(), interruptible("the tables that were there are whole"):
        merged = polars_alf.merge_tables(folders, out_dir, keep=cast(Keep, keep))
    if as_json:
        print(json.dumps(merged.to_dict()))
    elif not quiet:
        printing.print_merge(merged)
    if strict and merged.n_conflicts:
        raise typer.Exit(EXIT_INCOMPLETE)


@app.command()
def diff(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="Folder of the old tables.", show_default=False)
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Folder of the new tables.", show_default=False)
    ],
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column whose changes do not count; may be given again.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what was added, removed, changed or renamed from the tables OLD to the tables NEW.

    Exit codes: 0 no difference, 1 failed, 2 wrong usage, 3 there are differences.
    """
    with saying_warnings(), interruptible("nothing was changed"):
        found = polars_alf.compare_tables(old, new, ignore=ignore or ())
    if as_json:
        printing.print_json(found.to_dict(), "differences", found.differences)
    elif not quiet:
        printing.print_differences(found)
    if len(found.differences):
        raise typer.Exit(EXIT_INCOMPLETE)


@app.command()
def verify(
    root: Root,
    tables_dir: Annotated[
        str | None,
        typer.Option(help="Folder of the tables; ROOT by default.", show_default=False),
    ] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Read files, and compare their MD5 with the tables'.")
    ] = False,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Look at a share of the datasets only, such as 1% or 0.01.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the sample.")] = 0,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="As given to index.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="As given to index; may be given again.", show_default=False
        ),
    ] = None,
    jobs: Jobs = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="|".join(EXECUTORS), help="Where workers run.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare the files of ROOT with its tables: missing, new, of another size or content.

    Changes nothing. Files are read only with --digest, and only those that tables have an MD5 of.

    Exit codes: 0 all is as the tables say, 1 failed, 2 wrong usage, 3 something is not.
    """
    with (
        saying_warnings(),
        interruptible("nothing was changed"),
        showing_progress(quiet) as progress,
    ):
        found = polars_alf.verify_archive(
            root,
            tables_dir,
            digest=digest,
            sample=None if sample is None else _parse_share(sample),
            seed=seed,
            follow_links=follow_links,
            exclude=exclude or (),
            n_jobs=jobs,
            executor=check_executor(executor),
            progress=progress,
        )
    if as_json:
        printing.print_json(found.to_dict(), "findings", found.findings)
    elif not quiet:
        printing.print_verification(found)
    if len(found.findings):
        raise typer.Exit(EXIT_INCOMPLETE)


@app.command()
def info(
    folder: Folder,
    top: Annotated[
        int, typer.Option(min=1, help="Rows to print of each table, and datasets to list.")
    ] = printing.ROWS_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show what the tables in DIR have in them: sessions, datasets and bytes, by what they are.

    Then what the index that made them told: its settings, counts, issues and slowest shards.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with saying_warnings(), interruptible("nothing was changed"):
        summary = polars_alf.summarize_tables(folder, n_largest=top)
        run = read_run(Path(folder))
    if as_json:
        print(json.dumps(summary.to_dict() | {"run": run}))
    else:
        printing.print_summary(summary, top)
        if run:
            printing.print_run(run)


@app.command()
def sql(
    folder: Folder,
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="SELECT, WITH or SHOW TABLES.", show_default=False),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(printing.FORMATS),
            help="How to print; as the name of FILE says, or else a table.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the answer to a file.", show_default=False),
    ] = None,
) -> None:
    """Ask the tables in DIR, sessions and datasets, in the SQL of Polars.

    Only these two can be read, and nothing can be written but the answer.

    Exit codes: 0 done, 1 failed, 2 wrong usage, or a query that cannot be answered.
    """
    form = _choose_format(form, output)
    with saying_warnings(), interruptible("nothing was changed"):
        from polars_alf.query.sql import reporting_query_errors  # loaded by what needs it

        answer = polars_alf.query_tables(folder, query)
        with reporting_query_errors(query):
            printing.write_answer(answer, form, output)


def _choose_format(form: str | None, output: Path | None) -> str:
    if form is None:
        suffixes = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl"}
        suffixes |= {"parquet": "parquet", "pqt": "parquet"}
        form = "table" if output is None else suffixes.get(output.suffix[1:].lower(), "")
    if form not in printing.FORMATS:
        known = ", ".join(printing.FORMATS)
        raise OptionError(f"{form or str(output)!r} says no format; give --format, one of {known}")
    if form == "table" and output:
        raise OptionError("a table is for reading; give --format csv, jsonl or parquet for a file")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise OptionError("Parquet is nothing for a terminal; give --output FILE, or a pipe")
    return form


def _parse_share(text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+|[0-9]+\.)\s*(%?)\s*", text)
    if not match:
        raise OptionError(f"the sample {text!r} is no share; give one such as 1% or 0.01")
    return float(match[1]) / (100 if match[2] else 1)
