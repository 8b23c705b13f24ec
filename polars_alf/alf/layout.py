"""The folder that ONE starts from, and the labs in the folders above the dates.

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

from polars_alf.alf.arguments import check_argument
from polars_alf.errors import LabConflictError, OptionError


class Base(NamedTuple):
    """The base of some subjects as components of a path, and their lab, if any."""

    parts: tuple[str, ...]
    lab: str | None


def count_bases(subjects: Iterable[Sequence[str]]) -> Counter[Base]:
    """Count subjects, each the components of its path from the file system's root on, by base."""
    return Counter(_find_base(tuple(parts)) for parts in subjects)


def choose_base(root: Sequence[str], bases: Counter[Base]) -> tuple[str, ...]:
    """Return the base that most subjects share, of bases not below the root; else the root."""
    totals: Counter[tuple[str, ...]] = Counter()
    for base, n_subjects in bases.items():
        if len(base.parts) <= len(root):
            totals[base.parts] += n_subjects
    return max(totals, key=lambda parts: (totals[parts], len(parts)), default=tuple(root))


def _find_base(subject: tuple[str, ...]) -> Base:
    if len(subject) > 2 and subject[-2] == "Subjects":
        return Base(subject[:-3], subject[-3])
    return Base(subject[:-1], None)


def check_lab_name(lab: str | None) -> str:
    """Return the name of a lab, '' for None; OptionError where no folder can have that name."""
    lab = check_argument("lab", lab, str, is_optional=True)
    if not lab:
        return ""
    if not lab.isprintable() or lab != lab.strip() or "/" in lab or lab in (".", ".."):
        raise OptionError(f"the lab {lab!r} cannot be the name of a folder; give another name")
    return lab


def check_lab(lab: str, bases: Iterable[Base]) -> None:
    """Raise LabConflictError where a folder has another lab than the one given, if any."""
    for base in bases:
        if lab and base.lab not in (None, lab):
            raise LabConflictError(
                f"the lab {lab!r} contradicts the folder "
                f"{Path(*base.parts, str(base.lab))}; leave the lab out, as it is taken "
                "from the folders, or index each lab by itself"
            )
