"""Directories as an earlier walk listed them, many at once: where nothing in them has changed."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from polars_alf.arrow import view_numbers
from polars_alf.walk.columns import Columns, empty_columns
from polars_alf.walk.entries import Entries


class Unchanged(NamedTuple):
    """Listings and files of folders in which nothing has changed since an earlier walk.

    Parameters
    ----------
    listings
        LISTINGS of all directories in these folders, each before those in it; none has a null.
    entries
        Their files.
    """

    listings: pl.DataFrame
    entries: Entries

    def list_columns(
        self, find_sessions: Callable[[list[str]], list[str | None]]
    ) -> tuple[Columns, Columns, list[str]]:
        """Return the directories as if they had been listed now.

        Parameters
        ----------
        find_sessions
            Tells the session of each directory, as `Layout.find_sessions`.

        Returns
        -------
        above, within : Columns
            The directories that lie in no session, and the others.
        sessions : list of str
            The session of each of the latter.
        """
        found = find_sessions(self.listings["directory"].to_list())
        session = pl.Series("session", found, dtype=pl.String)
        placed = place_files(self.listings, self.entries).with_columns(session)
        above = placed.filter(pl.col("session").is_null())
        within = placed.filter(pl.col("session").is_not_null())
        sessions = within["session"].to_list()
        return _make_columns(above, self.entries), _make_columns(within, self.entries), sessions


def place_files(listings: pl.DataFrame, entries: Entries) -> pl.DataFrame:
    """Add ``start`` and ``stop`` of each directory's files among the entries, 0 without any."""
    runs = entries.files["directory"].rle().struct.unnest()
    stop = pl.col("len").cum_sum()
    ranges = runs.select(
        directory=entries.directories.gather(runs["value"]), start=stop - pl.col("len"), stop=stop
    )
    joined = listings.join(ranges, on="directory", how="left", maintain_order="left")
    return joined.with_columns(pl.col("start", "stop").fill_null(0))


def _make_columns(placed: pl.DataFrame, entries: Entries) -> Columns:
    columns = empty_columns()
    columns.paths = placed["directory"].to_list()
    columns.subdirectories = placed["subdirectories"].to_list()
    columns.mtimes = _pack("q", placed["mtime_ns"])
    columns.ctimes = _pack("q", placed["ctime_ns"])
    columns.inodes = _pack("Q", placed["inode"])
    columns.n_others = _pack("Q", placed["n_others"])
    columns.errors = array("i", bytes(4 * len(placed)))
    columns.ends = _pack("Q", (placed["stop"] - placed["start"]).cum_sum().cast(pl.UInt64))
    rows = placed.select(pl.int_ranges("start", "stop").explode()).to_series().drop_nulls()
    files = entries.files.select("name", "file_size", "mtime_ns", "inode")[rows]
    columns.names = entries.names.to_list()
    columns.codes = _pack("i", files["name"].cast(pl.Int32))
    columns.sizes = _pack("Q", files["file_size"])
    columns.file_mtimes = _pack("q", files["mtime_ns"])
    columns.file_inodes = _pack("Q", files["inode"])
    return columns


def _pack(code: str, column: pl.Series) -> array[int]:
    packed = array(code)
    packed.frombytes(view_numbers(column))
    return packed
