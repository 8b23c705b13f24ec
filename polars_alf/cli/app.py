"""The command line: its commands, and how they end.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong
usage, 3 done but not all is well (issues or conflicts under ``--strict``, paths that could not be
removed, differences, files that are not as their tables say), 130 interrupted.
"""

from __future__ import annotations

import codecs
import json
import signal
import sys
from typing import Annotated

import typer

import polars_alf
from polars_alf.cli import archive, bench, generations, page, shell, tables
from polars_alf.cli.output import EXIT_FAILED, EXIT_USAGE, describe_version, print_message
from polars_alf.errors import OptionError, PolarsAlfError
from polars_alf.native import IMPLEMENTATION

app = typer.Typer(
    help="Index huge ALF archives into the tables that ONE opens.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(archive.app)
app.add_typer(tables.app)
app.add_typer(generations.app)
app.add_typer(page.app)
app.add_typer(shell.app)
app.add_typer(bench.app, name="bench")


_ESCAPE = "polars_alf_escape"
"""The error handler of streams."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Return characters that a stream's encoding lacks as ``\uNNNN``, which JSON can hold too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def main() -> None:
    """Run the command line; every failure that has a cause is one line on stderr."""
    codecs.register_error(_ESCAPE, _escape)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the run.
        stream.reconfigure(errors=_ESCAPE)  # type: ignore[union-attr]
    # As an interrupt, so that workers end with this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except (PolarsAlfError, OSError) as error:
        print_message(f"error: {error}")
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
