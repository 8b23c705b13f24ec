"""The columns of `native.list_directories`, as Python has them."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, compress
from operator import not_, sub
from typing import NamedTuple, TypeAlias

from polars_alf.native.twin import UNKNOWN_TIME, Odd

Steps: TypeAlias = "array[int]"
"""Counts of a listing that goes on: see `native.twin.list_directories`."""


_OTHER_FILE = int(Odd.OTHER_FILE)

EVERY = 1 << 62
"""Stands for a number of files without a limit."""

_N_COLUMNS = 21
"""Of `native.list_directories`."""


class OddEntry(NamedTuple):
    """An entry that is neither a plain file nor a directory; `directory` and `code` are positions.

    `kind` is a `native.twin.Odd`, `error` the number of a system's error or 0.
    """

    directory: int
    code: int
    kind: int
    error: int


class Columns:
    """Listed directories, their files and odd entries; attributes are those of the twin.

    ``linked`` has the names of linked directories to enter, by the position of what they lie in;
    ``reported`` the issues of those that are not. Files that are no datasets and were not counted
    are rows of ``others``: positions of their directories, and codes.
    """

    __slots__ = (
        "codes",
        "ctimes",
        "ends",
        "errors",
        "file_inodes",
        "file_mtimes",
        "inodes",
        "left",
        "left_origins",
        "linked",
        "mtimes",
        "n_others",
        "names",
        "odd",
        "origins",
        "others",
        "paths",
        "reported",
        "sizes",
        "subdirectories",
        "unexamined",
    )

    def __init__(self, columns: tuple[bytes, ...]) -> None:
        (paths, origins, mtimes, ctimes, inodes, errors, n_others, ends, subdirectories) = columns[
            :9
        ]
        self.paths = split_texts(paths)
        self.origins = array("i", origins)
        self.mtimes = array("q", mtimes)
        self.ctimes = array("q", ctimes)
        self.inodes = array("Q", inodes)
        self.errors = array("i", errors)
        self.n_others = array("Q", n_others)
        self.ends = array("Q", ends)
        self.subdirectories = split_texts(subdirectories)
        self.names = split_texts(columns[9])
        self.codes = array("i", columns[10])
        self.sizes = array("Q", columns[11])
        self.file_mtimes = array("q", columns[12])
        self.file_inodes = array("Q", columns[13])
        odd: Sequence[Sequence[int]] = [array("i", column) for column in columns[14:18]]
        self.others = array("i"), array("i")
        is_other = [kind == _OTHER_FILE for kind in odd[2]]
        if any(is_other):
            directories, names = (array("i", compress(column, is_other)) for column in odd[:2])
            self.others = directories, names
            odd = [[*compress(column, map(not_, is_other))] for column in odd]
        self.odd = [OddEntry(*row) for row in zip(*odd, strict=True)]
        self.left = split_texts(columns[18])
        self.left_origins = array("i", columns[19])
        self.unexamined = array("i", columns[20])
        self.linked: dict[int, list[str]] = {}
        self.reported: dict[int, list[tuple[str, str, int | None, str]]] = {}

    def keep(self, is_kept: Sequence[bool]) -> None:
        """Keep some of the files."""
        n_kept = [0, *accumulate(is_kept)]
        self.ends = array("Q", map(n_kept.__getitem__, self.ends))
        self.codes = array("i", compress(self.codes, is_kept))
        self.sizes = array("Q", compress(self.sizes, is_kept))
        self.file_mtimes = array("q", compress(self.file_mtimes, is_kept))
        self.file_inodes = array("Q", compress(self.file_inodes, is_kept))

    def add_examined(self, codes: array[int], found: Examined) -> None:
        """Add files of the last directory that were examined by name."""
        errors = found.errors
        is_file: Sequence[bool] = [not error for error in errors] if any(errors) else ()
        columns = (
            (self.codes, codes),
            (self.sizes, found.sizes),
            (self.file_mtimes, found.mtimes),
            (self.file_inodes, found.inodes),
        )
        for column, values in columns:
            column.extend(compress(values, is_file) if is_file else values)
        self.ends[-1] = len(self.codes)
        last = len(self.paths) - 1
        for code, error in zip(codes, errors, strict=True) if is_file else ():
            if error:
                kind = Odd.SPECIAL_FILE if error < 0 else Odd.UNREAD_FILE
                self.odd.append(OddEntry(last, code, kind, max(error, 0)))

    def drop_files(self, is_dropped: Sequence[bool]) -> None:
        """Count the files of some names among the others, by the code of the name."""
        before = self.ends
        self.keep([not is_dropped[code] for code in self.codes])
        n_dropped = [*map(sub, before, self.ends)]
        for i, n in enumerate(map(sub, n_dropped, (0, *n_dropped))):
            self.n_others[i] += n

    def count_others(self, is_kept: Sequence[bool]) -> None:
        """Count those of the other files that are kept; the rest is left out."""
        for position, n in Counter(compress(self.others[0], is_kept)).items():
            self.n_others[position] += n
        self.others = array("i"), array("i")

    def forget_names(self) -> None:
        """Let go of the names that nothing refers to any more."""
        used = {*self.codes, *(row.code for row in self.odd)}
        self.names = [name if code in used else "" for code, name in enumerate(self.names)]

    def list_below(self, position: int) -> list[str]:
        """Return the names of the directories to enter in a directory."""
        below = self.subdirectories[position]
        return [*(below.split("/") if below else ()), *self.linked.get(position, ())]

    def append_directory(self, other: Columns, position: int, codes: array[int]) -> None:
        """Add a directory of other columns, and its files, whose names have other codes here."""
        start, end = other.ends[position - 1] if position else 0, other.ends[position]
        self.paths.append(other.paths[position])
        self.mtimes.append(other.mtimes[position])
        self.ctimes.append(other.ctimes[position])
        self.inodes.append(other.inodes[position])
        self.errors.append(other.errors[position])
        self.n_others.append(other.n_others[position])
        self.subdirectories.append(other.subdirectories[position])
        if end > start:
            self.codes += codes[start:end]
            self.sizes += other.sizes[start:end]
            self.file_mtimes += other.file_mtimes[start:end]
            self.file_inodes += other.file_inodes[start:end]
        self.ends.append(len(self.codes))

    def cut(self, start: int, stop: int) -> Columns:
        """Return the columns of the directories from one position up to another."""
        part = empty_columns()
        first, last = (self.ends[position - 1] if position else 0 for position in (start, stop))
        part.paths = self.paths[start:stop]
        part.origins = self.origins[start:stop]
        part.subdirectories = self.subdirectories[start:stop]
        part.mtimes = self.mtimes[start:stop]
        part.ctimes = self.ctimes[start:stop]
        part.inodes = self.inodes[start:stop]
        part.errors = self.errors[start:stop]
        part.n_others = self.n_others[start:stop]
        part.ends = array("Q", [end - first for end in self.ends[start:stop]])
        part.sizes = self.sizes[first:last]
        part.file_mtimes = self.file_mtimes[first:last]
        part.file_inodes = self.file_inodes[first:last]
        # Where names do not repeat, those of all directories would be many times as many.
        codes: dict[int, int] = {}
        part.codes = array("i", [codes.setdefault(c, len(codes)) for c in self.codes[first:last]])
        part.odd = [
            row._replace(
                directory=row.directory - start, code=codes.setdefault(row.code, len(codes))
            )
            for row in self.odd
            if start <= row.directory < stop
        ]
        part.names = [self.names[code] for code in codes]
        return part

    def forget_fingerprint(self, position: int) -> None:
        """Have a directory listed again by the next quick refresh."""
        self.mtimes[position] = self.ctimes[position] = UNKNOWN_TIME


class Examined:
    """Files of a directory that were examined by name."""

    def __init__(self, columns: tuple[bytes, ...]) -> None:
        self.sizes = array("Q", columns[0])
        self.mtimes = array("q", columns[1])
        self.inodes = array("Q", columns[2])
        self.errors = array("i", columns[3])


def empty_columns() -> Columns:
    """Return the columns of no directories."""
    return Columns((b"",) * _N_COLUMNS)


def join_texts(texts: Sequence[str]) -> bytes:
    """Return texts with a NUL after each."""
    return os.fsencode("\0".join((*texts, "")))


def split_texts(texts: bytes) -> list[str]:
    """Return the texts of which each has a NUL after it."""
    return os.fsdecode(texts).split("\0")[:-1]
