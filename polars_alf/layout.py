"""Where ONE starts from, and what that says of the folders above the dates.

ONE opens ``cache_dir/[lab/Subjects/]subject/date/number``. The *base* of a unit is the folder in
the place of ``cache_dir``. Most archives have one base, their root; it lies above the root where
that is a lab or something inside one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from polars_alf import spec


class Place(NamedTuple):
    """The place of a unit: its base, as components of the path, and its lab, if any."""

    base: tuple[str, ...]
    lab: str | None


def find_places(above: Sequence[str], units: Iterable[str]) -> list[Place]:
    """Return the places of units, each once, in the order of their paths.

    Parameters
    ----------
    above
        Components of the path of the root.
    units
        Dated directories or sessions, relative to the root.
    """
    subjects = {_subject(above, unit) for unit in units}
    return sorted({_place(parts) for parts in subjects}, key=lambda place: place.base)


def _subject(above: Sequence[str], unit: str) -> tuple[str, ...]:
    parts = (*above, *unit.split("/")) if unit else tuple(above)
    return parts[:-1] if spec.looks_like_date(parts[-1]) else parts[:-2]


def _place(subject: tuple[str, ...]) -> Place:
    if len(subject) > 2 and subject[-2] == "Subjects":
        return Place(subject[:-3], subject[-3])
    return Place(subject[:-1], None)
