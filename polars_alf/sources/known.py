"""What an earlier walk met in each directory, for a walk that trusts the times of directories."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import polars as pl

from polars_alf.sources.listing import Listing, Names
from polars_alf.sources.stamps import Stamp


class _Directory(NamedTuple):
    stamp: Stamp
    n_others: int
    subdirectories: list[str]
    start: int
    stop: int


class KnownListings:
    """Listings of directories, each with the stamp that it had.

    Parameters
    ----------
    listings
        LISTINGS.
    entries
        ENTRIES in the order of a walk, names as strings.
    """

    def __init__(self, listings: pl.DataFrame, entries: pl.DataFrame) -> None:
        sizes = entries.group_by("directory", maintain_order=True).len("n")
        end = pl.col("n").cum_sum()
        ranges = sizes.select("directory", start=end - pl.col("n"), stop=end)
        joined = listings.drop_nulls("mtime_ns").join(ranges, on="directory", how="left")
        self._directories = {
            directory: _Directory(
                (mtime_ns, ctime_ns, inode),
                n_others,
                subdirectories.split("/") if subdirectories else [],
                start or 0,
                stop or 0,
            )
            for directory, mtime_ns, ctime_ns, inode, n_others, subdirectories, start, stop in (
                joined.select(
                    "directory",
                    "mtime_ns",
                    "ctime_ns",
                    "inode",
                    "n_others",
                    "subdirectories",
                    "start",
                    "stop",
                ).iter_rows()
            )
        }
        self._datasets = entries["name"].unique(maintain_order=True).to_list()
        codes = {name: code for code, name in enumerate(self._datasets)}
        self._codes = array("i", entries["name"].replace_strict(codes, return_dtype=pl.Int32))
        self._sizes = array("Q", entries["file_size"])
        self._times = array("q", entries["mtime_ns"])
        self._inodes = array("Q", entries["inode"])
        self._names: Names | None = None
        self._new_codes: list[int] = []

    def __contains__(self, directory: str) -> bool:
        return directory in self._directories

    def fill(self, directory: str, stamp: Stamp, into: Listing) -> bool:
        """Add what is known of a directory, if it has the stamp that it had then.

        Parameters
        ----------
        directory
            Path relative to the root.
        stamp
            What it has now.
        into
            What to add to.
        """
        known = self._directories.get(directory)
        if known is None or known.stamp != stamp:
            return False
        rows = slice(known.start, known.stop)
        codes = self._translate(into.names)
        into.name_codes.extend([codes[code] for code in self._codes[rows]])
        into.sizes.extend(self._sizes[rows])
        into.times.extend(self._times[rows])
        into.inodes.extend(self._inodes[rows])
        into.subdirectories += known.subdirectories
        into.n_others += known.n_others
        return True

    def _translate(self, names: Names) -> list[int]:
        """Return the codes that names have in a listing."""
        if names is not self._names:
            self._new_codes = [names.encode(name) for name in self._datasets]
            self._names = names
        return self._new_codes
