"""Put together what the shards found, and see whether it can be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf import spec, spool
from polars_alf.checks import check_lab
from polars_alf.errors import ScanError
from polars_alf.layout import Place, choose_base, count_places
from polars_alf.schema import HIDING, ISSUES, IssueKind, make_table
from polars_alf.tables import drop_duplicate_sessions


def gather(
    root: Path, lab: str, issues: pa.Table, receipts: Sequence[spool.Receipt]
) -> tuple[pl.DataFrame, Path, pa.Table]:
    """Put together what the shards found.

    Parameters
    ----------
    issues
        Those of the survey.

    Returns
    -------
    sessions : polars.DataFrame
        In the order of the table.
    base : pathlib.Path
        The folder that ONE starts from.
    issues : pyarrow.Table
        All of them.
    """
    sessions, duplicates = _merge_sessions(receipts)
    places = _find_places(root, sessions)
    check_lab(lab, places)
    base = Path(*choose_base(root.parts, places))
    misplaced = _find_misplaced(places, root, base, lab)
    found = spool.read_rows(receipts, "issues")
    issues = pa.concat_tables([issues, misplaced, *found, duplicates])
    _check_found(root, sessions, issues)
    return sessions, base, issues


def list_subjects(root: Path, units: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the components of the subject that each unit seems to be of, before it is walked."""
    for unit in units:
        parts = (*root.parts, *filter(None, unit.split("/")))
        if spec.is_date(parts[-1]):
            yield parts[:-1]
        elif spec.is_number(parts[-1]):
            yield parts[:-2]


def _find_places(root: Path, sessions: pl.DataFrame) -> Counter[Place]:
    path = pl.concat_str(pl.lit(f"{root.as_posix()}/"), "session").str.strip_suffix("/")
    subject = path.str.replace(r"/[^/]*/[^/]*$", "")
    subjects = sessions.select(subject).to_series().unique()
    return count_places(Path(subject).parts for subject in subjects)


def _check_found(root: Path, sessions: pl.DataFrame, issues: pa.Table) -> None:
    """Check that an index without sessions is of an archive without sessions.

    Raises
    ------
    ScanError
        There may be sessions that could not be reached: storage that is gone, say.
    """
    lost = pl.DataFrame(issues).filter(pl.col("kind").is_in([*HIDING, IssueKind.VANISHED]))
    if sessions.is_empty() and len(lost):
        raise ScanError(
            f"no session of {root} could be read, and {len(lost)} folders could not be listed, "
            f"{lost['path'][0]} for one ({lost['message'][0]}); tables that were there are as "
            "they were; see to the storage and its permissions"
        )


def _merge_sessions(receipts: Sequence[spool.Receipt]) -> tuple[pl.DataFrame, pa.Table]:
    """Return the sessions of all shards in the order of the table, and issues of duplicates."""
    kept, dropped = pl.collect_all(drop_duplicate_sessions(spool.read_sessions(receipts).lazy()))
    issues = [
        (
            row["session"],
            IssueKind.DUPLICATE_SESSION.value,
            None,
            f"the session {row['name']} is also in {row['kept']}, which was taken; move one of "
            "them away, or index them apart",
        )
        for row in dropped.iter_rows(named=True)
    ]
    return kept.sort("key"), make_table(issues, ISSUES)


def _find_misplaced(places: Iterable[Place], root: Path, base: Path, lab: str) -> pa.Table:
    """Return an issue for each folder whose sessions ONE would look for elsewhere."""
    issues = []
    for place in sorted(places, key=lambda place: place.base):
        folder = Path(*place.base)
        if folder != base:
            message = f"ONE opens the sessions in {folder} only with that as its cache_dir; index "
            message += "it by itself, or move its subjects to the others"
        elif lab and place.lab is None:
            message = f"ONE looks for the sessions of the lab {lab!r} in {lab}/Subjects; move "
            message += "the folders of the subjects there"
        else:
            continue
        path = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else "."
        issues.append((path, IssueKind.MISPLACED_SESSION.value, None, message))
    return make_table(issues, ISSUES)
