"""List the directories of an inventory, as `Lister` lists those of a file system.

`Walker` judges what it is given, whatever that comes from: so the tables of an inventory are those
of a walk.
"""

from __future__ import annotations

import errno
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.alf.path_columns import expr_join
from polars_alf.alf.paths import find_subdirectories, join
from polars_alf.arrow import view_numbers
from polars_alf.native.twin import UNKNOWN_TIME, Odd, has_copies
from polars_alf.schema import IssueKind
from polars_alf.walk.batches import Listing
from polars_alf.walk.columns import EVERY, Columns, Steps, join_texts
from polars_alf.walk.entries import find_codes
from polars_alf.walk.inventory import report_malformed
from polars_alf.walk.inventory_rows import ODD_ENTRIES, Kind
from polars_alf.walk.inventory_store import Store
from polars_alf.walk.known import Known, KnownListings
from polars_alf.walk.lister import Lister
from polars_alf.walk.walker import Walker


class Folders:
    """The folders of some rows of an inventory, in memory.

    Parameters
    ----------
    rows
        With the columns ROWS. Of two rows with one path, the first counts.
    more
        Folders that are there, whether rows say so or not.
    """

    def __init__(self, rows: pl.DataFrame, more: Iterable[str]) -> None:
        rows = rows.unique(["directory", "name"], keep="first", maintain_order=True)
        is_folder = pl.col("kind") == int(Kind.FOLDER)
        told = rows.filter(is_folder).select(expr_join("directory", "name")).to_series()
        self.subdirectories = find_subdirectories([*told, *rows["directory"].unique(), *more])
        # In the order of their paths, so that those below a folder come right after it.
        self.paths: list[str] = []
        self.ends: list[int] = []
        self._order()
        self.positions = {path: position for position, path in enumerate(self.paths)}
        order = pl.Series(self.paths, dtype=pl.String)
        rows = rows.filter(~is_folder)
        rows = rows.with_columns(position=find_codes(rows["directory"], order))
        rows = rows.sort("position", "name").with_columns(
            is_other=pl.col("name").str.count_matches(".", literal=True) < 2
        )
        is_file = pl.col("kind") == int(Kind.FILE)
        self._files = rows.filter(is_file & ~pl.col("is_other"))
        self._others = rows.filter(is_file & pl.col("is_other"))
        self._file_starts = self._count_before(self._files)
        self._other_starts = self._count_before(self._others)
        self._odd: defaultdict[int, list[tuple[str, int, int]]] = defaultdict(list)
        odd = rows.filter(~is_file).select("position", "name", "kind", "is_other")
        self._n_others: defaultdict[int, int] = defaultdict(int)
        for position, name, number, is_other in odd.iter_rows():
            if number == Kind.LINKED_FILE and is_other:
                self._n_others[position] += 1
            else:
                self._odd[position].append((name, *ODD_ENTRIES[Kind(number)]))

    def read(
        self, directories: Sequence[str], *, recurse: bool, tell_others: bool, pass_copies: bool
    ) -> Columns:
        """Return the columns of directories, as `native.list_directories` does."""
        positions: list[int] = []
        origins = array("i")
        absent: list[tuple[int, str]] = []
        for origin, directory in enumerate(directories):
            start = self.positions.get(directory)
            if start is None:
                absent.append((origin, directory))
                continue
            found = self._list_below(start, pass_copies=pass_copies) if recurse else [start]
            positions += found
            origins.extend([origin] * len(found))
        origins.extend([origin for origin, _ in absent])
        paths = [*map(self.paths.__getitem__, positions), *(path for _, path in absent)]
        errors = [0] * len(positions) + [errno.ENOENT] * len(absent)
        lengths = [self._file_starts[i + 1] - self._file_starts[i] for i in positions]
        lengths += [0] * len(absent)
        files = self._gather(self._files, self._file_starts, positions)
        names: dict[str, int] = {}
        # Calls of Polars would take longer for the few thousand files that are read at a time.
        codes = array("i", [names.setdefault(name, len(names)) for name in files["name"]])
        n_others = array("Q", [0] * len(paths))
        subdirectories = [""] * len(paths)
        odd = array("i"), array("i"), array("i"), array("i")
        for row, position in enumerate(positions):
            entries = [*self._odd.get(position, ())]
            below = self.subdirectories[self.paths[position]]
            if pass_copies and any(map(has_copies, below)):
                entries += ((name, int(Odd.COPIES), 0) for name in below if has_copies(name))
                below = [name for name in below if not has_copies(name)]
            subdirectories[row] = "/".join(below)
            n_others[row] = self._n_others.get(position, 0)
            others = slice(self._other_starts[position], self._other_starts[position + 1])
            if tell_others:
                told = self._others["name"][others]
                entries += ((name, int(Odd.OTHER_FILE), 0) for name in told)
            else:
                n_others[row] += others.stop - others.start
            for name, kind, number in entries:
                values = row, names.setdefault(name, len(names)), kind, number
                for column, value in zip(odd, values, strict=True):
                    column.append(value)
        unknown = array("q", [UNKNOWN_TIME] * len(paths)).tobytes()
        return Columns(
            (
                join_texts(paths),
                origins.tobytes(),
                unknown,
                unknown,
                array("Q", [0] * len(paths)).tobytes(),
                array("i", errors).tobytes(),
                n_others.tobytes(),
                array("Q", accumulate(lengths)).tobytes(),
                join_texts(subdirectories),
                join_texts([*names]),
                codes.tobytes(),
                bytes(view_numbers(files["file_size"])),
                bytes(view_numbers(files["mtime_ns"])),
                bytes(view_numbers(files["inode"])),
                *(column.tobytes() for column in odd),
                *(b"", b"", b""),
            )
        )

    def _order(self) -> None:
        """Put folders in their order, and note where those below each end."""
        stack: list[tuple[str, int]] = [("", -1)]
        while stack:
            path, entered = stack.pop()
            if entered >= 0:
                self.ends[entered] = len(self.paths)
                continue
            stack.append((path, len(self.paths)))
            self.paths.append(path)
            self.ends.append(0)
            below = self.subdirectories[path]
            stack += [(join(path, name), -1) for name in reversed(below)]

    def _list_below(self, start: int, *, pass_copies: bool) -> list[int]:
        """Return a folder and all below it, without folders of copies where these are passed."""
        found = []
        position = start
        while position < self.ends[start]:
            name = self.paths[position].rpartition("/")[2]
            if pass_copies and position > start and has_copies(name):
                position = self.ends[position]
                continue
            found.append(position)
            position += 1
        return found

    def _count_before(self, rows: pl.DataFrame) -> list[int]:
        """Return the number of rows before each folder, and at the end that of all."""
        counts = [0] * len(self.paths)
        for position, n in rows.group_by("position").len().iter_rows():
            counts[position] = n
        return [0, *accumulate(counts)]

    @staticmethod
    def _gather(
        rows: pl.DataFrame, starts: Sequence[int], positions: Sequence[int]
    ) -> pl.DataFrame:
        """Return the rows of some folders, one after the other."""
        parts = []
        begin = end = 0
        for position in positions:
            start, stop = starts[position], starts[position + 1]
            if start != end:
                if end > begin:
                    parts.append(rows[begin:end])
                begin = start
            end = stop
        parts.append(rows[begin:end])
        return pl.concat(parts) if len(parts) > 1 else parts[0]


class InventoryLister(Lister):
    """List directories of an archive by its inventory; `folders` are those that can be listed."""

    folders: Folders

    def read(
        self,
        directories: Sequence[str],
        *,
        in_session: bool,
        recurse: bool = False,
        tell_others: bool = False,
        most_files: int = EVERY,
        most_examined: int = EVERY,
        steps: Steps | None = None,
    ) -> Columns:
        """Return the columns of some directories, whatever the number of files."""
        return self.folders.read(
            directories,
            recurse=recurse,
            tell_others=tell_others,
            pass_copies=not self._include_snapshots,
        )

    def _follow(self, directory: str, name: str, session: str | None, into: Listing) -> bool:
        if not self._selection.leaves_out(directory, name):
            into.report(
                join(directory, name),
                IssueKind.LINKED_DIRECTORY,
                "a linked directory, of which the inventory does not say what lies in it; make an "
                "inventory that follows links, as find -L does, to index it",
            )
        return False

    def _report_odd(self, directory: str, name: str, kind: int, number: int, into: Listing) -> None:
        if kind != Odd.UNREAD_FILE:
            super()._report_odd(directory, name, kind, number, into)
            return
        into.report(
            join(directory, name),
            IssueKind.UNREADABLE_FILE,
            "a link to a file, of which the inventory has neither size nor time; make the "
            "inventory in a way that follows links to files",
        )


class InventoryWalker(Walker):
    """Walk one archive by its inventory in a store; nothing is asked of the storage."""

    _lister: InventoryLister

    def _open_lister(self) -> InventoryLister:
        self._store = Store(Path(self.options.inventory))
        return InventoryLister(self.root, self.options, self._layout.is_session)

    def survey(self, known: KnownListings | None = None) -> list[str]:
        """List everything above the dates; return the dated folders, in no particular order."""
        report_malformed(self._store, self._layout)
        self._lister.folders = Folders(*self._store.read_above())
        return super().survey()

    def walk(self, folders: Sequence[str], known: Known | None = None) -> Iterator[pa.RecordBatch]:
        """Walk some dated folders."""
        self._lister.folders = Folders(self._store.read(folders), folders)
        yield from super().walk(folders)
