"""Commands about tables: issues, changes, merge, conflicts, insertions, diff, info."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from typer import Argument, Exit, Option, Typer

import polars_alf
from polars_alf.cli import frames, output
from polars_alf.cli.options import (
    AsJson,
    Folder,
    IdsFrom,
    JsonLines,
    KeepGenerations,
    Out,
    Progress,
    Quiet,
    Strict,
    Tables,
)
from polars_alf.cli.progress import ProgressKind, show_steps
from polars_alf.cli.settings import describe_settings
from polars_alf.display import count, describe_size, describe_time
from polars_alf.errors import PolarsAlfError
from polars_alf.schema import TABLES, IssueKind
from polars_alf.tables.files import scan_changes, scan_issues
from polars_alf.tables.generations import SHORT_NAME
from polars_alf.tables.keep import KEEP

if TYPE_CHECKING:  # each is loaded by the command that needs it
    from polars_alf.merge.api import MergedTables
    from polars_alf.query.diff import TableDifferences
    from polars_alf.query.summary import TableSummary

# Twins of `ChangeKind` and `Keep`, whose rooms only some commands need to load.
Change = StrEnum("Change", ["ADDED", "CHANGED", "REMOVED", "UNREADABLE"])

Keep = Literal["first", "newest"]

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
    """List the issues that the last index into DIR found.

    These are paths that it skipped, or kept although ONE may not open them.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    columns = ["kind", "path", "message"]
    nothing = f"no issues: the last index into {folder} found none{_such(kind)}"
    _print_rows(scan_issues(folder), columns, kind, "issue", nothing, as_json=as_json)


@app.command()
def changes(
    folder: Folder,
    kind: Annotated[
        list[Change] | None,
        Option(metavar="CHANGE", help="Only datasets with this change; may be given again."),
    ] = None,
    generation: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Those that the index of an earlier generation found; history has the names.",
        ),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """List datasets that the last index into DIR found changed.

    These are datasets that were added, changed or removed since the index before, or that cannot
    be read any more.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    columns = ["change", "path", "file_size", "previous_size"]
    run = f"the index of the generation {generation}" if generation else "the last index"
    nothing = f"no changes: {run} into {folder} found none{_such(kind)}"
    found = scan_changes(folder, generation)
    if generation is None and found.head(1).collect().is_empty():
        nothing += _describe_last_changes(folder)
    _print_rows(found, columns, kind, "change", nothing, as_json=as_json)


@app.command()
def merge(
    folders: Annotated[
        list[str], Argument(metavar="DIR...", help="Folders of tables, or patterns of them.")
    ],
    out: Out,
    keep: Annotated[
        Keep, Option(help="Row to keep of several: of the first DIR, or of the newest tables.")
    ] = "first",
    keep_generations: KeepGenerations = KEEP,
    strict: Strict = False,
    as_json: AsJson = False,
    progress: Progress = ProgressKind.AUTO,
    quiet: Quiet = False,
) -> None:
    """Merge tables of several archives, or of parts of one.

    The result, which ONE opens, has each session and each dataset of any of them once. Rows that
    were left out although they say something else are listed by polars-alf conflicts.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but with conflicts under --strict.
    """
    state = "the tables that were there are whole"
    with output.running(state), show_steps(progress, quiet=quiet) as show:
        merged = polars_alf.merge_tables(
            folders, out, keep=keep, keep_generations=keep_generations, progress=show
        )
    if as_json:
        print(json.dumps(merged.to_dict()))
    elif not quiet:
        _print_merge(merged)
    if strict and merged.n_conflicts:
        raise Exit(output.EXIT_INCOMPLETE)


@app.command()
def conflicts(folder: Folder, as_json: JsonLines = False) -> None:
    """List the rows that the last merge into DIR left out.

    Each comes with the row that was kept, the columns that differ, and whole paths. The rows that
    the merge kept are in the tables.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    rows = polars_alf.scan_conflicts(folder).collect()
    if as_json:
        print(rows.write_ndjson(), end="")
    else:
        nothing = f"no conflicts: the tables merged into {folder} contradict each other nowhere"
        shown = rows.select("table", "differs", r"^kept.*$", r"^dropped.*$")
        frames.print_listing(shown, "conflict", nothing, are_records=True)


@app.command()
def insertions(
    folder: Folder,
    ids_from: IdsFrom = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the table of probe insertions for the tables in DIR.

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
            ("Insertions", f"{made.n_insertions:,} in {count(made.n_sessions, 'session')}"),
            ("Known ids", f"{made.n_known:,}"),
            ("Table", made.path),
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
    progress: Progress = ProgressKind.AUTO,
    quiet: Quiet = False,
) -> None:
    """Show what differs between the tables OLD and the tables NEW.

    A session or a dataset may be added, removed, changed or renamed. Where no id of OLD is in NEW,
    as when each was indexed in a namespace of its own, that is said once, and paths are compared.

    Exit codes: 0 no difference, 1 failed, 2 wrong usage, 3 there are differences, if only of ids.
    """
    with output.running("nothing was changed"), show_steps(progress, quiet=quiet) as show:
        found = polars_alf.compare_tables(old, new, ignore=ignore or (), progress=show)
    if as_json:
        frames.print_json(found.to_dict(), "differences", found.differences)
    elif not quiet:
        _print_differences(found)
    if not found.is_same:
        raise Exit(output.EXIT_INCOMPLETE)


@app.command()
def info(
    folder: Tables,
    top: Annotated[
        int, Option(metavar="N", min=1, help="Rows to print of each table, and datasets to list.")
    ] = output.ROWS_SHOWN,
    as_json: AsJson = False,
    progress: Progress = ProgressKind.AUTO,
) -> None:
    """Summarize the tables in DIR, and the index that made them.

    Shows sessions, datasets and bytes by lab, year, collection and more; of the index, its
    settings, counts, issues and slowest shards.

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    with output.running("nothing was changed"), show_steps(progress, quiet=False) as show:
        from polars_alf.index.report import read_run
        from polars_alf.query.buckets import is_remote

        summary = polars_alf.summarize_tables(folder, n_largest=top, progress=show)
        run = None if is_remote(folder) else read_run(Path(folder))
    if as_json:
        print(json.dumps(summary.to_dict() | {"run": run}))
    else:
        _print_summary(summary, top)
        if run:
            _print_run(run)


def _describe_last_changes(folder: Path) -> str:
    """Return when an index found changes last, and how they are listed, if they are kept."""
    try:
        rows = polars_alf.read_history(folder)
    except PolarsAlfError:  # without tables, or a log, there is nothing to tell
        return ""
    n_changes = pl.sum_horizontal("added", "changed", "removed")
    earlier = rows.filter(n_changes > 0, pl.col("status").is_in(["kept", "gone"]))
    if earlier.is_empty():
        return ""
    row = earlier.row(-1, named=True)
    counts = [f"{row[name]:,} {name}" for name in ("added", "changed", "removed") if row[name]]
    text = f"; that of {row['time']:%Y-%m-%d %H:%M:%S} UTC found {', '.join(counts)}"
    if row["status"] == "gone":
        return text
    name = row["generation"][:SHORT_NAME]
    place = shlex.quote(str(folder))
    return f"{text}: polars-alf changes {place} --generation {name}"


def _such(kinds: Sequence[str] | None) -> str:
    return f" of the kind {' or '.join(map(str, kinds))}" if kinds else ""


def _print_rows(
    frame: pl.LazyFrame, columns: list[str], kinds: Any, noun: str, nothing: str, *, as_json: bool
) -> None:
    """Print rows whose first column is one of some kinds, if given."""
    if kinds:
        frame = frame.filter(pl.col(columns[0]).is_in([str(kind) for kind in kinds]))
    rows = frame.collect()
    if as_json:
        print(rows.write_ndjson(), end="")
    else:
        frames.print_listing(rows.select(columns), noun, nothing)


def _print_merge(merged: MergedTables) -> None:
    """Print what was merged, and what was left out."""
    duplicates, conflicting = merged.n_duplicates, merged.n_conflicts
    output.print_fields(
        ("Sessions", f"{merged.n_sessions:,}"),
        ("Datasets", f"{merged.n_datasets:,}"),
        ("Duplicates", f"{count(duplicates, 'row')} left out: others say the same"),
        ("Conflicts", f"{count(conflicting, 'row')} left out: those kept say something else"),
        ("Time", f"{merged.seconds:.2f} s"),
        ("Tables", str(merged.folder) if merged.folder is None else merged.folder),
    )
    for table in TABLES:
        columns = [table, *(f"{table}_{what}" for what in ("kept", "duplicate", "conflict"))]
        shown = merged.sources.select("tables", *columns)
        shown = shown.rename({name: name.removeprefix(f"{table}_") for name in columns})
        frames.print_table(shown, f"{table.capitalize()} of each")
    if merged.n_conflicts and merged.folder:
        folder = shlex.quote(str(merged.folder))
        output.print_visibly(f"\nAll conflicts: polars-alf conflicts {folder}")


def _print_differences(found: TableDifferences) -> None:
    if found.are_ids_apart:
        output.print_fields(("Ids", "no id is in both; rows are compared by their paths"))
    for table, counts in found.counts.items():
        text = ", ".join(f"{number:,} {change}" for change, number in counts.items() if number)
        rows = f"{found.n_old[table]:,} → {found.n_new[table]:,}"
        output.print_fields((table.capitalize(), f"{rows}: {text or 'no difference'}"))
    is_renamed = pl.col("change") == "renamed"
    shown = found.differences.select(
        "change",
        path=pl.coalesce("new_path", "old_path"),
        old_path=pl.when(is_renamed).then("old_path"),
        columns="columns",
    )
    if shown["old_path"].null_count() == len(shown):
        shown = shown.drop("old_path")
    frames.print_table(shown, "Differences", rows=2 * output.ROWS_SHOWN)


def _print_summary(summary: TableSummary, rows: int) -> None:
    output.print_fields(
        ("Sessions", f"{summary.n_sessions:,}"),
        ("Datasets", f"{summary.n_datasets:,} ({describe_size(summary.n_bytes)})"),
        ("Absent", f"{summary.n_absent:,} (in the tables, but not on disk when they were made)"),
        ("Digests", f"{summary.n_with_hash:,} of {count(summary.n_datasets, 'dataset')}"),
    )
    for name, frame in summary.groups.items():
        frames.print_table(frame, f"By {name}", rows=rows, option="--top")
    frames.print_table(summary.qc, "Quality control")
    frames.print_table(summary.largest.select("file_size", "path"), "Largest")
    duplicates = summary.duplicates.select("datasets", "n_bytes_spare", "path")
    title = "The same content, and what all but one take"
    nothing = "none" if summary.n_with_hash else ""
    frames.print_table(duplicates, title, nothing, rows, option="--top")


def _print_run(run: dict[str, Any]) -> None:
    """Print the report of the index that made the tables (`index.report.describe_run`)."""
    report = run["report"]
    program = output.describe_version(run["version"], run.get("core"))
    seconds = f"{report['seconds']:.2f} s, {count(report['n_jobs'], 'worker')}"
    output.print_visibly()
    output.print_fields(
        ("Index by", program),
        ("Begun", describe_time(run["begun"])),
        ("Ended", describe_time(run["ended"])),
        ("Time", seconds),
        ("Shards", f"{report['n_shards']:,} ({report['n_resumed']:,} done before)"),
        *describe_settings(run["settings"]),
        ("Issues", f"{sum(report['issues'].values()):,}"),
    )
    examples = {
        kind: (found[0]["path"], found[0]["message"])
        for kind, found in run["examples"].items()
        if found
    }
    output.print_issues(report["issues"], examples)
    shards = [
        (shard["seconds"], shard["n_folders"], shard["first_folder"])
        for shard in run["slowest_shards"]
    ]
    columns = {"seconds": pl.Float64, "folders": pl.Int64, "first_folder": pl.String}
    frames.print_table(pl.DataFrame(shards, schema=columns, orient="row"), "Slowest shards")
