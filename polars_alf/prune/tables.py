"""The rows that a plan goes by: files or frames, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.errors import OptionError, TableError
from polars_alf.query.spill import read_batches
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import table_path
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.parquet import scan_table
from polars_alf.tables.transaction import wait_for_commit

_COLUMNS = {
    "sessions": ("id", "lab", "subject", "date", "number"),
    "datasets": ("eid", "rel_path"),
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The columns of both tables that a plan needs, all as String."""

    sessions: pl.LazyFrame
    datasets: pl.LazyFrame
    place: str
    """Where the tables are, for messages."""
    stamp: str | None = None
    """Stamp of the files before they were read; None for frames."""

    @property
    def are_empty(self) -> bool:
        """Whether one of them has no row."""
        for name, rows in (("sessions", self.sessions), ("datasets", self.datasets)):
            with _reading(name, self.place):
                if rows.head(1).collect(engine="streaming").is_empty():
                    return True
        return False

    def iter_sessions(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of the sessions, some at a time."""
        with _reading("sessions", self.place):
            yield from read_batches(self.sessions)

    def iter_eids(self) -> Iterator[pl.DataFrame]:
        """Yield ``eid`` of the datasets, some at a time."""
        with _reading("datasets", self.place):
            yield from read_batches(self.datasets.select("eid"))

    def iter_datasets(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of the datasets, some at a time."""
        with _reading("datasets", self.place):
            yield from read_batches(self.datasets)


def read_tables(
    folder: Path,
    sessions: pl.DataFrame | pl.LazyFrame | None,
    datasets: pl.DataFrame | pl.LazyFrame | None,
) -> Tables:
    """Read the frames that were given, or else the tables of a folder; missing ones are empty."""
    if (sessions is None) != (datasets is None):
        raise OptionError("one frame is given without the other; give sessions and datasets")
    if sessions is not None and datasets is not None:
        return Tables(
            _scan_columns(sessions, "sessions", "the frame sessions"),
            _scan_columns(datasets, "datasets", "the frame datasets"),
            place="the frames that were given",
        )
    wait_for_commit(folder)
    # Before they are read: should they be replaced meanwhile, the plan is out of date.
    stamp = fingerprint_tables(folder)
    read_headers(folder)  # which are of one run
    return Tables(
        _scan_table(folder, "sessions"),
        _scan_table(folder, "datasets"),
        place=f"the tables sessions.pqt and datasets.pqt of {folder}",
        stamp=stamp,
    )


def _scan_table(folder: Path, name: str) -> pl.LazyFrame:
    path = table_path(folder, name)
    if not path.exists():
        return pl.LazyFrame(schema=dict.fromkeys(_COLUMNS[name], pl.String))
    return _scan_columns(scan_table(path), name, str(path))


def _scan_columns(frame: pl.DataFrame | pl.LazyFrame, name: str, place: str) -> pl.LazyFrame:
    # As text, whatever the types: those of ONE's tables have changed with its versions.
    columns = frame.lazy().select(pl.col(*_COLUMNS[name]).cast(pl.String))
    with _reading(name, place):
        columns.collect_schema()
    return columns


@contextmanager
def _reading(name: str, place: str) -> Iterator[None]:
    """Re-raise errors as TableError naming the place of the table."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(
            f"{place} cannot be read as a table of {', '.join(_COLUMNS[name])}: {error}; index "
            "the archive again"
        ) from error
