"""The archive to write: a synthetic one, or one like an archive whose tables are there."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import count, islice
from pathlib import PurePosixPath

import polars as pl

from polars_alf.bench.operations import CHUNK, PAGE_BYTES
from polars_alf.errors import BenchError
from polars_alf.query.columns import full_path
from polars_alf.query.scan import scan_datasets, scan_sessions

ARCHIVE, SCRATCH, TABLES = "archive", "scratch", "tables"
"""Folders of a run: files to read, files to make and remove, tables of an index."""

SYNTHETIC_MEAN_BYTES = 1_000_000
"""Mean size of a file to predict times for, where no archive tells: digests depend on it."""

_LARGE_BYTES = 16 << 20
"""Size of large files, and of files like those of an archive at most: more would be read alike."""

_LARGE_BYTES_PER_FILE = 16 << 10
"""Reading all large files then takes about as long as reading all small ones."""

_MIN_LARGE_TOTAL, _MAX_LARGE_TOTAL = 16 << 20, 1 << 30

_MIN_LARGE_FILES = 4

_MAX_LIKE_TOTAL = 4 << 30
"""Bytes like those of an archive after which no more sessions are added."""

_SESSIONS_PER_SUBJECT = 20

_OTHER_INODES = 1000
"""Tables, and the folders of scratch files."""

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
    """An archive to write."""

    small: list[File]  # of which calls count; in the order of their sessions
    large: list[File]  # of which bytes count
    part: str  # folder of a subject with few files: a small archive by itself
    mean_bytes: float  # mean size of a file of the archive that is meant

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
    def file_paths(self) -> frozenset[str]:
        """All files relative to the archive."""
        return frozenset(file.path for file in self.files)

    @cached_property
    def paths(self) -> frozenset[str]:
        """All files and folders relative to the archive."""
        return self.file_paths.union(self.folders)

    def count_bytes(self, block: int) -> int:
        """Return the most bytes that a run needs on a file system with blocks of `block` bytes."""
        written = sum(-(-file.size // block) for file in self.files)
        scratch = len(self.files) * -(-PAGE_BYTES // block)
        tables = len(self.files) // 8
        return (written + scratch + len(self.folders) + tables) * block

    def count_inodes(self) -> int:
        """Return the most files and folders that exist at once, scratch files included."""
        return 2 * len(self.files) + len(self.folders) + _OTHER_INODES

    def has(self, path: str) -> bool:
        """Whether the run makes a path, relative to the folder of the run."""
        first, _, rest = path.partition("/")
        if first == ARCHIVE:
            return not rest or rest in self.paths
        if first == SCRATCH:
            return not rest or bool(_SCRATCH_PATH.fullmatch(path))
        return first == TABLES

    def has_file(self, path: str) -> bool:
        """Whether the run makes a file of a path relative to its folder, tables excepted."""
        first, _, rest = path.partition("/")
        if first == ARCHIVE:
            return rest in self.file_paths
        match = _SCRATCH_PATH.fullmatch(path)
        return match is not None and match[1] is not None


def plan_synthetic(n_files: int) -> Plan:
    """Plan `n_files` small files, 72 to a session, and some large ones."""
    paths = (f"{session}/{path}" for session in _iterate_sessions() for path in _SESSION)
    small = [File(path, PAGE_BYTES) for path in islice(paths, n_files)]
    sessions = list(islice(_iterate_sessions(), -(-n_files // len(_SESSION))))
    total = min(max(n_files * _LARGE_BYTES_PER_FILE, _MIN_LARGE_TOTAL), _MAX_LARGE_TOTAL)
    size = min(_LARGE_BYTES, total // _MIN_LARGE_FILES)
    large = [
        File(f"{sessions[i % len(sessions)]}/{_LARGE_FILE.format(i // len(sessions))}", size)
        for i in range(total // size)
    ]
    return Plan(small, large, sessions[0].rsplit("/", 2)[0], SYNTHETIC_MEAN_BYTES)


def plan_like(folder: str | os.PathLike[str], n_files: int) -> Plan:
    """Plan files with the paths and sizes of datasets in the tables of a folder.

    Whole subjects are taken, by chance but always the same, session by session until there are
    `n_files` files, or 4 GiB of them. Files are not larger than 16 MiB. Raises BenchError where the
    tables have no datasets, and the errors of `scan_sessions`.
    """
    parts = ["lab", "subject", "date", "number"]
    sessions = scan_sessions(folder).select("id", *parts).unique(parts, keep="first").collect()
    order = {
        subject: hashlib.md5(subject.encode(), usedforsecurity=False).digest()
        for subject in sessions["subject"].drop_nulls().unique()
    }
    subject = pl.col("subject").replace_strict(order, default=None, return_dtype=pl.Binary)
    sessions = sessions.sort(subject, *parts).with_row_index()
    datasets = scan_datasets(folder)
    counts = datasets.group_by("eid").agg(pl.len()).collect()
    first = sessions.join(counts, left_on="id", right_on="eid", maintain_order="left").filter(
        pl.col("len").cum_sum().shift(1, fill_value=0) < n_files
    )
    chosen = (
        datasets.select("eid", "rel_path", size=pl.col("file_size").fill_null(0).clip(0))
        .join(first.lazy().drop("len"), left_on="eid", right_on="id")
        # What could lead out of the folder of a run has no path.
        .with_columns(path=full_path(""), cut=pl.col("size").clip(upper_bound=_LARGE_BYTES))
        .drop_nulls("path")
        .unique("path", keep="first")
        .sort("index", "path")
        .with_columns(n_before=pl.col("cut").cum_sum() - pl.col("cut"))
        # By whole sessions: a part of one would be no archive.
        .filter(pl.col("n_before").min().over("index") < _MAX_LIKE_TOTAL)
        .head(n_files)
        .with_columns(
            subject=pl.col("path")
            .str.head(-(pl.col("rel_path").str.len_chars() + 1).cast(pl.Int64))
            .str.replace("/[^/]+/[^/]+$", "")
        )
        .collect()
    )
    if chosen.is_empty():
        raise BenchError(
            f"the tables in {folder} have no datasets; give those of an archive that has some, or "
            "leave out --like"
        )
    files = [File(*row) for row in chosen.select("path", "cut").iter_rows()]
    by_subject = Counter(chosen["subject"])
    return Plan(
        small=[file for file in files if file.size < CHUNK],
        large=[file for file in files if file.size >= CHUNK],
        part=min(by_subject, key=by_subject.__getitem__),
        mean_bytes=float(chosen["size"].sum()) / len(chosen),
    )


def _iterate_sessions() -> Iterator[str]:
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(_SESSIONS_PER_SUBJECT)]
    for subject in count():
        for day in days:
            yield f"benchlab/Subjects/BENCH{subject:05}/{day}/001"
