"""The commands and their options as data, from which completions and manuals are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

PROGRAM = "polars-alf"

Kind: TypeAlias = Literal["", "words", "tables", "folders", "files"]
"""Kind of a value: free, one of some words, a folder of tables, another folder, a file."""

_TABLES = {"OLD", "NEW"}

_FOLDERS = {"DIR", "ROOT", "PATH", "A B"}

_TABLES_OPTIONS = {"tables_dir", "ids_from"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option, or an argument, which has no names.

    Parameters
    ----------
    names
        The option as it is given, such as ``-q`` and ``--quiet``.
    metavar
        Name of its value; "" where it takes none.
    help
        What it is.
    kind
        What its value is.
    words
        The values that it can have, if `kind` is ``words``.
    """

    names: tuple[str, ...]
    metavar: str
    help: str
    kind: Kind
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words after the program's name, its help, options and arguments."""

    words: tuple[str, ...]
    help: str
    options: tuple[Parameter, ...]
    arguments: tuple[Parameter, ...]

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.partition("\n")[0].rstrip(".")


def describe_commands(root: Any) -> list[Command]:
    """Return a command of Typer and those in it in its order, groups before their commands."""
    return [*_list_commands((), root)]


def _list_commands(words: tuple[str, ...], command: Any) -> Iterator[Command]:
    # A group that stands for one of its commands takes what that takes.
    meant = getattr(command, "commands", {}).get(getattr(command, "default", None), command)
    parameters = [_describe(parameter) for parameter in meant.params]
    yield Command(
        words=words,
        help=(command.help or "").strip(),
        options=(*(each for each in parameters if each.names), _HELP),
        arguments=tuple(each for each in parameters if not each.names),
    )
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from _list_commands((*words, name), command.commands[name])


_HELP = Parameter(("-h", "--help"), "", "Show the help.", "", ())


def _describe(parameter: Any) -> Parameter:
    is_option = parameter.param_type_name == "option"
    is_flag = is_option and parameter.is_flag
    words = () if is_flag else _list_words(parameter)
    metavar = "" if is_flag else parameter.metavar or "|".join(words) or "VALUE"
    plain = metavar.removesuffix("...").strip()
    kind: Kind = ""
    if words:
        kind = "words"
    elif plain == "FILE":
        kind = "files"
    elif (
        plain in _TABLES or parameter.name in _TABLES_OPTIONS or (plain == "DIR" and not is_option)
    ):
        kind = "tables"
    elif plain in _FOLDERS:
        kind = "folders"
    names = (*parameter.opts, *parameter.secondary_opts) if is_option else ()
    return Parameter(tuple(sorted(names, key=len)), metavar, parameter.help or "", kind, words)


def _list_words(parameter: Any) -> tuple[str, ...]:
    """Return the words that it may be, or else those in small letters in a metavar."""
    choices = getattr(parameter.type, "choices", ())
    if choices:
        return tuple(str(getattr(choice, "value", choice)) for choice in choices)
    parts = (parameter.metavar or "").split("|")
    return tuple(part for part in parts if part.islower()) if len(parts) > 1 else ()
