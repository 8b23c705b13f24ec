"""The sessions of a check in parts, so that the files of a few are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import polars as pl

from polars_alf.errors import TableError
from polars_alf.tables.rows import ROWS_AT_ONCE

_ROWS = 4 * ROWS_AT_ONCE
"""About how many datasets of tables are in memory at a time."""

OTHERS = {"folder": pl.String, "rel_path": pl.String}

FILES = {**OTHERS, "file_size": pl.UInt64}


@dataclass(frozen=True, slots=True)
class Part:
    """Some sessions with all of their files.

    `sessions` have ``eid`` and ``session``, and `files` and `others`, those that are not ALF, too,
    with ``rel_path``; files have ``file_size``.
    """

    sessions: pl.DataFrame
    files: pl.DataFrame
    others: pl.DataFrame


class Parts(Protocol):
    """All sessions of a check in parts, as often as they are asked for."""

    def __iter__(self) -> Iterator[Part]: ...

    def scan(self) -> pl.LazyFrame:
        """Return the files of all parts."""


class TableParts:
    """Parts of tables: `sessions` with ``eid`` and ``session``, and their `datasets`.

    Datasets of sessions that are not in the table have ``eid`` for their ``session``.
    """

    def __init__(self, sessions: pl.DataFrame, datasets: pl.LazyFrame, rows: int = _ROWS) -> None:
        self._sessions = sessions
        self._datasets = datasets.filter(pl.col("exists").ne_missing(other=False)).drop_nulls(
            ["eid", "rel_path"]
        )
        with reading_tables():
            counts = self._datasets.group_by("eid").agg(n=pl.len()).collect(engine="streaming")
        n_before = pl.col("n").cum_sum() - pl.col("n")
        self._firsts = (
            counts.join(sessions.select("eid"), on="eid", how="full", coalesce=True)
            .sort("eid")
            .with_columns(pl.col("n").fill_null(0).cast(pl.Int64))
            .group_by(n_before // rows, maintain_order=True)
            .agg(pl.col("eid").first())["eid"]
            .to_list()
        )

    def __iter__(self) -> Iterator[Part]:
        for first, end in zip_longest(self._firsts, self._firsts[1:]):
            # The bounds spare row groups.
            inside = pl.col("eid") >= first
            inside = inside if end is None else inside & (pl.col("eid") < end)
            sessions = self._sessions.filter(inside)
            with reading_tables():
                found = self._datasets.filter(inside)
                rows = found.select("eid", "rel_path", "file_size").collect()
            files = rows.join(sessions.select("eid", "session"), on="eid", how="left")
            files = files.with_columns(pl.col("session").fill_null(pl.col("eid")))
            yield Part(sessions, files, files.clear().drop("file_size"))

    def scan(self) -> pl.LazyFrame:
        """Return the datasets of all parts."""
        return self._datasets


class ArchiveParts:
    """Parts of an archive, whose files lie in a `folder` for temporary files.

    `sessions`, to be set after all files are written, have ``eid``, ``session``, and ``folder``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders: list[pl.Series] = []
        self.sessions = pl.DataFrame()

    def write(self, folders: pl.Series, files: pl.DataFrame, others: pl.DataFrame) -> None:
        """Write the files of some session folders."""
        number = len(self._folders)
        files.write_ipc(self._folder / f"{number}.files")
        others.write_ipc(self._folder / f"{number}.others")
        self._folders.append(folders)

    def __iter__(self) -> Iterator[Part]:
        for number, folders in enumerate(self._folders):
            sessions = self.sessions.filter(pl.col("folder").is_in(folders.implode()))
            wanted = sessions.select("eid", "session", "folder")
            yield Part(
                sessions,
                *(
                    pl.read_ipc(self._folder / f"{number}.{name}")
                    .join(wanted, on="folder")
                    .drop("folder")
                    for name in ("files", "others")
                ),
            )

    def scan(self) -> pl.LazyFrame:
        """Return the files of all parts."""
        paths = [self._folder / f"{number}.files" for number in range(len(self._folders))]
        files = pl.concat([pl.LazyFrame(schema=FILES), *map(pl.scan_ipc, paths)])
        wanted = self.sessions.lazy().select("eid", "session", "folder")
        return files.join(wanted, on="folder").drop("folder")


@contextmanager
def reading_tables() -> Iterator[None]:
    """Re-raise errors of Polars as TableError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error


def sum_counts(counts: Iterable[pl.DataFrame], key: str, value: str) -> pl.DataFrame:
    """Return the sums of the counts of parts, which share no session."""
    total = pl.DataFrame(schema={key: pl.String, value: pl.UInt32})
    for frame in counts:
        both = pl.concat([total, frame.select(total.columns)], how="vertical_relaxed")
        total = both.group_by(key, maintain_order=True).sum()
    return total
