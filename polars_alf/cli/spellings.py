"""The commands in the order of their use, and old spellings of options, which go on working."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typer import BadParameter
from typer.core import TyperGroup

from polars_alf.cli.output import print_message

ORDER = (
    *("index", "info", "issues", "changes", "check", "verify", "prune"),
    *("sql", "report", "history", "restore", "diff", "merge", "conflicts"),
    *("insertions", "subset", "split", "publish", "bench", "completion", "manual"),
)
"""The commands as lists of them have them: first what each archive needs."""

OLD_SPELLINGS = {
    "index": {"--out-dir": "--out"},
    "merge": {"--out-dir": "--out"},
    "subset": {"--out-dir": "--out"},
    "sql": {"--output": "--out"},
}
"""Options of commands as they were spelt, and as they are now."""

_QUIET = {"--quiet", "-q"}

_PREFIX = "Value error, "
"""Prefix of what Typer's parser says on a value."""


class Commands(TyperGroup):
    """Commands in their order, that take old spellings of their options, too."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands in `ORDER`."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a value that it cannot take is reported in words for people."""
        try:
            return super().invoke(ctx)
        except BadParameter as error:
            error.message = error.message.removeprefix(_PREFIX)
            raise

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
