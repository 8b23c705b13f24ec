"""The command line: arguments to functions to exit codes.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong
usage, 3 done but with issues under ``--strict``, 130 interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console

import polars_alf
from polars_alf import rendering, store
from polars_alf.errors import OptionError, PolarsAlfError
from polars_alf.executors import EXECUTORS, check_executor
from polars_alf.schema import IssueKind

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ISSUES = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Index huge ALF archives into the tables that ONE opens.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
        _say(f"error: {error}")
        sys.exit(EXIT_USAGE)
    except (PolarsAlfError, OSError) as error:
        _say(f"error: {error}")
        sys.exit(EXIT_FAILED)


def _say(message: str) -> None:
    print(message, file=sys.stderr)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted; the tables are whole")
        raise typer.Exit(EXIT_INTERRUPTED) from None


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
    root: Annotated[
        str,
        typer.Argument(
            metavar="ROOT",
            help="An archive, a lab, a Subjects folder, a subject, a date or a session.",
            show_default=False,
        ),
    ],
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
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Workers; one a processor by default.", show_default=False),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="|".join(EXECUTORS), help="Where workers run.", show_default=False),
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
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="What to leave out, as in .gitignore; may be given again.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where there are issues.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
    ] = False,
) -> None:
    """Index ROOT into sessions.pqt and datasets.pqt, which ONE opens.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but with issues under --strict.
    """
    stderr = Console(stderr=True)
    showing = nullcontext(None) if quiet else rendering.show_progress(stderr)
    with warnings.catch_warnings(record=True) as caught, _interruptible(), showing as progress:
        warnings.simplefilter("always")
        report = polars_alf.index_archive(
            root,
            out_dir,
            hash_ids=hash_ids,
            hash_files=hash_files,
            lab=lab,
            n_jobs=jobs,
            executor=check_executor(executor),
            namespace=namespace,
            follow_links=follow_links,
            exclude=exclude or (),
            progress=progress,
        )
    for warning in caught:
        _say(f"warning: {warning.message}")
    if as_json:
        print(json.dumps(report.to_dict()))
    elif not quiet:
        rendering.print_report(report)
    if strict and report.issues:
        raise typer.Exit(EXIT_ISSUES)


@app.command()
def issues(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the tables.", show_default=False)
    ],
    kind: Annotated[
        list[IssueKind] | None,
        typer.Option(
            metavar="KIND",
            help="Only issues of this kind; may be given again.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """List what the last index of FOLDER skipped, or kept although ONE may not open it."""
    frame = store.scan_issues(folder)
    if kind:
        frame = frame.filter(pl.col("kind").is_in([str(wanted) for wanted in kind]))
    rows = frame.collect()
    if as_json:
        print(rows.write_ndjson(), end="")
    else:
        columns = rows.select("kind", "path", "message")
        print(columns.write_csv(separator="\t", include_header=False), end="")
