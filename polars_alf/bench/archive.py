"""The archive to measure: one that is written by plan, or one that is there."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from polars_alf.alf.root import open_root
from polars_alf.bench.crew import Crew, run_operation
from polars_alf.bench.operations import CHUNK, UNLIMITED, Level, share_out
from polars_alf.bench.plan import ARCHIVE, SCRATCH, TABLES, Plan
from polars_alf.errors import BenchError
from polars_alf.parallel.progress import Counter
from polars_alf.parallel.threads import open_threads
from polars_alf.walk.entries import join_batches
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

_MAX_LARGE_FILES = 1000
"""Large files of an existing archive: far more than there is time to read."""


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


def write_archive(folder: Path, plan: Plan, crew: Crew, level: Level) -> Target:
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
    run_operation(None, share_out(files, level), crew=crew, root=root, seconds=UNLIMITED)
    n_part = sum(file.path.startswith(f"{plan.part}/") for file in plan.files)
    small = [f"{root}/{file.path}" for file in plan.small]
    return Target(
        root=root,
        folders=plan.folders,
        files=[path for path, _ in files],
        small=small,
        large=[f"{root}/{file.path}" for file in plan.large],
        whole=(root, len(files)),
        part=(root / plan.part, n_part) if n_part < len(files) else None,
        mean_bytes=plan.mean_bytes,
        scratch=folder / SCRATCH,
        tables=folder / TABLES,
    )


def _make_folders(folders: Sequence[Path], n_threads: int) -> None:
    by_depth: dict[int, list[Path]] = defaultdict(list)
    for folder in folders:
        by_depth[len(folder.parts)].append(folder)
    with open_threads(n_threads, threading.Event()) as pool:
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
