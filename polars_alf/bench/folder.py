"""The folder of a run: made with room in mind, and removed with care."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

from polars_alf.alf.paths import BENCH_FOLDER, BENCH_PREFIX
from polars_alf.errors import BenchError, StorageFullError

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


ARCHIVE, SCRATCH, TABLES = "archive", "scratch", "tables"
"""Folders of a run: what is read, what is made and removed by the way, what an index writes."""

SMALL_BYTES = 4096
"""Size of a small file: one page, and one block of most file systems."""

LARGE_BYTES = 16 << 20

LARGE_PER_FILE = 16 << 10
"""Bytes of large files for each file of the archive, so that both kinds take a similar time."""

LEAST_LARGE_BYTES, MOST_LARGE_BYTES = 16 << 20, 1 << 30

LEAST_LARGE_FILES = 4

SESSIONS_PER_SUBJECT = 20

FOLDERS_PER_SESSION = 14
"""At most, with those above it."""

INODES_BESIDE = 1000
"""Room for large files, tables, and folders to make files in."""

_TIMES = ("times", "amps", "depths", "clusters", "templates")

_PROBE = (
    *(f"spikes.{attribute}.npy" for attribute in _TIMES),
    *(f"clusters.{attribute}.npy" for attribute in ("channels", "depths", "amps", "peakToTrough")),
    "clusters.metrics.csv", "clusters.uuids.csv", "channels.localCoordinates.npy",
    "channels.rawInd.npy", "templates.waveforms.npy", "_phy_spikes_subset.waveforms.npy",
)  # fmt: skip

_FILES = {
    "alf": (
        *(f"_ibl_trials.{attribute}.npy" for attribute in (
            "intervals", "choice", "contrastLeft", "contrastRight", "feedbackType",
            "feedback_times", "goCue_times", "stimOn_times", "stimOff_times", "rewardVolume")),
        *(f"_ibl_wheel.{attribute}.npy" for attribute in ("position", "timestamps")),
        *(f"_ibl_{side}Camera.times.npy" for side in ("left", "right", "body")),
        "licks.times.npy",
    ),
    "alf/probe00/pykilosort": _PROBE,
    "alf/probe01/pykilosort": _PROBE,
    "alf/#2024-05-06#": ("_ibl_trials.goCue_times.npy", "_ibl_wheelMoves.intervals.npy"),
    "raw_behavior_data": (
        "_iblrig_taskSettings.raw.json", "_iblrig_taskData.raw.jsonable",
        "_iblrig_encoderPositions.raw.ssv", "_iblrig_encoderEvents.raw.ssv",
        "_iblrig_ambientSensorData.raw.jsonable", "_iblrig_micData.raw.flac",
    ),
    "raw_video_data": (
        *(f"_iblrig_{side}Camera.{what}" for side in ("left", "right", "body")
          for what in ("raw.mp4", "frameData.bin")),
    ),
    "raw_ephys_data": (
        *(f"_spikeglx_sync.{attribute}.npy" for attribute in ("times", "polarities", "channels")),
        "_spikeglx_ephysData_g0_t0.nidq.cbin", "_spikeglx_ephysData_g0_t0.nidq.meta",
    ),
    "raw_ephys_data/probe00": (
        *(f"_spikeglx_ephysData_g0_t0.imec0.{what}" for what in (
            "ap.ch", "ap.meta", "lf.cbin", "lf.ch", "lf.meta", "sync.npy", "timestamps.npy")),
    ),
}  # fmt: skip

_SESSION = tuple(f"{folder}/{name}" for folder, names in _FILES.items() for name in names)

_LARGE = "raw_ephys_data/probe00/_spikeglx_ephysData_g{}_t0.imec0.ap.cbin"

_SCRATCH_NAME = re.compile(rf"{SCRATCH}/w\d+(/[fr]\d+\.npy)?")


@dataclass(frozen=True, slots=True)
class File:
    """A file to be: its path relative to the archive, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Plan:
    """A synthetic archive of about so many small files, all datasets, 72 to a session.

    Parameters
    ----------
    n_files
        Number of small files.
    """

    n_files: int

    @cached_property
    def small(self) -> list[File]:
        """The small files, in the order of their sessions."""
        paths = (f"{session}/{path}" for session in _iterate_sessions() for path in _SESSION)
        return [File(path, SMALL_BYTES) for path in islice(paths, self.n_files)]

    @cached_property
    def large(self) -> list[File]:
        """The large files: raw recordings in the first sessions, some in each."""
        total, size = self._large_bytes, min(LARGE_BYTES, self._large_bytes // LEAST_LARGE_FILES)
        sessions = list(islice(_iterate_sessions(), self.n_sessions))
        return [
            File(f"{sessions[i % len(sessions)]}/{_LARGE.format(i // len(sessions))}", size)
            for i in range(total // size)
        ]

    @property
    def files(self) -> list[File]:
        """All files."""
        return [*self.small, *self.large]

    @cached_property
    def folders(self) -> list[str]:
        """All folders relative to the archive, each after the one that it lies in."""
        parents = {file.path.rpartition("/")[0] for file in self.files}
        above = {str(parent) for path in parents for parent in PurePosixPath(path).parents}
        return sorted((parents | above) - {"."})

    @cached_property
    def paths(self) -> frozenset[str]:
        """All files and folders relative to the archive."""
        return frozenset([*(file.path for file in self.files), *self.folders])

    @property
    def subject(self) -> str:
        """The first subject: a small archive by itself."""
        return next(_iterate_sessions()).rsplit("/", 2)[0]

    @property
    def n_sessions(self) -> int:
        """Number of sessions."""
        return -(-self.n_files // len(_SESSION))

    @property
    def _large_bytes(self) -> int:
        return min(max(self.n_files * LARGE_PER_FILE, LEAST_LARGE_BYTES), MOST_LARGE_BYTES)

    def count_bytes(self, block: int) -> int:
        """Return the most bytes that all takes on a file system with blocks of so many bytes."""
        small = self.n_files * -(-SMALL_BYTES // block) * block
        # What is made by the way is empty, but its folders and the tables are not.
        others = self.n_sessions * FOLDERS_PER_SESSION + self.n_files // 8
        return small + self._large_bytes + others * block

    def count_inodes(self) -> int:
        """Return the most files and folders that there are at once, those made by the way too."""
        return 2 * self.n_files + self.n_sessions * FOLDERS_PER_SESSION + INODES_BESIDE

    def has(self, path: str) -> bool:
        """Tell whether a path, relative to the folder of the run, is one that the run makes."""
        first, _, rest = path.partition("/")
        if first == ARCHIVE:
            return not rest or rest in self.paths
        if first == SCRATCH:
            return not rest or bool(_SCRATCH_NAME.fullmatch(path))
        return first == TABLES


def _iterate_sessions() -> Iterator[str]:
    subject = 0
    while True:
        for day in range(SESSIONS_PER_SUBJECT):
            when = date(2024, 1, 1) + timedelta(days=day)
            yield f"benchlab/Subjects/BENCH{subject:05}/{when}/001"
        subject += 1
