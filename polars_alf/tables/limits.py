"""The limit on what one run may remove unasked: storage that is not mounted looks empty."""

from __future__ import annotations

from polars_alf.errors import OptionError

FEW = 10
"""So many datasets may go by default, whatever share of an archive they are."""

_SHARE = 0.5


def check_max_removed(value: float | None) -> float | None:
    """Return a count (int), a share (float) or None; OptionError for anything else."""
    is_count = type(value) is int and value >= 0
    is_share = type(value) is float and 0 <= value <= 1
    if value is None or is_count or is_share:
        return value
    raise OptionError(
        f"max_removed cannot be {value!r}; give a count from 0 on, or a share from 0.0 to 1.0"
    )


def exceeds_limit(n: int, before: int, limit: float | None, *, few: int = FEW) -> bool:
    """Decide whether `n` of `before` are more than a count (int) or a share (float) of them.

    By default (None) it is half of them, or `few` if that is more.
    """
    if limit is None:
        return n > few and exceeds_limit(n, before, _SHARE)
    return (before > 0 and n / before > limit) if isinstance(limit, float) else n > limit
