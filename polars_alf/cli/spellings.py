"""Old spellings of options, which go on working with a note."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperGroup

from polars_alf.cli.output import print_message

OLD_SPELLINGS = {
    "index": {"--out-dir": "--out"},
    "merge": {"--out-dir": "--out"},
    "subset": {"--out-dir": "--out"},
    "sql": {"--output": "--out"},
}
"""Options of commands as they were spelt, and as they are now."""

_QUIET = {"--quiet", "-q"}


class Commands(TyperGroup):
    """Commands that take old spellings of their options, too."""

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
