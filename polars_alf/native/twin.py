"""The twins in Python of the functions in C: what these return, and what stands in for them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from array import array
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import accumulate
from typing import TypeAlias

from polars_alf.native.twin_pacer import ENTRIES_PER_READ, Calls

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that break a path over lines, or move a terminal's cursor."""

UNKNOWN_TIME = -(2**63)
"""Stands for the times of a directory that could not be examined."""

Numbers: TypeAlias = "bytes | memoryview | array[int]"
"""A buffer of machine integers of 64 bits."""

_MOST_NS = 2**63 - 1
_BITS_64 = 2**64 - 1

# Codes of names that are in no column yet.
_OTHER = -1
_INVALID = -2
_MAY_BE_DATASET = -3

BY_DESCRIPTOR = os.scandir in os.supports_fd
"""Whether `os.scandir` takes a descriptor, which spares the kernel the long path of every file on
`stat` (Linux and macOS do, Windows does not)."""

_OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class Odd(IntEnum):
    """The kinds of entries that are neither plain files nor directories."""

    INVALID_NAME = 1
    """The name is not UTF-8 or has control characters."""
    LINKED_DIRECTORY = 2
    SPECIAL_FILE = 3
    """A FIFO, socket or device, or a link to one."""
    UNKNOWN_TYPE = 4
    """The system gave no type, and an error when it was asked."""
    UNREAD_LINK = 5
    """The target of a link could not be examined."""
    UNREAD_FILE = 6
    """The file could not be examined."""
    """The file was left out, as the directory has too many."""
    OTHER_FILE = 7
    COPIES = 8
    """The name has fewer than two dots."""


def list_directories(
    prefix: bytes,
    paths: bytes,
    recurse: bool,
    examine: bool,
    tell_others: bool,
    pass_copies: bool,
    most_files: int,
    most_examined: int,
    steps: array[int] | None,
    pacer: array[int] | None = None,
    /,
) -> tuple[bytes, ...]:
    """List directories into columns.

    Parameters
    ----------
    prefix
        Path of the root, with a slash at its end.
    paths
        Directories relative to it, a NUL after each; the root itself is empty.
    recurse
        Whether to list what lies below them, too: after each directory those in it, from the last
        to the first, each with all below it.
    examine
        Whether to ask the system for sizes and times of files; else they are 0.
    tell_others
        Whether files that are no datasets are odd entries; else they are counted.
    pass_copies
        Whether directories that `has_copies` knows are odd entries, and not entered.
    most_files
        Number of files after which no further directory is begun.
    most_examined
        Number of files of one directory that are examined; where it has more, it is the last that
        is listed.
    steps
        Seven numbers of 64 bits, or None. The first counts calls to the storage, for whoever looks
        on: to open a directory, to read its entries (one, and one for each ENTRIES_PER_READ of
        them) and to examine a file. Once the second is not 0, the listing ends, and what it returns
        is of no use. The third counts nanoseconds of waiting for a turn, and of pauses, which last
        as long as the fourth is not 0. The fifth and the sixth count nanoseconds, too, up to a
        moment ago: how long the thread worked, and how long calls blocked it (`native.effort`).
        Once the seventh is not 0, no further directory is begun.
    pacer
        As for `book_calls`; by default nothing waits for a turn.

    Returns
    -------
    tuple of bytes
        Columns of machine integers, and texts with a NUL after each. Of the directories, in the
        order in which they were listed: paths; origins, the positions among the paths given
        (int32); mtimes and ctimes (int64, ns), and inodes (uint64), before they were listed, or
        UNKNOWN_TIME; errors that ended the listing, or 0 (int32); numbers of other files, whose
        names have fewer than two dots, so that no dataset is among them (uint64); ends of their
        rows among the files (uint64); names of the directories in them, a slash between two. Then
        the distinct names of files and odd entries. Of the files that may be datasets: codes, the
        positions of their names (int32); sizes (uint64); mtimes (int64, ns); inodes (uint64). Of
        odd entries: positions of their directories (int32); codes (int32); kinds of `Odd` (int32);
        errors, or 0 (int32). Of the directories that were not begun, in the order in which they
        would be: paths; origins (int32). Of files of the last directory that were not examined:
        codes (int32).
    """
    _check_texts(prefix, paths)
    given = os.fsdecode(paths).split("\0")[:-1]
    stack = [*enumerate(given)][::-1]
    with Calls(steps, pacer) as calls:
        listing = _Listing(
            os.fsdecode(prefix), recurse, examine, tell_others, pass_copies, most_examined, calls
        )
        while (
            stack
            and len(listing.sizes) < most_files
            and not listing.unexamined
            and not calls.is_stopped
            and not calls.is_enough
        ):
            listing.list_directory(*stack.pop(), stack)
    return listing.columns(stack[::-1])


def examine_files(
    directory: bytes,
    names: bytes,
    steps: array[int] | None,
    pacer: array[int] | None = None,
    /,
) -> tuple[bytes, ...]:
    """Examine files of a directory, a NUL after each name; the rest is as for `list_directories`.

    Returns
    -------
    tuple of bytes
        Sizes (uint64), mtimes (int64, ns), inodes (uint64), and errors (int32): 0 for a file, -1
        for what is none, else the error of the system.
    """
    _check_texts(directory, names)
    sizes, mtimes, inodes, errors = array("Q"), array("q"), array("Q"), array("i")
    path = os.fsdecode(directory)
    with Calls(steps, pacer) as calls:
        calls.begin(1)  # in C, to open the directory
        for name in os.fsdecode(names).split("\0")[:-1]:
            error = 0
            if calls.is_stopped:
                break
            calls.begin(1)
            try:
                status = os.stat(path + os.sep + name)  # noqa: PTH116  the loop is to be short
                if not stat.S_ISREG(status.st_mode):
                    error = -1
            except OSError as problem:
                error = problem.errno or errno.EIO
            sizes.append(0 if error else status.st_size)
            mtimes.append(0 if error else clamp(status.st_mtime_ns))
            inodes.append(0 if error else status.st_ino & _BITS_64)
            errors.append(error)
    return sizes.tobytes(), mtimes.tobytes(), inodes.tobytes(), errors.tobytes()


def count_unchanged(
    prefix: bytes,
    paths: bytes,
    mtimes: Numbers,
    ctimes: Numbers,
    inodes: Numbers,
    steps: array[int] | None = None,
    pacer: array[int] | None = None,
    /,
) -> int:
    """Return how many directories, from the first on, have the fingerprints that they had.

    Parameters
    ----------
    prefix, paths
        As for `list_directories`; a directory before what lies in it is examined faster.
    mtimes, ctimes, inodes
        As `list_directories` gave them, of each path.
    steps, pacer
        As for `list_directories`.
    """
    _check_texts(prefix, paths)
    given = os.fsdecode(paths).split("\0")[:-1]
    columns = array("q"), array("q"), array("Q")
    for column, numbers in zip(columns, (mtimes, ctimes, inodes), strict=True):
        column.frombytes(memoryview(numbers).cast("B"))
        if len(column) != len(given):
            raise ValueError("there are not as many fingerprints as paths")
    place = os.fsdecode(prefix)
    with Calls(steps, pacer) as calls:
        for n, (path, *fingerprint) in enumerate(zip(given, *columns, strict=True)):
            calls.begin(1)
            try:
                status = os.stat(place + path)  # noqa: PTH116  the loop is to be short
            except OSError:
                return n
            times = clamp(status.st_mtime_ns), clamp(status.st_ctime_ns)
            if [*times, status.st_ino & _BITS_64] != fingerprint:
                return n
    return len(given)


def is_valid(name: str) -> bool:
    """Whether a name is UTF-8 without control characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not CONTROL.search(name)


def has_copies(name: str) -> bool:
    """Whether a folder of this name has earlier states of the others, or what was deleted.

    So NetApp, Isilon and GPFS, Btrfs and ZFS call their snapshots; desktops, Synology, Windows and
    ext4 what was deleted or found; rsync what it has in part.
    """
    return name in _COPIES or name.startswith(".Trash-")


_COPIES = frozenset(
    {".snapshot", ".snapshots", ".zfs", "~snapshot", "lost+found", "#recycle", "@eaDir"}
    | {"$RECYCLE.BIN", ".rsync-partial"}
)


def clamp(time_ns: int) -> int:
    """Return a time as far as 64 bits hold it: file systems have times beyond the year 2262."""
    if -_MOST_NS <= time_ns <= _MOST_NS:
        return time_ns
    return _MOST_NS if time_ns > 0 else -_MOST_NS


class _Listing:
    def __init__(
        self,
        prefix: str,
        recurse: bool,
        examine: bool,
        tell_others: bool,
        pass_copies: bool,
        most_examined: int,
        calls: Calls,
    ) -> None:
        self._prefix = prefix
        self._recurse = recurse
        self._examine = examine
        self._tell_others = tell_others
        self._pass_copies = pass_copies
        self._most_examined = most_examined
        self._calls = calls
        self._paths: list[str] = []
        self._origins = array("i")
        self._times = array("q"), array("q"), array("Q")
        self._errors = array("i")
        self._n_others = array("Q")
        self._n_files: list[int] = []
        self._subdirectories: list[str] = []
        self._names: dict[str, int] = {}
        self._kinds: dict[str, int] = {}
        self._codes = array("i")
        self.sizes = array("Q")
        self._mtimes = array("q")
        self._inodes = array("Q")
        self._odd = array("i"), array("i"), array("i"), array("i")
        self.unexamined = array("i")

    def columns(self, left: list[tuple[int, str]]) -> tuple[bytes, ...]:
        return (
            _join(self._paths),
            self._origins.tobytes(),
            *(times.tobytes() for times in self._times),
            self._errors.tobytes(),
            self._n_others.tobytes(),
            array("Q", accumulate(self._n_files)).tobytes(),
            _join(self._subdirectories),
            _join([*self._names]),
            self._codes.tobytes(),
            self.sizes.tobytes(),
            self._mtimes.tobytes(),
            self._inodes.tobytes(),
            *(column.tobytes() for column in self._odd),
            _join([path for _, path in left]),
            array("i", [origin for origin, _ in left]).tobytes(),
            self.unexamined.tobytes(),
        )

    def list_directory(self, origin: int, path: str, stack: list[tuple[int, str]]) -> None:
        subdirectories: list[str] = []
        n_before = len(self.sizes)
        error = 0
        times = UNKNOWN_TIME, UNKNOWN_TIME, 0
        self._n_others.append(0)
        full = self._prefix + path if path else self._prefix.rstrip(os.sep) or os.sep
        begin_calls = self._calls.begin
        try:
            begin_calls(1)
            target: int | str = os.open(full, _OPEN_DIRECTORY) if BY_DESCRIPTOR else full
            try:
                times = _read_times(target)
                begin_calls(1)
                with os.scandir(target) as entries:
                    self._take(entries, subdirectories)
            finally:
                if isinstance(target, int):
                    os.close(target)
        except OSError as problem:
            error = problem.errno or errno.EIO
        self._paths.append(path)
        self._origins.append(origin)
        for column, value in zip(self._times, times, strict=True):
            column.append(value)
        self._errors.append(error)
        self._n_files.append(len(self.sizes) - n_before)
        self._subdirectories.append("/".join(subdirectories))
        if self._recurse and subdirectories:
            above = f"{path}/" if path else ""
            stack += [(origin, above + name) for name in subdirectories]

    def _take(self, entries: Iterable[os.DirEntry[str]], subdirectories: list[str]) -> None:
        # This loop runs once for every file of an archive: names of its own for what it needs, one
        # stat for what may be a dataset and none for anything else.
        kinds = self._kinds
        codes, sizes = self._codes.append, self.sizes.append
        mtimes, inodes = self._mtimes.append, self._inodes.append
        is_regular = stat.S_ISREG
        examine, tell_others, calls = self._examine, self._tell_others, self._calls
        pass_copies, begin_calls = self._pass_copies, calls.begin
        n_others, left = 0, self._most_examined
        try:
            for position, entry in enumerate(entries, 1):
                if calls.is_stopped:
                    break
                if position % ENTRIES_PER_READ == 0:
                    begin_calls(1)
                name = entry.name
                code = kinds.get(name)
                if code is None:
                    code = kinds[name] = _classify(name)
                try:
                    if code == _INVALID:
                        self._report(name, Odd.INVALID_NAME)
                    elif entry.is_file(follow_symlinks=False):
                        if code == _OTHER and not tell_others:
                            n_others += 1
                        elif code == _OTHER:
                            self._report(name, Odd.OTHER_FILE)
                        elif not examine:
                            self._add(name, None)
                        elif left <= 0:
                            self.unexamined.append(self._encode(name))
                        else:
                            left -= 1
                            begin_calls(1)
                            status = entry.stat()
                            if not is_regular(status.st_mode):
                                self._report(name, Odd.SPECIAL_FILE)
                                continue
                            mtime_ns = status.st_mtime_ns
                            if not -_MOST_NS <= mtime_ns <= _MOST_NS:
                                mtime_ns = clamp(mtime_ns)
                            codes(code if code >= 0 else self._encode(name))
                            sizes(status.st_size)
                            mtimes(mtime_ns)
                            inodes(status.st_ino & _BITS_64)
                    elif entry.is_dir(follow_symlinks=False):
                        if pass_copies and has_copies(name):
                            self._report(name, Odd.COPIES)
                        else:
                            subdirectories.append(name)
                    else:
                        n_others += self._take_odd(entry, code)
                except OSError as error:
                    self._report_error(entry, error)
        finally:
            self._n_others[-1] = n_others

    def _take_odd(self, entry: os.DirEntry[str], code: int) -> bool:
        """Take a link or a special file; return whether it is one of the others."""
        if not entry.is_symlink():
            self._report(entry.name, Odd.SPECIAL_FILE)
            return False
        self._calls.begin(1)
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            self._report(entry.name, Odd.LINKED_DIRECTORY)
        elif not stat.S_ISREG(status.st_mode):
            self._report(entry.name, Odd.SPECIAL_FILE)
        elif code == _OTHER and self._tell_others:
            self._report(entry.name, Odd.OTHER_FILE)
        elif code == _OTHER:
            return True
        else:
            self._add(entry.name, status if self._examine else None)
        return False

    def _add(self, name: str, status: os.stat_result | None) -> None:
        self._codes.append(self._encode(name))
        self.sizes.append(status.st_size if status else 0)
        self._mtimes.append(clamp(status.st_mtime_ns) if status else 0)
        self._inodes.append(status.st_ino & _BITS_64 if status else 0)

    def _report(self, name: str, kind: Odd, number: int = 0) -> None:
        row = len(self._paths), self._encode(name), kind, number
        for column, value in zip(self._odd, row, strict=True):
            column.append(value)

    def _report_error(self, entry: os.DirEntry[str], error: OSError) -> None:
        kind = Odd.UNKNOWN_TYPE
        with contextlib.suppress(OSError):
            kind = Odd.UNREAD_LINK if entry.is_symlink() else Odd.UNREAD_FILE
        self._report(entry.name, kind, error.errno or errno.EIO)

    def _encode(self, name: str) -> int:
        """Return the position of a name among the distinct names."""
        code = self._names.setdefault(name, len(self._names))
        if self._kinds.get(name) == _MAY_BE_DATASET:
            self._kinds[name] = code
        return code


def _check_texts(text: bytes, texts: bytes) -> None:
    if b"\0" in text or (texts and texts[-1]):
        raise ValueError("the first text has a NUL, or the last of the others none at its end")


def _classify(name: str) -> int:
    if not is_valid(name):
        return _INVALID
    return _OTHER if name.count(".") < 2 else _MAY_BE_DATASET


def _read_times(target: int | str) -> tuple[int, int, int]:
    """Return mtime_ns, ctime_ns and inode of a directory."""
    try:
        status = os.stat(target)  # noqa: PTH116  may be a descriptor
    except OSError:
        return UNKNOWN_TIME, UNKNOWN_TIME, 0
    return clamp(status.st_mtime_ns), clamp(status.st_ctime_ns), status.st_ino & _BITS_64


def _join(texts: Sequence[str]) -> bytes:
    return os.fsencode("\0".join((*texts, ""))) if texts else b""
