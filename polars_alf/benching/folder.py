"""The folder of a run: made with room in mind, and removed with care."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polars_alf.benching.plan import ARCHIVE, SCRATCH, TABLES, Plan
from polars_alf.errors import BenchError, StorageFullError
from polars_alf.paths import BENCH_FOLDER, BENCH_PREFIX

_SPARE = 1.05
_PATIENCE_SECONDS = 10.0
"""How long to wait for workers that were stopped to make no more files."""

Warn = Callable[[str], None]


def check_room(path: Path, plan: Plan) -> None:
    """Check that a file system has room for an archive.

    Raises
    ------
    StorageFullError
        It lacks space or inodes.
    """
    if not hasattr(os, "statvfs"):
        free, block, inodes = shutil.disk_usage(path).free, 4096, None
    else:
        status = os.statvfs(path)
        free, block = status.f_bavail * status.f_frsize, status.f_frsize
        # Some file systems make inodes as they go, and have none to count.
        inodes = status.f_favail if status.f_files else None
    needed = int(plan.count_bytes(block) * _SPARE)
    cure = "give fewer with --files, or make room"
    if free < needed:
        raise StorageFullError(
            f"{path} has {free / 1e6:,.0f} MB free, and {plan.n_files:,} files need "
            f"{needed / 1e6:,.0f} MB; {cure}"
        )
    if inodes is not None and inodes < plan.count_inodes():
        raise StorageFullError(
            f"{path} has {inodes:,} inodes free, and {plan.n_files:,} files need "
            f"{plan.count_inodes():,}; {cure}"
        )


def find_others(path: Path) -> list[Path]:
    """Return the folders in a folder that other runs have made: under way, or killed."""
    try:
        return sorted(entry for entry in path.iterdir() if BENCH_FOLDER.fullmatch(entry.name))
    except OSError:  # what can be measured without being listed has nothing to tell
        return []


@contextlib.contextmanager
def open_folder(path: Path, plan: Plan, *, n_threads: int, warn: Warn) -> Iterator[Path]:
    """Yield a new folder in another; at the end, remove what the run made in it.

    Parameters
    ----------
    path
        Where to make it.
    plan
        What the run makes: nothing else is removed.
    n_threads
        How many calls to have under way while removing.
    warn
        Told of what is left, as the run did not make it.

    Raises
    ------
    BenchError
        It cannot be made, or not be removed.
    """
    folder = path / f"{BENCH_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        try:
            folder.mkdir(mode=0o700)
            for name in (ARCHIVE, SCRATCH, TABLES):
                (folder / name).mkdir()
        except OSError as error:
            raise BenchError(
                error.errno,
                f"{path} cannot be written to: {error.strerror}; give another folder, or measure "
                "the archive that is there with --read-only",
            ) from error
        yield folder
    finally:
        with _uninterrupted():
            _remove(folder, plan, n_threads, warn)


def make_folders(folders: Sequence[Path], n_threads: int) -> None:
    """Make folders, those above before those below."""
    by_depth: dict[int, list[Path]] = defaultdict(list)
    for folder in folders:
        by_depth[len(folder.parts)].append(folder)
    with ThreadPoolExecutor(n_threads) as pool:
        for _, level in sorted(by_depth.items()):
            for _ in pool.map(Path.mkdir, level):
                pass


def _remove(folder: Path, plan: Plan, n_threads: int, warn: Warn) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    is_filled = True
    while is_filled:
        try:
            with ThreadPoolExecutor(n_threads) as pool:
                left, is_filled = _remove_once(folder, plan, pool)
        except OSError as error:
            raise BenchError(
                error.errno,
                f"{folder} cannot be removed: {error.strerror}; remove it yourself",
            ) from error
        if left:
            warn(f"{folder} is left, with what this run did not make: {', '.join(left[:3])}")
            return
        if is_filled and time.monotonic() > until:
            raise BenchError(f"{folder} fills while it is removed; remove it yourself")


def _remove_once(folder: Path, plan: Plan, pool: ThreadPoolExecutor) -> tuple[list[str], bool]:
    """Remove what the run made, and its folder.

    Returns
    -------
    left : list of str
        What it did not make, relative to its folder.
    is_filled : bool
        Whether a folder could not be removed.
    """
    levels = [[""]]
    left: list[str] = []
    while levels[-1]:
        found = pool.map(lambda path: _empty(folder, plan, path), levels[-1])
        below = []
        for foreign, folders in found:
            left += foreign
            below += folders
        levels.append(below)
    are_gone = [
        [*pool.map(lambda path: _remove_folder(folder / path), level)] for level in reversed(levels)
    ]
    return left, not all(map(all, are_gone))


def _empty(folder: Path, plan: Plan, path: str) -> tuple[list[str], list[str]]:
    """Remove a folder's files; return what the run did not make, and the folders to go down to."""
    files, folders = _scan(folder / path)
    prefix = f"{path}/" if path else ""
    foreign = [f"{prefix}{name}" for name in (*files, *folders) if not plan.has(f"{prefix}{name}")]
    for name in files:
        if f"{prefix}{name}" not in foreign:
            with contextlib.suppress(FileNotFoundError):
                (folder / path / name).unlink()
    return foreign, [f"{prefix}{name}" for name in folders if f"{prefix}{name}" not in foreign]


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's files, links among them, and of its folders."""
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
    except FileNotFoundError:
        pass
    return files, folders


def _remove_folder(folder: Path) -> bool:
    """Remove a folder; tell whether it was empty."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore the signals that interrupt: what was made must not be left half removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names: Iterable[str] = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
