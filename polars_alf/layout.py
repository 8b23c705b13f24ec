"""Where ONE starts from, and what that says of the folders above the dates.

ONE opens ``cache_dir/[lab/Subjects/]subject/date/number``. The *base* of a session is the folder
in the place of ``cache_dir``. Most archives have one base, their root; it lies above the root
where that is a lab, or something inside one. Sessions with any other base are misplaced: they are
indexed, but ONE cannot open them together with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """Where some subjects lie: the components of their base, and their lab, if any."""

    base: tuple[str, ...]
    lab: str | None


def count_places(subjects: Iterable[Sequence[str]]) -> Counter[Place]:
    """Count subjects by their place.

    Parameters
    ----------
    subjects
        Components of the path of each subject, from the root of the file system on.
    """
    return Counter(_place(tuple(parts)) for parts in subjects)


def choose_base(above: Sequence[str], places: Counter[Place]) -> tuple[str, ...]:
    """Return the base that most subjects share, of those not below the root; else the root's."""
    totals: Counter[tuple[str, ...]] = Counter()
    for place, n_subjects in places.items():
        if len(place.base) <= len(above):
            totals[place.base] += n_subjects
    return max(totals, key=lambda base: (totals[base], len(base)), default=tuple(above))


def _place(subject: tuple[str, ...]) -> Place:
    if len(subject) > 2 and subject[-2] == "Subjects":
        return Place(subject[:-3], subject[-3])
    return Place(subject[:-1], None)
