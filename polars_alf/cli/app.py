"""The command line: its commands, and how they end.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong
usage, 3 done but not all is well (issues or conflicts under ``--strict``, paths that could not be
removed, differences, files that are not as their tables say), 130 interrupted, 141 the reader of
stdout has ended.
"""

from __future__ import annotations

import codecs
import sys
from typing import Annotated

import typer

import polars_alf
from polars_alf.cli.commands import Commands
from polars_alf.cli.interrupts import ending_on_interrupt
from polars_alf.cli.output import (
    EXIT_BROKEN_PIPE,
    EXIT_FAILED,
    EXIT_USAGE,
    describe_version,
    print_error,
    print_message,
)
from polars_alf.cli.streams import (
    ESCAPE,
    StdoutError,
    abandon_stdout,
    escape,
    guard_streams,
)
from polars_alf.errors import OptionError, PolarsAlfError
from polars_alf.native import IMPLEMENTATION

app = typer.Typer(
    cls=Commands,
    help="Index huge ALF archives into the tables that ONE opens.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; every failure that has a cause is one line on stderr."""
    codecs.register_error(ESCAPE, escape)
    guard_streams()
    try:
        with ending_on_interrupt(print_message):
            try:
                app()
            finally:
                sys.stdout.flush()
    except StdoutError as error:
        abandon_stdout()
        if error.is_broken_pipe:  # as by `| head`, which is no failure to speak of
            sys.exit(EXIT_BROKEN_PIPE)
        print_message(
            f"error: the result cannot be written to stdout: {error}; see to where it is sent; "
            "what the command has done stays done"
        )
        sys.exit(EXIT_FAILED)
    except (PolarsAlfError, OSError) as error:
        print_error(error)
        sys.exit(EXIT_USAGE if isinstance(error, OptionError) else EXIT_FAILED)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(describe_version(polars_alf.__version__, IMPLEMENTATION))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Index huge ALF archives into the tables that ONE opens."""
