"""Listings of an earlier walk, which need not be read again."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import polars as pl

from polars_alf.schema import LISTINGS
from polars_alf.walk.batches import Listing, Names
from polars_alf.walk.entries import Entries
from polars_alf.walk.fingerprint import Fingerprint, fingerprint_directory
from polars_alf.walk.recalled import Unchanged, place_files


class _Known(NamedTuple):
    fingerprint: Fingerprint
    n_others: int
    subdirectories: list[str]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Suspects:
    """Directories that may have changed, where all others are known to be as they were.

    Parameters
    ----------
    listed
        Directories to list. Those directly in them are compared by their fingerprints, as another
        may have taken the name of one.
    doubted
        Directories to compare by their fingerprints.
    linked
        Directories reached through a link, to list with all that lies below them.
    """

    listed: frozenset[str] = frozenset()
    doubted: frozenset[str] = frozenset()
    linked: frozenset[str] = frozenset()


class KnownListings:
    """Listings of an earlier walk, for one that trusts the times of directories.

    Parameters
    ----------
    listings
        LISTINGS.
    entries
        Their files, in the order of a walk.
    suspects
        The directories that may not, where all others are known to.

    Attributes
    ----------
    listed, linked : set of str
        With `suspects`: directories that were not recalled, and of those the ones that a link led
        to, with all below them.
    """

    def __init__(
        self,
        listings: pl.DataFrame,
        entries: Entries,
        *,
        suspects: Suspects | None = None,
    ) -> None:
        files = entries.files
        placed = place_files(listings.drop_nulls("mtime_ns"), entries)
        self._known = {
            directory: _Known(
                (mtime_ns, ctime_ns, inode),
                n_others,
                subdirectories.split("/") if subdirectories else [],
                start,
                stop,
            )
            for directory, mtime_ns, ctime_ns, inode, n_others, subdirectories, start, stop in (
                placed.select(*LISTINGS.names, "start", "stop").iter_rows()
            )
        }
        self._datasets = entries.names.to_list()
        self._codes = array("i", files["name"])
        self._sizes = array("Q", files["file_size"])
        self._times = array("q", files["mtime_ns"])
        self._inodes = array("Q", files["inode"])
        self._suspects = suspects
        self.listed: set[str] = set()
        self.linked = {*suspects.linked} if suspects else set()
        self._names: Names | None = None
        self._new_codes: list[int] = []

    def recall(
        self,
        directory: str,
        path: str,
        into: Listing,
        begin_call: Callable[[], None] = lambda: None,
    ) -> bool:
        """Add a directory to a listing, and return whether it is as it was.

        `directory` is relative to the root, `path` as the system has it. `begin_call` is called
        before a call to the storage.
        """
        if self.linked and directory.rpartition("/")[0] in self.linked:
            self.linked.add(directory)
        known = self._known.get(directory)
        if known is None or not self._is_unchanged(directory, path, known.fingerprint, begin_call):
            self.listed.add(directory)
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

    def note_links(self, directories: Iterable[str]) -> None:
        """Note directories that links lead to: what changed there has another path, too."""
        self.linked.update(directories)

    def _is_unchanged(
        self,
        directory: str,
        path: str,
        fingerprint: Fingerprint,
        begin_call: Callable[[], None],
    ) -> bool:
        if self._suspects is not None:
            if directory in self.linked or directory in self._suspects.listed:
                return False
            is_doubted = directory in self._suspects.doubted
            if not is_doubted and directory.rpartition("/")[0] not in self.listed:
                return True
        begin_call()
        return fingerprint == fingerprint_directory(path)

    def _translate(self, names: Names) -> list[int]:
        """Return the codes that names have in a listing."""
        if names is not self._names:
            self._new_codes = [names.encode(name) for name in self._datasets]
            self._names = names
        return self._new_codes


Known: TypeAlias = KnownListings | Unchanged
"""Findings of an earlier walk: to compare directories with, or to take as they are."""
