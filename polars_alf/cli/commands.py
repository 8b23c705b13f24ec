"""The commands in the order of their use, and old spellings of options, which go on working."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from typer import Typer
from typer.core import TyperGroup
from typer.main import get_group

from polars_alf.cli.loading import loading
from polars_alf.cli.output import print_message

_MODULES = {
    "index": "archive",
    "info": "tables",
    "issues": "tables",
    "changes": "tables",
    "check": "check",
    "verify": "archive",
    "prune": "archive",
    "sql": "sql",
    "report": "page",
    "history": "generations",
    "restore": "generations",
    "diff": "tables",
    "merge": "tables",
    "conflicts": "tables",
    "insertions": "tables",
    "subset": "release",
    "split": "release",
    "publish": "release",
    "bench": "bench",
    "completion": "shell",
    "manual": "shell",
}
"""The modules of the commands; these in the order of their use: first what each archive needs."""

OLD_SPELLINGS = {
    "index": {"--out-dir": "--out"},
    "merge": {"--out-dir": "--out"},
    "subset": {"--out-dir": "--out"},
    "sql": {"--output": "--out"},
}
"""Options of commands as they were spelt, and as they are now."""

_QUIET = {"--quiet", "-q"}


class _Loaded(Mapping[str, Any]):
    """Commands by their names, each loaded when it is asked for: most runs need one alone."""

    def __getitem__(self, name: str) -> Any:
        loaded = Typer(rich_markup_mode=None)
        with loading():
            loaded.add_typer(import_module(f"polars_alf.cli.{_MODULES[name]}").app)
        return get_group(loaded).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class Commands(TyperGroup):
    """Commands in their order, that take old spellings of their options, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = _Loaded()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands in the order of their use."""
        return [*self.commands]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and spell its options as they are now."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, [*_renew(rest, OLD_SPELLINGS.get(name or "", {}))]


def _renew(arguments: Sequence[str], spellings: dict[str, str]) -> Iterator[str]:
    for n, argument in enumerate(arguments):
        if argument == "--":  # what follows are no options
            yield from arguments[n:]
            return
        old, equals, value = argument.partition("=")
        if new := spellings.get(old):
            if not _QUIET.intersection(arguments):
                print_message(f"note: {old} is spelt {new} now; the old spelling goes on working")
            yield f"{new}{equals}{value}"
        else:
            yield argument
