"""A feed: the list of the paths that changed, as `find` or a changelog has it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from polars_alf.alf.paths import printable
from polars_alf.alf.root import FolderPath, Root
from polars_alf.errors import OptionError

STDIN = "-"
"""Stands for the standard input in the place of a file."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The paths that changed.

    Parameters
    ----------
    paths
        Paths relative to the root, each once, in their order; "" is the root.
    n_paths, n_outside
        How many paths the list has, and how many of them lie outside of the archive.
    checksum
        XXH3 of the list, in hexadecimal.
    """

    paths: tuple[str, ...]
    n_paths: int
    n_outside: int
    checksum: str


def read_feed(file: str, root: Root, spelling: FolderPath) -> Feed:
    """Read a list of paths, one a line or each with a NUL after it.

    A relative path counts from the root, and where it leads into the archive also from the working
    directory: to look at a folder too many does no harm.

    Parameters
    ----------
    file
        Path of the list, or `STDIN`.
    root
        The archive.
    spelling
        Its path as the caller gave it, which absolute paths of the list may begin with.

    Raises
    ------
    OptionError
        The list cannot be read, or all of its paths lie outside of the archive.
    """
    content = _read(file)
    separator = b"\0" if b"\0" in content else b"\n"
    tops = {str(root.path), os.path.abspath(spelling)}  # noqa: PTH100  links stay as they are
    n_paths = n_outside = 0
    example = ""
    paths: set[str] = set()
    for line in content.split(separator):
        text = os.fsdecode(line if separator == b"\0" else line.removesuffix(b"\r"))
        if not text:
            continue
        n_paths += 1
        found = [*_relate(text, tops)]
        paths.update(found)
        if not found:
            n_outside += 1
            example = example or text
    if n_paths and n_paths == n_outside:
        raise OptionError(
            f"none of the {n_paths:,} paths in {_describe(file)} lies in the archive {root}, "
            f"{printable(example)!r} for one; give paths that begin with {root}, or that are "
            "relative to it"
        )
    checksum = xxhash.xxh3_128_hexdigest(content)
    return Feed(tuple(sorted(paths)), n_paths, n_outside, checksum)


def find_directories(
    paths: Iterable[str], known: Collection[str], root: Root, top: str
) -> frozenset[str]:
    """Return the directories to list: those of the paths, or that hold them.

    Parameters
    ----------
    paths
        Paths that changed, in `top`.
    known
        Directories that an earlier walk has listed. Of a path in none of these, as of one that is
        gone, the nearest folder above that is known and there is to be listed.
    root
        The archive.
    top
        The outermost directory, which needs no look.
    """
    found: set[str] = set()
    is_there: dict[str, bool] = {}
    for path in paths:
        directory = path
        while directory != top:
            if directory not in is_there:
                is_there[directory] = directory in known and _is_directory(root.locate(directory))
            if is_there[directory]:
                break
            directory = directory.rpartition("/")[0]
        found.add(directory)
    return frozenset(found)


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise OptionError(
            f"the list of changed paths {_describe(file)} cannot be read: {error.strerror}; give "
            f"a file with one path a line, or {STDIN} for the standard input"
        ) from error


def _describe(file: str) -> str:
    return "the standard input" if file == STDIN else file


def _relate(text: str, tops: Collection[str]) -> Iterator[str]:
    """Yield what a path of the list may mean, relative to the root; nothing for one outside."""
    if not Path(text).is_absolute():
        relative = os.path.normpath(text)
        if Path(relative).parts[:1] != (os.pardir,):
            yield _to_posix("" if relative == os.curdir else relative)
    full = os.path.abspath(text)  # noqa: PTH100  what is gone has no links to resolve
    for top in tops:
        if full == top:
            yield ""
        elif full.startswith(top.rstrip(os.sep) + os.sep):
            yield _to_posix(full[len(top.rstrip(os.sep)) + 1 :])


def _to_posix(path: str) -> str:
    return path if os.sep == "/" else path.replace(os.sep, "/")


def _is_directory(path: str) -> bool:
    """Whether there is a directory, and not a link to one: what that leads to may be another."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
