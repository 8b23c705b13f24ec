"""Commands about tables: issues, changes, merge, insertions, diff, info, sql."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import polars as pl
from rich.filesize import decimal
from typer import Argument, Exit, Option, Typer

import polars_alf
from polars_alf.cli import output
from polars_alf.cli.options import (
    AsJson,
    Folder,
    Force,
    IdsFrom,
    JsonLines,
    KeepGenerations,
    Quiet,
    Strict,
    Tables,
)
from polars_alf.cli.streams import keeping_errors
from polars_alf.errors import OptionError, OutputError
from polars_alf.schema import IssueKind
from polars_alf.tables.files import replace_file, scan_changes, scan_issues
from polars_alf.tables.generations import KEEP
from polars_alf.tables.output import check_output

if TYPE_CHECKING:  # each is loaded by the command that needs it
    from polars_alf.merge.api import MergedTables
    from polars_alf.query.diff import TableDifferences
    from polars_alf.query.summary import TableSummary

# Twins of `ChangeKind` and `Keep`, whose rooms only some commands need to load.
Change = StrEnum("Change", ["ADDED", "CHANGED", "REMOVED", "UNREADABLE"])

Keep = Literal["first", "newest"]

Format = Literal["table", "csv", "jsonl", "parquet"]

_FORMATS: dict[str, Format] = {
    **{".csv": "csv", ".parquet": "parquet", ".pqt": "parquet"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
}

_SINKS: dict[str, Callable[..., object]] = {
    "csv": pl.LazyFrame.sink_csv,
    "jsonl": pl.LazyFrame.sink_ndjson,
    "parquet": pl.LazyFrame.sink_parquet,
}

_ANSWER_ROWS = 100

app = Typer()


@app.command()
def issues(
    folder: Folder,
    kind: Annotated[
        list[IssueKind] | None,
        Option(metavar="KIND", help="Only issues of this kind; may be given again."),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """List the issues that the last index into FOLDER found.

    These are paths that it skipped, or kept although ONE may not open them.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    _print_rows(scan_issues(folder), ["kind", "path", "message"], kind, as_json=as_json)


@app.command()
def changes(
    folder: Folder,
    kind: Annotated[
        list[Change] | None,
        Option(metavar="CHANGE", help="Only datasets with this change; may be given again."),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """List datasets that the last index into FOLDER found changed.

    These are datasets that were added, changed or removed since the index before, or that cannot
    be read any more.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    columns = ["change", "path", "file_size", "previous_size"]
    _print_rows(scan_changes(folder), columns, kind, as_json=as_json)


@app.command()
def merge(
    folders: Annotated[
        list[str], Argument(metavar="DIR...", help="Folders of tables, or patterns of them.")
    ],
    out_dir: Annotated[str, Option(metavar="DIR", help="Existing folder for the merged tables.")],
    keep: Annotated[
        Keep, Option(help="Row to keep of several: of the first DIR, or of the newest tables.")
    ] = "first",
    keep_generations: KeepGenerations = KEEP,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Merge tables of several archives, or of parts of one.

    The result, which ONE opens, has each session and each dataset of any of them once. Rows that
    were left out although they differ are in .polars_alf/conflicts.arrow beside the tables.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but with conflicts under --strict.
    """
    with output.running("the tables that were there are whole"):
        merged = polars_alf.merge_tables(
            folders, out_dir, keep=keep, keep_generations=keep_generations
        )
    if as_json:
        print(json.dumps(merged.to_dict()))
    elif not quiet:
        _print_merge(merged)
    if strict and merged.n_conflicts:
        raise Exit(output.EXIT_INCOMPLETE)


@app.command()
def insertions(
    folder: Folder,
    ids_from: IdsFrom = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the table of probe insertions for the tables in FOLDER.

    Every folder of a probe, such as alf/probe00, is an insertion of its session. Later indexes keep
    the table up to date. ONE needs it for eid2pid, pid2eid and search_insertions.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("a table that was there is whole"):
        made = polars_alf.write_insertions(folder, ids_from=ids_from or ())
    if as_json:
        print(json.dumps(made.to_dict()))
    elif not quiet:
        output.print_fields(
            ("Insertions", f"{made.n_insertions:,} in {made.n_sessions:,} sessions"),
            ("Known ids", f"{made.n_known:,}"),
            ("Table", str(made.path)),
        )


@app.command()
def diff(
    old: Annotated[str, Argument(metavar="OLD", help="Folder of the old tables.")],
    new: Annotated[str, Argument(metavar="NEW", help="Folder of the new tables.")],
    ignore: Annotated[
        list[str] | None,
        Option(metavar="COLUMN", help="Column whose changes do not count; may be given again."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what differs between the tables OLD and the tables NEW.

    A session or a dataset may be added, removed, changed or renamed.

    Exit codes: 0 no difference, 1 failed, 2 wrong usage, 3 there are differences.
    """
    with output.running("nothing was changed"):
        found = polars_alf.compare_tables(old, new, ignore=ignore or ())
    if as_json:
        output.print_json(found.to_dict(), "differences", found.differences)
    elif not quiet:
        _print_differences(found)
    if len(found.differences):
        raise Exit(output.EXIT_INCOMPLETE)


@app.command()
def info(
    folder: Tables,
    top: Annotated[
        int, Option(metavar="N", min=1, help="Rows to print of each table, and datasets to list.")
    ] = output.ROWS_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Summarize the tables in DIR, and the index that made them.

    Shows sessions, datasets and bytes by lab, year, collection and more; of the index, its
    settings, counts, issues and slowest shards.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("nothing was changed"):
        from polars_alf.index.report import read_run
        from polars_alf.query.buckets import is_address

        summary = polars_alf.summarize_tables(folder, n_largest=top)
        run = None if is_address(folder) else read_run(Path(folder))
    if as_json:
        print(json.dumps(summary.to_dict() | {"run": run}))
    else:
        _print_summary(summary, top)
        if run:
            _print_run(run)


@app.command()
def sql(
    folder: Tables,
    query: Annotated[str, Argument(metavar="QUERY", help="SELECT, WITH or SHOW TABLES.")],
    form: Annotated[
        Format | None,
        Option("--format", help="Format; by default that of FILE's suffix, or a table."),
    ] = None,
    file: Annotated[
        Path | None,
        Option("--output", metavar="FILE", help="File for the answer, in no archive of DIR."),
    ] = None,
    force: Force = False,
) -> None:
    """Query the tables in DIR with the SQL of Polars.

    The tables are named sessions and datasets. Nothing else can be read, and nothing can be
    written but the answer: over no table, into no archive, and over another file with --force only.

    Exit codes: 0 done, 1 failed, 2 wrong usage, or a query that cannot be answered.
    """
    form = _choose_format(form, file)
    with output.running("nothing was changed"):
        from polars_alf.query.scan import find_places
        from polars_alf.query.sql import reporting_query_errors

        if file:
            folders = [place for place in find_places(folder) if isinstance(place, Path)]
            check_output(file, folders, force=force)
        answer = polars_alf.query_tables(folder, query)
        with reporting_query_errors(query):
            _write_answer(answer, form, file)


def _choose_format(form: Format | None, file: Path | None) -> Format:
    if form is None:
        form = "table" if file is None else _FORMATS.get(file.suffix.lower())
    if form is None:
        known = ", ".join(get_args(Format))
        raise OptionError(f"{str(file)!r} says no format; give --format, one of {known}")
    if form == "table" and file:
        raise OptionError("a table is for reading; give --format csv, jsonl or parquet for a file")
    if form == "parquet" and file is None and sys.stdout.isatty():
        raise OptionError("Parquet is nothing for a terminal; give --output FILE, or a pipe")
    return form


def _print_rows(frame: pl.LazyFrame, columns: list[str], kinds: Any, *, as_json: bool) -> None:
    """Print rows whose first column is one of some kinds, if given."""
    if kinds:
        frame = frame.filter(pl.col(columns[0]).is_in([str(kind) for kind in kinds]))
    rows = frame.collect()
    if as_json:
        print(rows.write_ndjson(), end="")
    elif len(rows):
        lines = rows.select(columns).write_csv(separator="\t", include_header=False)
        output.print_visibly(lines.removesuffix("\n"))


def _print_merge(merged: MergedTables) -> None:
    """Print what was merged, and what was left out."""
    output.print_fields(
        ("Sessions", f"{merged.n_sessions:,}"),
        ("Datasets", f"{merged.n_datasets:,}"),
        ("Duplicates", f"{merged.n_duplicates:,} rows that others say as well"),
        ("Conflicts", f"{merged.n_conflicts:,} rows that say something else than those kept"),
        ("Time", f"{merged.seconds:.2f} s"),
        ("Tables", str(merged.folder)),
    )
    output.print_frame(merged.sources.drop("created"))
    if merged.n_conflicts:
        columns = ["differs", "kept_path", "dropped_path", "kept_size", "dropped_size"]
        shown = merged.conflicts.select(columns).head(output.ROWS_SHOWN).collect()
        output.print_frame(shown, "Conflicts")
        output.print_visibly(f"\nAll of them: {merged.to_dict()['conflicts_path']} (Arrow IPC)")


def _print_differences(found: TableDifferences) -> None:
    for table, counts in found.counts.items():
        text = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
        rows = f"{found.n_old[table]:,} → {found.n_new[table]:,}"
        output.print_fields((table.capitalize(), f"{rows}: {text or 'no difference'}"))
    path = (
        pl.when(pl.col("change") == "renamed")
        .then(pl.format("{} → {}", "old_path", "new_path"))
        .otherwise(pl.coalesce("new_path", "old_path"))
    )
    shown = found.differences.select("change", path.alias("path"), "columns")
    output.print_first(shown, "Differences", 2 * output.ROWS_SHOWN)


def _print_summary(summary: TableSummary, rows: int) -> None:
    output.print_fields(
        ("Sessions", f"{summary.n_sessions:,}"),
        ("Datasets", f"{summary.n_datasets:,} ({decimal(summary.n_bytes)})"),
        ("Absent", f"{summary.n_absent:,} (in the tables, but not on disk when they were made)"),
        ("Digests", f"{summary.n_with_hash:,} datasets have one"),
    )
    for name, frame in summary.groups.items():
        output.print_first(frame, f"By {name}", rows)
    output.print_first(summary.qc, "Quality control", len(summary.qc))
    output.print_first(summary.largest.select("file_size", "path"), "Largest", rows)
    duplicates = summary.duplicates.select("datasets", "n_bytes_spare", "path", "hash")
    output.print_first(duplicates, "The same content, and what all but one take", rows)


def _print_run(run: dict[str, Any]) -> None:
    """Print the report of the index that made the tables (`index.report.describe_run`)."""
    report, settings = run["report"], run["settings"]
    given = [f"{name}={value}" for name, value in settings.items() if value not in (None, "", [])]
    program = output.describe_version(run["version"], run.get("core"))
    output.print_visibly()
    output.print_fields(
        ("Index", f"{run['begun']} to {run['ended']}, {program}"),
        ("Time", f"{report['seconds']:.2f} s, {report['n_jobs']} workers"),
        ("Shards", f"{report['n_shards']:,} ({report['n_resumed']:,} done before)"),
        ("Settings", ", ".join(given)),
        ("Issues", f"{sum(report['issues'].values()):,}"),
    )
    for kind, count in report["issues"].items():
        for example in run["examples"].get(kind, [])[:1]:
            output.print_visibly(f"{count:>6,} {kind}, for example {example['path']}")
    shards = [
        (shard["first_folder"], shard["n_folders"], shard["seconds"])
        for shard in run["slowest_shards"]
    ]
    columns = {"first folder": pl.String, "folders": pl.Int64, "seconds": pl.Float64}
    output.print_first(pl.DataFrame(shards, schema=columns, orient="row"), "Slowest shards")


def _write_answer(answer: pl.LazyFrame, form: Format, file: Path | None) -> None:
    """Write the answer of a query to stdout or a file, whole or not at all."""
    if form == "table":
        rows = answer.collect()
        output.print_frame(rows.head(_ANSWER_ROWS))
        if len(rows) > _ANSWER_ROWS:
            more = len(rows) - _ANSWER_ROWS
            output.print_visibly(f"… and {more:,} more; --format csv, jsonl or parquet has all")
    elif file is None:
        sys.stdout.flush()  # the rows go past the text that it holds
        with keeping_errors(sys.stdout.buffer) as sink:
            _SINKS[form](answer.collect().lazy(), sink)
    else:
        try:
            with replace_file(file) as stream, keeping_errors(stream) as sink:
                _SINKS[form](answer, sink)
        except OSError as error:
            raise OutputError(
                error.errno, f"{file} cannot be written: {error.strerror}; give another file"
            ) from error
