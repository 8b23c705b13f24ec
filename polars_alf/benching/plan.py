"""The synthetic archive: what lies where, and what room it takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import islice
from pathlib import PurePosixPath

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
