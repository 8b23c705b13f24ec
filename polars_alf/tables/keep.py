"""How many earlier generations of the tables are kept."""

from __future__ import annotations

from polars_alf.errors import OptionError

KEEP = 1
"""How many by default."""


def check_keep(keep: int) -> int:
    """Return how many generations to keep; OptionError where it is no number from 0 on."""
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 0:
        raise OptionError(
            f"keep_generations={keep!r} is no number of generations; give 0, 1 or more"
        )
    return keep
