"""What all commands share: exit codes, common options, how warnings and interrupts are told."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from polars_alf.cli import output
from polars_alf.errors import KeptWarning, NoSessionsWarning, TableWarning

EXIT_FAILED = 1

EXIT_USAGE = 2

EXIT_INCOMPLETE = 3

EXIT_INTERRUPTED = 130

Root = Annotated[
    str,
    typer.Argument(
        metavar="ROOT",
        help="An archive, a lab, a Subjects folder, a subject, a date or a session.",
        show_default=False,
    ),
]

Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Workers; one a processor by default.", show_default=False),
]

AUTO = "auto"


def parse_jobs(text: str) -> int | str:
    """Return a number of workers, or `AUTO`."""
    if text == AUTO:
        return text
    try:
        if int(text) >= 1:
            return int(text)
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r} is neither a number from 1 on nor {AUTO!r}")


JobsOrAuto = Annotated[
    Any,
    typer.Option(
        metavar=f"N|{AUTO}",
        parser=parse_jobs,
        help="Workers; one a processor by default; auto takes what bench has found best.",
        show_default=False,
    ),
]

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of the tables.", show_default=False)
]

Lines = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]


def say(message: str) -> None:
    """Print a message to stderr."""
    output.print_visibly(message, sys.stderr)


@contextmanager
def interruptible(state: str = "the tables are whole") -> Iterator[None]:
    """End with the exit code of an interrupt, and say in what state it left things."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; {state}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


@contextmanager
def saying_warnings() -> Iterator[None]:
    """Say the warnings of this package when all is done."""
    with warnings.catch_warnings(record=True) as caught:
        for category in (KeptWarning, NoSessionsWarning, TableWarning):
            warnings.simplefilter("always", category)
        try:
            yield
        finally:
            for warning in caught:
                say(f"warning: {warning.message}")


class ProgressKind(StrEnum):
    """How progress is told."""

    AUTO = "auto"
    JSON = "json"
    NONE = "none"


def showing_progress(
    quiet: bool, kind: ProgressKind = ProgressKind.AUTO
) -> AbstractContextManager[output.Show | None]:
    """Return a context that yields a callback for progress, None where it is not wanted."""
    as_json = kind is ProgressKind.JSON
    if (quiet and not as_json) or kind is ProgressKind.NONE:
        return nullcontext(None)
    return output.show_progress(Console(stderr=True), as_json=as_json)
