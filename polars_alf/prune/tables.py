"""The tables that a plan asks: files or frames, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.errors import OptionError, TableError
from polars_alf.schema import IssueKind
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import issues_path, scan_issues, table_path
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.parquet import scan_table
from polars_alf.tables.transaction import wait_for_commit

_COLUMNS = {
    "sessions": ("id", "lab", "subject", "date", "number"),
    "datasets": ("eid", "rel_path"),
}

_NEVER_INDEXED = (
    IssueKind.UNREADABLE_DIRECTORY,
    IssueKind.UNREADABLE_FILE,
    IssueKind.VANISHED,
    IssueKind.TIMED_OUT,
    IssueKind.DUPLICATE_SESSION,
)
"""Issues of an index whose files its tables lack although nobody left them out."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables.

    Parameters
    ----------
    sessions
        ``id``, ``lab``, ``subject``, ``date``, ``number``, all as String.
    datasets
        ``eid``, ``rel_path``, both as String.
    place
        Where they are, for messages.
    stamp
        What `fingerprint_tables` said when they were read; None for frames.
    skipped
        Paths relative to the archive whose files their index could not take.
    """

    sessions: pl.DataFrame
    datasets: pl.DataFrame
    place: str
    stamp: str | None = None
    skipped: frozenset[str] = frozenset()

    @property
    def are_empty(self) -> bool:
        """Whether one of them has no row."""
        return self.sessions.is_empty() or self.datasets.is_empty()


def find_tables(
    root: Path,
    folder: Path,
    sessions: pl.DataFrame | pl.LazyFrame | None,
    datasets: pl.DataFrame | pl.LazyFrame | None,
) -> Tables:
    """Return the frames that were given, or else the tables of a folder; missing ones are empty.

    Raises
    ------
    OptionError
        One frame is given without the other.
    TableError
        A table cannot be read or lacks a column.
    TornPairError
        The two are of different runs.
    """
    if (sessions is None) != (datasets is None):
        raise OptionError("one frame is given without the other; give sessions and datasets")
    if sessions is not None and datasets is not None:
        return Tables(
            _read_columns(sessions, "sessions", "the frame sessions"),
            _read_columns(datasets, "datasets", "the frame datasets"),
            place="the frames that were given",
        )
    wait_for_commit(folder)
    # Before they are read: should they be replaced meanwhile, the plan is out of date.
    stamp = fingerprint_tables(folder)
    headers = read_headers(folder)
    origins = [origin for header in headers.values() for origin in header.origins]
    return Tables(
        _read_table(folder, "sessions"),
        _read_table(folder, "datasets"),
        place=f"the tables sessions.pqt and datasets.pqt of {folder}",
        stamp=stamp,
        skipped=_read_skipped(folder, root, origins),
    )


def _read_table(folder: Path, name: str) -> pl.DataFrame:
    path = table_path(folder, name)
    if not path.exists():
        return pl.DataFrame(schema=dict.fromkeys(_COLUMNS[name], pl.String))
    return _read_columns(scan_table(path), name, str(path))


def _read_columns(frame: pl.DataFrame | pl.LazyFrame, name: str, place: str) -> pl.DataFrame:
    try:
        # As text, whatever the types: those of ONE's tables have changed with its versions.
        return frame.lazy().select(pl.col(*_COLUMNS[name]).cast(pl.String)).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(
            f"{place} cannot be read as a table of {', '.join(_COLUMNS[name])}: {error}; index "
            "the archive again"
        ) from error


def _read_skipped(folder: Path, root: Path, origins: Iterable[str]) -> frozenset[str]:
    """Return what the index of the tables could not take, relative to the root; "" is all of it."""
    if not issues_path(folder).exists():
        return frozenset()
    issues = scan_issues(folder).filter(pl.col("kind").is_in(_NEVER_INDEXED)).collect()
    skipped = set()
    for path in issues["path"]:
        # As it stands, as the archive may have moved; and as it was, as the index may have begun
        # above or below this root.
        skipped.add(path)
        for full in (Path(origin, path) for origin in origins):
            if full.is_relative_to(root):
                skipped.add(full.relative_to(root).as_posix())
            elif root.is_relative_to(full):
                skipped.add(".")
    return frozenset("" if path == "." else path for path in skipped)
