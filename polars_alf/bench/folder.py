"""The folder of a run: room for it, and its removal, which leaves the files of others."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

from polars_alf.alf.paths import BENCH_FOLDER, BENCH_PREFIX, join
from polars_alf.bench.plan import ARCHIVE, SCRATCH, TABLES, Plan
from polars_alf.errors import BenchError, StorageFullError
from polars_alf.parallel.threads import open_threads

_SPARE = 1.05

_REMOVAL_SECONDS = 10.0
"""Longest wait for interrupted workers to make no more files."""


def check_room(path: Path, n_files: int, count_bytes: Callable[[int], int], n_inodes: int) -> None:
    """Raise StorageFullError if a file system lacks the space or the inodes for a run.

    `count_bytes` is called with the size of the file system's blocks.
    """
    if not hasattr(os, "statvfs"):
        free, block, inodes = shutil.disk_usage(path).free, 4096, None
    else:
        status = os.statvfs(path)
        free, block = status.f_bavail * status.f_frsize, status.f_frsize
        # Some file systems make inodes on demand, and count none.
        inodes = status.f_favail if status.f_files else None
    needed = int(count_bytes(block) * _SPARE)
    cure = "give fewer with --files, or make room"
    if free < needed:
        raise StorageFullError(
            f"{path} has {free / 1e6:,.0f} MB free, and {n_files:,} files need "
            f"{needed / 1e6:,.0f} MB; {cure}"
        )
    if inodes is not None and inodes < n_inodes:
        raise StorageFullError(
            f"{path} has {inodes:,} inodes free, and {n_files:,} files need {n_inodes:,}; {cure}"
        )


def find_others(path: Path) -> list[Path]:
    """Return the folders of other runs in a folder, under way or killed."""
    try:
        return sorted(entry for entry in path.iterdir() if BENCH_FOLDER.fullmatch(entry.name))
    except OSError:  # a folder that can be measured need not be readable
        return []


@contextlib.contextmanager
def open_folder(
    path: Path, plan: Plan, *, n_threads: int, warn: Callable[[str], None]
) -> Iterator[Path]:
    """Yield a new folder for a run, and remove at the end what the plan has of it.

    `n_threads` remove at once; `warn` is called with a message if other files were found, which are
    left there. BenchError is raised where the folder cannot be made or removed.
    """
    folder = path / f"{BENCH_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        # Held for the removal, which opens each folder, should the run use up all others.
        spare = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        raise BenchError(error.errno, f"{path} cannot be measured: {error.strerror}") from error
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
        os.close(spare)
        with uninterrupted():
            _remove(folder, plan, n_threads, warn)


def _remove(folder: Path, plan: Plan, n_threads: int, warn: Callable[[str], None]) -> None:
    deadline = time.monotonic() + _REMOVAL_SECONDS
    is_gone = False
    while not is_gone:
        try:
            with open_threads(n_threads, threading.Event()) as pool:
                foreign, is_gone = _remove_once(folder, plan, pool)
        except OSError as error:
            if error.errno == errno.EMFILE and n_threads > 1:
                n_threads = 1
                continue
            raise BenchError(
                error.errno,
                f"{folder} cannot be removed: {error.strerror}; remove it yourself",
            ) from error
        if foreign:
            warn(f"{folder} is left, with what this run did not make: {', '.join(foreign[:3])}")
            return
        if not is_gone and time.monotonic() > deadline:
            raise BenchError(f"{folder} fills while it is removed; remove it yourself")


def _remove_once(folder: Path, plan: Plan, pool: Executor) -> tuple[list[str], bool]:
    """Remove all that is planned; return foreign paths, and whether every folder is gone."""
    levels = [[""]]
    foreign: list[str] = []
    while levels[-1]:
        below: list[str] = []
        for others, folders in pool.map(lambda path: _empty(folder, plan, path), levels[-1]):
            foreign += others
            below += folders
        levels.append(below)
    are_gone = [
        [*pool.map(lambda path: _remove_folder(folder / path), level)] for level in reversed(levels)
    ]
    return foreign, all(map(all, are_gone))


def _empty(folder: Path, plan: Plan, path: str) -> tuple[list[str], list[str]]:
    """Remove the planned files of a folder; return its foreign paths and its planned folders."""
    foreign: list[str] = []
    folders: list[str] = []
    for name, is_folder in _scan(folder / path):
        child = join(path, name)
        if not plan.has(child):
            foreign.append(child)
        elif is_folder:
            folders.append(child)
        else:
            with contextlib.suppress(FileNotFoundError):
                (folder / child).unlink()
    return foreign, folders


def _scan(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder, and whether each is a folder and no link to one."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except FileNotFoundError:
        return []


def _remove_folder(folder: Path) -> bool:
    """Remove a folder, and tell whether it is gone; one that is not empty stays."""
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
def uninterrupted() -> Iterator[None]:
    """Ignore interrupts: a removal that stops half-way would leave files behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
