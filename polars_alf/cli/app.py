"""The command line: arguments to functions to exit codes.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong
usage, 3 done but not all is well (issues or conflicts under ``--strict``, paths that could not be
removed, differences, files that are not as their tables say), 130 interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, cast

import polars as pl
import typer

import polars_alf
from polars_alf.cli import bench, output, tables
from polars_alf.cli.bench import take_advice
from polars_alf.cli.options import (
    AUTO,
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    Folder,
    Jobs,
    JobsOrAuto,
    Lines,
    ProgressKind,
    Quiet,
    Root,
    interruptible,
    say,
    saying_warnings,
    showing_progress,
)
from polars_alf.errors import OptionError, PolarsAlfError
from polars_alf.index.changes import ChangeKind
from polars_alf.parallel.executors import EXECUTORS, check_executor
from polars_alf.prune.examine import RemovalResult
from polars_alf.schema import IssueKind
from polars_alf.tables.files import removals_path, scan_changes, scan_issues
from polars_alf.walk.digests import ALGORITHMS, Algorithm

app = typer.Typer(
    help="Index huge ALF archives into the tables that ONE opens.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(tables.app)


app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line; every failure that has a cause is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the run.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # As an interrupt, so that workers end with this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except OptionError as error:
        say(f"error: {error}")
        sys.exit(EXIT_USAGE)
    except (PolarsAlfError, OSError) as error:
        say(f"error: {error}")
        sys.exit(EXIT_FAILED)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"polars-alf {polars_alf.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Index huge ALF archives into the tables that ONE opens."""


@app.command()
def index(
    root: Root,
    out_dir: Annotated[
        str | None,
        typer.Option(help="Existing folder for the tables; ROOT by default.", show_default=False),
    ] = None,
    lab: Annotated[
        str | None,
        typer.Option(help="Lab of sessions that lie in no lab's folder.", show_default=False),
    ] = None,
    hash_ids: Annotated[
        bool, typer.Option("--hash-ids/--no-hash-ids", help="Ids are UUIDs, or else paths.")
    ] = True,
    hash_files: Annotated[
        bool, typer.Option("--hash-files", help="Read every dataset for its MD5.")
    ] = False,
    digest: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(ALGORITHMS),
            help="Read every dataset for this digest; xxh3_128 has a column of its own. May be "
            "given again.",
            show_default=False,
        ),
    ] = None,
    jobs: JobsOrAuto = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="|".join(EXECUTORS), help="Where workers run.", show_default=False),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="dask://HOST:PORT",
            help="Scheduler of a Dask cluster to run on, instead of here.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What UUIDs are made in, a UUID or any name; as in the tables by default.",
            show_default=False,
        ),
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Enter linked directories that are no sessions.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Calls to the storage that each worker has under way; measured by default.",
            show_default=False,
        ),
    ] = None,
    op_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="When a directory that does not answer becomes an issue; never by default.",
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="What to leave out, as in .gitignore; may be given again.",
            show_default=False,
        ),
    ] = None,
    ids_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of tables whose ids win where names match; may be given again.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Trust the times of folders; what was rewritten in place is not seen.",
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do not go on where an interrupted run was.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where there are issues.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
    progress: Annotated[
        ProgressKind, typer.Option(help="A bar or lines on stderr, JSON lines there, or nothing.")
    ] = ProgressKind.AUTO,
    quiet: Quiet = False,
) -> None:
    """Index ROOT into sessions.pqt and datasets.pqt, which ONE opens.

    An interrupted run is taken up where it was; given the same options, it need not start again.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but with issues under --strict.
    """
    if cluster and executor:
        raise OptionError("--executor is for this machine; give either that or --cluster")
    if jobs == AUTO:
        jobs, threads = (None, threads) if cluster else take_advice(root, threads, quiet=quiet)
    again = "the tables are whole; the same command goes on from here"
    showing = showing_progress(quiet, progress)
    with saying_warnings(), interruptible(again), showing as callback:
        report = polars_alf.index_archive(
            root,
            out_dir,
            hash_ids=hash_ids,
            hash_files=hash_files,
            digest=cast("list[Algorithm]", digest or []),
            lab=lab,
            n_jobs=jobs,
            executor=cluster or check_executor(executor),
            namespace=namespace,
            follow_links=follow_links,
            exclude=exclude or (),
            ids_from=ids_from or (),
            quick=quick,
            restart=restart,
            threads=threads,
            op_timeout=op_timeout,
            progress=callback,
        )
    if as_json:
        print(json.dumps(report.to_dict()))
    elif not quiet:
        output.print_report(report)
    if strict and report.issues:
        raise typer.Exit(EXIT_INCOMPLETE)


@app.command()
def issues(
    folder: Folder,
    kind: Annotated[
        list[IssueKind] | None,
        typer.Option(
            metavar="KIND",
            help="Only issues of this kind; may be given again.",
            show_default=False,
        ),
    ] = None,
    as_json: Lines = False,
) -> None:
    """List what the last index of FOLDER skipped, or kept although ONE may not open it."""
    frame = scan_issues(folder)
    if kind:
        frame = frame.filter(pl.col("kind").is_in([str(wanted) for wanted in kind]))
    _print_rows(frame, ["kind", "path", "message"], as_json=as_json)


@app.command()
def changes(
    folder: Folder,
    kind: Annotated[
        list[ChangeKind] | None,
        typer.Option(
            metavar="CHANGE",
            help="Only datasets with this change; may be given again.",
            show_default=False,
        ),
    ] = None,
    as_json: Lines = False,
) -> None:
    """List the datasets that the last index of FOLDER found added, changed or removed."""
    frame = scan_changes(folder)
    if kind:
        frame = frame.filter(pl.col("change").is_in([str(wanted) for wanted in kind]))
    _print_rows(frame, ["change", "path", "file_size", "previous_size"], as_json=as_json)


def _print_rows(frame: pl.LazyFrame, columns: list[str], *, as_json: bool) -> None:
    rows = frame.collect()
    if as_json:
        print(rows.write_ndjson(), end="")
    else:
        lines = rows.select(columns).write_csv(separator="\t", include_header=False)
        if lines:
            output.print_visibly(lines.removesuffix("\n"))


@app.command()
def prune(
    root: Root,
    tables_dir: Annotated[
        str | None,
        typer.Option(help="Folder of the tables; ROOT by default.", show_default=False),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove it, after a confirmation on the terminal.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Remove without a confirmation.")
    ] = False,
    keep_empty_sessions: Annotated[
        bool, typer.Option("--keep-empty-sessions", help="Remove no folders.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="What to keep, as given to index; may be given again.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Go on without tables, or with those of other archives.")
    ] = False,
    jobs: Jobs = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines, one for each path.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Show what ROOT has and its tables do not, and remove it with --apply.

    Only datasets and emptied folders of sessions are removed: nothing that the tables could mean,
    nothing that is not ALF, nothing through a link. Index first: what is newer than the tables is
    in none of their rows. What was removed is in .polars_alf/removals.jsonl beside the tables.

    Exit codes: 0 done, 1 failed or declined, 2 wrong usage, 3 some paths could not be removed.
    """
    if apply and not yes and (quiet or as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("there is no plan shown to confirm on a terminal; add --yes")
    with (
        saying_warnings(),
        interruptible("nothing was removed"),
        showing_progress(quiet) as progress,
    ):
        plan = polars_alf.plan_removals(
            root,
            tables_dir,
            remove_empty_sessions=not keep_empty_sessions,
            exclude=exclude or (),
            force=force,
            n_jobs=jobs,
            progress=progress,
        )
    speaks = not (quiet or as_json)
    if speaks:
        output.print_plan(plan, Path(root).resolve())
    if not apply:
        if as_json:
            print(plan.drop("tables").write_ndjson(), end="")
        elif speaks and len(plan):
            print("Nothing was removed; --apply removes it.")
        return
    if plan.is_empty():
        return
    if not yes and not typer.confirm(f"Remove these {len(plan):,}?", err=True):
        say("nothing was removed")
        raise typer.Exit(EXIT_FAILED)
    log = removals_path(Path(root if tables_dir is None else tables_dir)).resolve()
    with interruptible(f"what was removed is in {log}"):
        outcomes = polars_alf.apply_removals(root, plan, tables_dir)
    if as_json:
        print(outcomes.write_ndjson(), end="")
    elif speaks:
        output.print_outcomes(outcomes, log)
    if outcomes["result"].is_in([RemovalResult.CHANGED, RemovalResult.FAILED]).any():
        raise typer.Exit(EXIT_INCOMPLETE)
