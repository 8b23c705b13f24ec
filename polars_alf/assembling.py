"""Put together what the shards found, and see whether it can be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf import spec
from polars_alf.checks import check_lab
from polars_alf.errors import ScanError
from polars_alf.layout import Place, choose_base, count_places
from polars_alf.rows import Rows
from polars_alf.schema import HIDING, ISSUES, IssueKind, make_table
from polars_alf.tables import drop_duplicate_sessions


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of an archive before its shards are walked.

    Parameters
    ----------
    units
        Directories relative to the root; emptied when the shards are walked.
    issues
        ISSUES met above them.
    n_other_files
        Files above them.
    """

    units: list[str]
    issues: pa.Table
    n_other_files: int


def gather(
    root: Path, lab: str, issues: pa.Table, rows: Rows
) -> tuple[pl.DataFrame, Path, pa.Table]:
    """Put together what the shards found.

    Parameters
    ----------
    issues
        Those of the survey.
    rows
        Of all shards.

    Returns
    -------
    order : polars.DataFrame
        Of the sessions, as `Rows.read_order` gives it, without duplicates.
    base : pathlib.Path
        The folder that ONE starts from.
    issues : pyarrow.Table
        All of them.
    """
    order, dropped, duplicates = _drop_duplicates(rows)
    places = _find_places(root, rows.list_folders(dropped))
    check_lab(lab, places)
    base = Path(*choose_base(root.parts, places))
    misplaced = _find_misplaced(places, root, base, lab)
    issues = pa.concat_tables([issues, misplaced, *rows.read("issues"), duplicates])
    _check_found(root, order, issues)
    return order, base, issues


def list_subjects(root: Path, units: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the components of the subject that each unit seems to be of, before it is walked."""
    for unit in units:
        parts = (*root.parts, *filter(None, unit.split("/")))
        if spec.is_date(parts[-1]):
            yield parts[:-1]
        elif spec.is_number(parts[-1]):
            yield parts[:-2]


def _find_places(root: Path, folders: Iterable[pl.Series]) -> Counter[Place]:
    path = pl.concat_str(pl.lit(f"{root.as_posix()}/"), pl.col("session")).str.strip_suffix("/")
    subject = path.str.replace(r"/[^/]*/[^/]*$", "")
    found = (sessions.to_frame("session").select(subject.unique()) for sessions in folders)
    subjects = {path for frame in found for path in frame.to_series()}
    return count_places(Path(subject).parts for subject in subjects)


def _check_found(root: Path, order: pl.DataFrame, issues: pa.Table) -> None:
    """Check that an index without sessions is of an archive without sessions.

    Raises
    ------
    ScanError
        There may be sessions that could not be reached: storage that is gone, say.
    """
    lost = pl.DataFrame(issues).filter(pl.col("kind").is_in([*HIDING, IssueKind.VANISHED]))
    if order.is_empty() and len(lost):
        raise ScanError(
            f"no session of {root} could be read, and {len(lost)} folders could not be listed, "
            f"{lost['path'][0]} for one ({lost['message'][0]}); tables that were there are as "
            "they were; see to the storage and its permissions"
        )


def _drop_duplicates(rows: Rows) -> tuple[pl.DataFrame, pl.DataFrame, pa.Table]:
    """Return the sessions that are kept and those that are not, as orders, and their issues."""
    order = rows.read_order()
    doubles = order.filter(pl.struct("high", "low").is_duplicated())
    order = order.drop("high", "low")
    if doubles.is_empty():
        return order, doubles, make_table([], ISSUES)
    sessions = rows.pick_sessions(doubles).with_columns(doubles.select("shard", "row"))
    _, dropped = pl.collect_all(drop_duplicate_sessions(sessions.lazy()))
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
    kept = order.join(dropped, on=["shard", "row"], how="anti", maintain_order="left")
    return kept, dropped, make_table(issues, ISSUES)


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
