"""Listings of an earlier walk, which need not be read again."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import polars as pl

from polars_alf.schema import LISTINGS
from polars_alf.walk.batches import Listing, Names
from polars_alf.walk.entries import Entries
from polars_alf.walk.fingerprint import Fingerprint, fingerprint_directory


class _Known(NamedTuple):
    fingerprint: Fingerprint
    n_others: int
    subdirectories: list[str]
    start: int
    stop: int


class KnownListings:
    """Listings of an earlier walk, for one that trusts the times of directories.

    Parameters
    ----------
    listings
        LISTINGS.
    entries
        Their files, in the order of a walk.
    is_checked
        Whether every directory is known to have the fingerprint that it had.
    """

    def __init__(
        self, listings: pl.DataFrame, entries: Entries, *, is_checked: bool = False
    ) -> None:
        files = entries.files
        runs = files["directory"].rle().struct.unnest()
        end = pl.col("len").cum_sum()
        ranges = runs.select(
            directory=entries.directories.gather(runs["value"]), start=end - pl.col("len"), stop=end
        )
        joined = listings.drop_nulls("mtime_ns").join(ranges, on="directory", how="left")
        self._known = {
            directory: _Known(
                (mtime_ns, ctime_ns, inode),
                n_others,
                subdirectories.split("/") if subdirectories else [],
                start or 0,
                stop or 0,
            )
            for directory, mtime_ns, ctime_ns, inode, n_others, subdirectories, start, stop in (
                joined.select(*LISTINGS.names, "start", "stop").iter_rows()
            )
        }
        self._datasets = entries.names.to_list()
        self._codes = array("i", files["name"])
        self._sizes = array("Q", files["file_size"])
        self._times = array("q", files["mtime_ns"])
        self._inodes = array("Q", files["inode"])
        self._is_checked = is_checked
        self._names: Names | None = None
        self._new_codes: list[int] = []

    def recall(self, directory: str, path: str, into: Listing) -> bool:
        """Add a directory to a listing, and return whether it is as it was.

        `directory` is relative to the root, `path` as the system has it.
        """
        known = self._known.get(directory)
        if known is None:
            return False
        if not self._is_checked and known.fingerprint != fingerprint_directory(path):
            return False
        rows = slice(known.start, known.stop)
        codes = self._translate(into.names)
        into.name_codes.extend([codes[code] for code in self._codes[rows]])
        into.sizes.extend(self._sizes[rows])
        into.times.extend(self._times[rows])
        into.inodes.extend(self._inodes[rows])
        into.subdirectories += known.subdirectories
        into.n_others += known.n_others
        into.fingerprint = known.fingerprint
        return True

    def _translate(self, names: Names) -> list[int]:
        """Return the codes that names have in a listing."""
        if names is not self._names:
            self._new_codes = [names.encode(name) for name in self._datasets]
            self._names = names
        return self._new_codes
