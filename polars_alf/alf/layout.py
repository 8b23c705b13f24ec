"""Where ONE starts from, and what that says of the folders above the dates.

ONE opens ``cache_dir/[lab/Subjects/]subject/date/number``. The *base* of a session is the folder
in the place of ``cache_dir``. Most archives have one base, their root; it lies above the root
where that is a lab, or something inside one. Sessions with any other base are misplaced: they are
indexed, but ONE cannot open them together with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from polars_alf.errors import LabConflictError, OptionError


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


def check_lab(lab: str | None, places: Iterable[Place]) -> str:
    """Return the name of the lab, '' for None, if no lab's folder has another one.

    Raises
    ------
    LabConflictError
        It contradicts the folders.
    OptionError
        It cannot be the name of a folder.
    """
    if not lab:
        return ""
    if not lab.isprintable() or lab != lab.strip() or "/" in lab or lab in (".", ".."):
        raise OptionError(f"the lab {lab!r} cannot be the name of a folder; give another name")
    for place in places:
        if place.lab not in (None, lab):
            raise LabConflictError(
                f"the lab {lab!r} contradicts the folder "
                f"{Path(*place.base, str(place.lab))}; leave the lab out, as it is taken "
                "from the folders, or index each lab by itself"
            )
    return lab
