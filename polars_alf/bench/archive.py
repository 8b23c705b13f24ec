"""The archive to measure: a synthetic one, planned and written, or one that is there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import count, islice
from pathlib import Path, PurePosixPath

import pyarrow as pa

from polars_alf.alf.root import open_root
from polars_alf.bench.operations import CHUNK, UNLIMITED, Level, run_operation, share_out
from polars_alf.errors import BenchError
from polars_alf.parallel.progress import Counter
from polars_alf.walk.entries import join_batches
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

ARCHIVE, SCRATCH, TABLES = "archive", "scratch", "tables"
"""Folders of a run: files to read, files to make and remove, tables of an index."""

SYNTHETIC_MEAN_BYTES = 1_000_000
"""Mean size of a file to predict times for, where no archive tells: digests depend on it."""

_SMALL_BYTES = 4096
"""One page, and one block of most file systems."""

_LARGE_BYTES = 16 << 20

_LARGE_BYTES_PER_FILE = 16 << 10
"""Reading all large files then takes about as long as reading all small ones."""

_MIN_LARGE_TOTAL, _MAX_LARGE_TOTAL = 16 << 20, 1 << 30

_MIN_LARGE_FILES = 4

_MAX_LARGE_FILES = 1000
"""Large files of an existing archive: far more than there is time to read."""

_SESSIONS_PER_SUBJECT = 20

_MAX_FOLDERS_PER_SESSION = 14
"""Parents of the session included."""

_OTHER_INODES = 1000
"""Large files, tables, and the folders of scratch files."""

_PROBE_FILES = (
    *(f"spikes.{attribute}.npy" for attribute in (
        "times", "amps", "depths", "clusters", "templates")),
    *(f"clusters.{attribute}.npy" for attribute in ("channels", "depths", "amps", "peakToTrough")),
    "clusters.metrics.csv", "clusters.uuids.csv", "channels.localCoordinates.npy",
    "channels.rawInd.npy", "templates.waveforms.npy", "_phy_spikes_subset.waveforms.npy",
)  # fmt: skip

_FILES_BY_FOLDER = {
    "alf": (
        *(f"_ibl_trials.{attribute}.npy" for attribute in (
            "intervals", "choice", "contrastLeft", "contrastRight", "feedbackType",
            "feedback_times", "goCue_times", "stimOn_times", "stimOff_times", "rewardVolume")),
        *(f"_ibl_wheel.{attribute}.npy" for attribute in ("position", "timestamps")),
        *(f"_ibl_{side}Camera.times.npy" for side in ("left", "right", "body")),
        "licks.times.npy",
    ),
    "alf/probe00/pykilosort": _PROBE_FILES,
    "alf/probe01/pykilosort": _PROBE_FILES,
    "alf/#2024-05-06#": ("_ibl_trials.goCue_times.npy", "_ibl_wheelMoves.intervals.npy"),
    "raw_behavior_data": (
        "_iblrig_taskSettings.raw.json", "_iblrig_taskData.raw.jsonable",
        "_iblrig_encoderPositions.raw.ssv", "_iblrig_encoderEvents.raw.ssv",
        "_iblrig_ambientSensorData.raw.jsonable", "_iblrig_micData.raw.flac",
    ),
    "raw_video_data": (
        *(f"_iblrig_{side}Camera.{rest}" for side in ("left", "right", "body")
          for rest in ("raw.mp4", "frameData.bin")),
    ),
    "raw_ephys_data": (
        *(f"_spikeglx_sync.{attribute}.npy" for attribute in ("times", "polarities", "channels")),
        "_spikeglx_ephysData_g0_t0.nidq.cbin", "_spikeglx_ephysData_g0_t0.nidq.meta",
    ),
    "raw_ephys_data/probe00": (
        *(f"_spikeglx_ephysData_g0_t0.imec0.{rest}" for rest in (
            "ap.ch", "ap.meta", "lf.cbin", "lf.ch", "lf.meta", "sync.npy", "timestamps.npy")),
    ),
}  # fmt: skip

_SESSION = tuple(f"{folder}/{name}" for folder, names in _FILES_BY_FOLDER.items() for name in names)

_LARGE_FILE = "raw_ephys_data/probe00/_spikeglx_ephysData_g{}_t0.imec0.ap.cbin"

_SCRATCH_PATH = re.compile(rf"{SCRATCH}/w\d+(/[fr]\d+\.npy)?")


@dataclass(frozen=True, slots=True)
class File:
    """A planned file: path relative to the archive, and size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Plan:
    """A synthetic archive of `n_files` small files, 72 to a session, and some large ones."""

    n_files: int

    @cached_property
    def small(self) -> list[File]:
        """The small files, in the order of their sessions."""
        paths = (f"{session}/{path}" for session in _iterate_sessions() for path in _SESSION)
        return [File(path, _SMALL_BYTES) for path in islice(paths, self.n_files)]

    @cached_property
    def large(self) -> list[File]:
        """The large files: raw recordings, spread over the sessions."""
        total = self._large_total
        size = min(_LARGE_BYTES, total // _MIN_LARGE_FILES)
        sessions = list(islice(_iterate_sessions(), self.n_sessions))
        return [
            File(f"{sessions[i % len(sessions)]}/{_LARGE_FILE.format(i // len(sessions))}", size)
            for i in range(total // size)
        ]

    @property
    def files(self) -> list[File]:
        """All files."""
        return [*self.small, *self.large]

    @cached_property
    def folders(self) -> list[str]:
        """All folders relative to the archive, parents first."""
        folders = {file.path.rpartition("/")[0] for file in self.files}
        parents = {str(parent) for path in folders for parent in PurePosixPath(path).parents}
        return sorted((folders | parents) - {"."})

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
    def _large_total(self) -> int:
        return min(max(self.n_files * _LARGE_BYTES_PER_FILE, _MIN_LARGE_TOTAL), _MAX_LARGE_TOTAL)

    def count_bytes(self, block: int) -> int:
        """Return the most bytes that a run needs on a file system with blocks of `block` bytes."""
        small = self.n_files * -(-_SMALL_BYTES // block) * block
        # Scratch files are empty, but their folders and the tables are not.
        others = self.n_sessions * _MAX_FOLDERS_PER_SESSION + self.n_files // 8
        return small + self._large_total + others * block

    def count_inodes(self) -> int:
        """Return the most files and folders that exist at once, scratch files included."""
        return 2 * self.n_files + self.n_sessions * _MAX_FOLDERS_PER_SESSION + _OTHER_INODES

    def has(self, path: str) -> bool:
        """Whether the run makes a path, relative to the folder of the run."""
        first, _, rest = path.partition("/")
        if first == ARCHIVE:
            return not rest or rest in self.paths
        if first == SCRATCH:
            return not rest or bool(_SCRATCH_PATH.fullmatch(path))
        return first == TABLES


def _iterate_sessions() -> Iterator[str]:
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(_SESSIONS_PER_SUBJECT)]
    for subject in count():
        for day in days:
            yield f"benchlab/Subjects/BENCH{subject:05}/{day}/001"


@dataclass(frozen=True, slots=True)
class Target:
    """Paths to measure with."""

    root: Path
    folders: Sequence[str]  # to list, relative to the root
    files: Sequence[str]  # to stat
    small: Sequence[str]  # to read whole
    large: Sequence[str]  # to read in pieces
    whole: tuple[Path, int]  # archive to index, and its number of files
    # A small part of it, if there is one, shows the time that does not grow with the files.
    part: tuple[Path, int] | None
    mean_bytes: float  # mean size of a file
    scratch: Path | None  # folder to make files in; None where nothing may be written
    tables: Path  # folder for the tables of indexes


def write_archive(folder: Path, plan: Plan, pool: Executor, level: Level) -> Target:
    """Write the planned archive into the folder of a run; raise BenchError where that fails."""
    root = folder / ARCHIVE
    try:
        _make_folders([root / path for path in plan.folders], level.concurrency)
    except OSError as error:
        raise BenchError(
            error.errno,
            f"folders cannot be made in {root}: {error.strerror}; see to its free space and its "
            "permissions",
        ) from error
    files = [(f"{root}/{file.path}", file.size) for file in plan.files]
    run_operation(None, share_out(files, level), pool=pool, root=root, seconds=UNLIMITED)
    n_part = sum(file.path.startswith(f"{plan.subject}/") for file in plan.files)
    small = [f"{root}/{file.path}" for file in plan.small]
    return Target(
        root=root,
        folders=plan.folders,
        files=small,
        small=small,
        large=[f"{root}/{file.path}" for file in plan.large],
        whole=(root, len(files)),
        part=(root / plan.subject, n_part) if n_part < len(files) else None,
        mean_bytes=SYNTHETIC_MEAN_BYTES,
        scratch=folder / SCRATCH,
        tables=folder / TABLES,
    )


def _make_folders(folders: Sequence[Path], n_threads: int) -> None:
    by_depth: dict[int, list[Path]] = defaultdict(list)
    for folder in folders:
        by_depth[len(folder.parts)].append(folder)
    with ThreadPoolExecutor(n_threads) as pool:
        for _, siblings in sorted(by_depth.items()):
            for _ in pool.map(Path.mkdir, siblings):
                pass


def find_archive(root: Path, n_files: int, tables: Path) -> Target:
    """Walk an existing archive, subject by subject, until there are `n_files` files.

    Where it has more, its largest subject among those walked is indexed instead of the whole.
    BenchError is raised where there are no datasets.
    """
    subjects: dict[str, list[str]] = defaultdict(list)
    for folder in Walker(open_root(root), WalkOptions()).survey():
        subjects[folder.rpartition("/")[0]].append(folder)
    counts: dict[str, int] = {}
    folders: list[str] = []
    files: list[tuple[str, int]] = []
    for subject, folders in sorted(subjects.items()):
        counter = Counter()
        walker = Walker(open_root(root), WalkOptions(), counter)
        entries = join_batches(walker.walk(folders))
        rows = entries.select("directory", "name", "file_size").iter_rows()
        files += [(f"{root}/{directory}/{name}", size) for directory, name, size in rows]
        listed: pa.ChunkedArray = walker.listings().column("directory")
        folders += listed.to_pylist()
        counts[subject] = counter.total()[0]
        if sum(counts.values()) >= n_files:
            break
    if not files:
        raise BenchError(
            f"{root} has no datasets to read; give the folder of an archive, or leave out "
            "--read-only to have one written"
        )
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    whole = (root / largest, counts[largest])
    if len(counts) == len(subjects):
        whole = (root, sum(counts.values()))
    return Target(
        root=root,
        folders=folders,
        files=[path for path, _ in files],
        small=[path for path, size in files if size < CHUNK],
        large=[path for path, size in files if size >= CHUNK][:_MAX_LARGE_FILES],
        whole=whole,
        part=(root / smallest, counts[smallest]) if 2 * counts[smallest] < whole[1] else None,
        mean_bytes=sum(size for _, size in files) / len(files),
        scratch=None,
        tables=tables,
    )
