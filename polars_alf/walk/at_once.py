"""Directories that are listed many at a time, those in sessions with what lies below them.

The native core goes down by itself, but knows neither patterns nor links. Where there are some, it
lists the directories of one level, and those of the next are chosen from what it found.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from polars_alf.alf.paths import join
from polars_alf.walk.columns import Columns, OddEntry, empty_columns
from polars_alf.walk.lister import Lister

_FEW = 8
"""Directories of the first call, before it is known how large they are."""

_MANY_NAMES = 16_384
"""Names of a call from which the next asks for fewer directories."""


class _Found:
    """A directory: where it is among the columns of its level, None before it is listed."""

    __slots__ = ("below", "columns", "origin", "path", "position")

    def __init__(self, path: str, origin: int) -> None:
        self.path = path
        self.origin = origin
        self.below: list[_Found] = []
        self.columns: Columns | None = None
        self.position = 0


def read_at_once(
    lister: Lister,
    taken: Sequence[tuple[str, str | None]],
    *,
    most_files: int,
    most_examined: int,
    check: Callable[[], None],
) -> Columns:
    """List directories, in sessions with what lies below them.

    Parameters
    ----------
    lister
        Lists directories.
    taken
        Paths relative to the root, and the session of each, or None for all.
    most_files
        As for `native.twin.list_directories`.
    most_examined
        How many files are examined at a call.
    check
        Called between two calls for the files of one directory.

    Returns
    -------
    Columns
        In the order of the native core, but that `most_files` ends a level, with what was not begun
        as what is left.
    """
    directories = [directory for directory, _ in taken]
    sessions = [session for _, session in taken if session is not None]
    if sessions and not lister.takes_all:
        return _list_levels(lister, directories, sessions, most_files, most_examined, check)
    read = partial(lister.read, in_session=True, recurse=True)
    if not sessions:
        read = partial(lister.read_selected, in_session=False)
    columns = read(directories, most_files=most_files, most_examined=most_examined)
    _examine_rest(lister, columns, most_examined, check)
    return columns


def _examine_rest(
    lister: Lister, columns: Columns, most_examined: int, check: Callable[[], None]
) -> None:
    """Examine the files that the last directory has beyond those of one call."""
    codes = columns.unexamined
    for i in range(0, len(codes), most_examined):
        lot = codes[i : i + most_examined]
        names = [columns.names[code] for code in lot]
        columns.add_examined(lot, lister.examine_names(columns.paths[-1], names))
        check()


def _list_levels(
    lister: Lister,
    directories: Sequence[str],
    sessions: Sequence[str],
    most_files: int,
    most_examined: int,
    check: Callable[[], None],
) -> Columns:
    """List directories with what lies below them, level by level."""
    roots = [_Found(path, origin) for origin, path in enumerate(directories)]
    level = [*roots]
    n_files = 0
    n_at_once = _FEW
    while level and n_files < most_files:
        columns = lister.read_selected(
            [found.path for found in level[:n_at_once]],
            in_session=True,
            most_files=most_files - n_files,
            most_examined=most_examined,
        )
        _examine_rest(lister, columns, most_examined, check)
        n_files += len(columns.sizes)
        if len(columns.names) < _MANY_NAMES:
            n_at_once *= 2
        else:  # of other files, for the most part, which are counted by now
            columns.forget_names()
            n_at_once = max(n_at_once // 4, 1)
        listed = level[: len(columns.paths)]
        lister.enter_odd(columns, [sessions[found.origin] for found in listed])
        del level[: len(listed)]
        for position, found in enumerate(listed):
            found.columns, found.position = columns, position
            names = columns.list_below(position)
            found.below = [_Found(join(found.path, name), found.origin) for name in names]
            level += found.below
    return _gather(roots)


def _gather(roots: Sequence[_Found]) -> Columns:
    """Return the columns of all levels as one, in the order of the native core."""
    whole = empty_columns()
    names: dict[str, int] = {}
    levels: dict[int, tuple[list[int], array[int], defaultdict[int, list[OddEntry]]]] = {}
    stack = [*reversed(roots)]
    while stack:
        found = stack.pop()
        columns, i = found.columns, found.position
        if columns is None:
            whole.left.append(found.path)
            whole.left_origins.append(found.origin)
            continue
        stack += found.below
        if id(columns) not in levels:
            codes = [names.setdefault(name, len(names)) for name in columns.names]
            odd = defaultdict(list)
            for row in columns.odd:
                odd[row.directory].append(row)
            levels[id(columns)] = codes, array("i", map(codes.__getitem__, columns.codes)), odd
        codes, file_codes, odd = levels[id(columns)]
        if odd.get(i):
            position = len(whole.paths)
            whole.odd += [r._replace(directory=position, code=codes[r.code]) for r in odd[i]]
        if i in columns.linked:
            whole.linked[len(whole.paths)] = columns.linked[i]
        if i in columns.reported:
            whole.reported[len(whole.paths)] = columns.reported[i]
        whole.origins.append(found.origin)
        whole.append_directory(columns, i, file_codes)
    whole.names = [*names]
    return whole
