"""The manual, as a page for man."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from polars_alf._version import __version__
from polars_alf.cli.usage import PROGRAM, Command, Parameter


def write_manual(commands: Sequence[Command]) -> str:
    """Return the page of all commands, the first of which is the program itself."""
    program, *others = commands
    lines = [
        f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"',
        ".SH NAME",
        f"{_escape(PROGRAM)} \\- {_escape(program.summary)}",
        ".SH SYNOPSIS",
        f".B {_escape(PROGRAM)}",
        ".I COMMAND",
        "[OPTIONS] ...",
        ".SH OPTIONS",
        *_list_options(program),
        ".SH COMMANDS",
    ]
    for command in others:
        lines.append(f".SS {_escape(' '.join((PROGRAM, *command.words)))}")
        if command.arguments:
            shown = " ".join(argument.metavar for argument in command.arguments)
            lines += [f"Arguments: {_escape(shown)}", ".PP"]
        for paragraph in re.split(r"\n\s*\n", command.help):
            lines += [_escape(" ".join(paragraph.split())), ".PP"]
        for argument in command.arguments:
            lines += [".TP", f".I {_escape(argument.metavar)}", _escape(argument.help)]
        lines += _list_options(command)
    return "\n".join(lines) + "\n"


def _list_options(command: Command) -> Iterator[str]:
    for option in command.options:
        names = ", ".join(option.names) + (f" {option.metavar}" if option.metavar else "")
        yield from (".TP", f".B {_escape(names)}", _escape(_describe(option)))


def _describe(option: Parameter) -> str:
    text = option.help
    return f"{text} One of {', '.join(option.words)}." if option.words else text


def _escape(text: str) -> str:
    """Return a text in which troff sees no request and no escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
