"""Output of all commands: results on stdout, progress and messages on stderr, exit codes."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import IO

import typer

from polars_alf.alf.paths import printable, visible
from polars_alf.cli import interrupts
from polars_alf.cli.text import measure, wrap
from polars_alf.errors import (
    KeptWarning,
    NoSessionsWarning,
    PolarsAlfError,
    TableWarning,
    TakeoverWarning,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_BROKEN_PIPE = 141
"""As a shell tells that SIGPIPE ended a program."""

ROWS_SHOWN = 10
"""Rows that are printed of a long table in a summary."""

_CORES = {"native": "native core", "python": "Python core"}
"""Names of `polars_alf.native.IMPLEMENTATION` for people."""

_LABEL_WIDTH = 12


class Whole(str):
    """A value to be copied, which no line breaks."""

    __slots__ = ()


def describe_version(version: str, core: str | None) -> str:
    """Return a version and what its fast functions were: a `native.IMPLEMENTATION`, if known."""
    return f"polars-alf {version}" + (f" ({_CORES[core]})" if core in _CORES else "")


def print_visibly(text: str = "", file: IO[str] | None = None) -> None:
    """Print lines to stdout or a file; on a terminal, escape what could steer it."""
    stream = file or sys.stdout
    print(visible(text) if stream.isatty() else text, file=stream)


def print_message(text: str) -> None:
    """Print a message to stderr."""
    print_visibly(text, sys.stderr)


def print_error(error: Exception) -> None:
    """Print an error to stderr in one line, whatever names it has, and a cure for the system's."""
    text = str(error)
    if not isinstance(error, PolarsAlfError):
        is_permission = isinstance(error, PermissionError)
        text += "; see to " + ("its permissions" if is_permission else "the storage, and try again")
    print_message(f"error: {printable(text)}")


@contextmanager
def running(state: str) -> Iterator[None]:
    """Print warnings of this package at the end.

    `state` tells in what state an interrupt leaves things.
    """
    interrupts.leave(state)
    with warnings.catch_warnings(record=True) as caught:
        for category in (KeptWarning, NoSessionsWarning, TableWarning, TakeoverWarning):
            warnings.simplefilter("always", category)
        try:
            yield
            interrupts.leave("what the command has done stays done")
        except BrokenPipeError as error:
            # A connection to storage or to a cluster; Typer would end without a word.
            print_error(error)
            raise typer.Exit(EXIT_FAILED) from error
        finally:
            for warning in caught:
                print_message(f"warning: {printable(str(warning.message))}")


def is_terminal() -> bool:
    """Whether results are read by a person: they go to a terminal."""
    return sys.stdout.isatty()


def measure_terminal() -> int:
    """Return the width of the terminal in columns."""
    return shutil.get_terminal_size().columns


def print_fields(*fields: tuple[str, str | PurePath]) -> None:
    """Print labels and values, one pair a line; on a terminal, sentences go on below themselves.

    What is a path or `Whole` stays in one line, to be copied; where it does not fit beside its
    label, in the next.
    """
    labels = max(_LABEL_WIDTH, *(len(label) for label, _ in fields))
    for label, value in fields:
        room = measure_terminal() - labels - 1
        lines = [printable(str(value)) if is_terminal() else str(value)]
        if is_terminal() and not isinstance(value, PurePath | Whole):
            lines = wrap(lines[0], max(room, 1))
        elif is_terminal() and measure(lines[0]) > room:
            if label:
                print_visibly(label)
            print_visibly(f"  {lines[0]}")
            continue
        print_visibly(f"{label:<{labels}} {lines[0]}")
        for line in lines[1:]:
            print_visibly(" " * (labels + 1) + line)


def print_sentence(text: str, indent: int = 0) -> None:
    """Print a sentence; on a terminal, it is broken between words."""
    width = measure_terminal() - indent
    for line in wrap(text, max(width, 1)) if is_terminal() else [text]:
        print_visibly(" " * indent + line)


def describe_rest(number: int, how: str = "") -> str:
    """Return how many rows a terminal does not get, and how to see all: by default in a pipe."""
    return f"… and {number:,} more; {how or '--json or | cat'} has all"


def print_issues(counts: Mapping[str, int], examples: Mapping[str, tuple[str, str]]) -> None:
    """Print the issues of an index by kind, with the path and the message of an example."""
    for kind, number in counts.items():
        path, message = examples.get(kind, ("", ""))
        print_visibly(f"\n{number:>6,} {kind}, for example")
        print_visibly(f"       {printable(path)}")
        print_sentence(printable(message), 7)
