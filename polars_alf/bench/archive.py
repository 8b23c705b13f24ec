"""The archive to measure: one that is written by plan, or one that is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow as pa

from polars_alf.alf.paths import join
from polars_alf.bench.crew import Crew, run_operation
from polars_alf.bench.operations import CHUNK, UNLIMITED, Level, share_out
from polars_alf.bench.place import Place
from polars_alf.bench.plan import ARCHIVE, SCRATCH, Plan
from polars_alf.errors import BenchError
from polars_alf.parallel.progress import Counter
from polars_alf.walk.entries import join_batches
from polars_alf.walk.sources import open_archive, open_walker

_MAX_LARGE_FILES = 1000
"""Large files of an existing archive: far more than there is time to read."""


@dataclass(frozen=True, slots=True)
class Target:
    """Files and folders to measure with, in the form that calls take."""

    place: Place  # of the archive
    lists: Sequence[str]  # items of LIST
    files: Sequence[str]  # to stat
    small: Sequence[str]  # to read whole
    large: Sequence[str]  # to read in pieces
    whole: tuple[PurePath, int]  # archive to index, and its number of files
    # A small part of it, if there is one, shows the time that does not grow with the files.
    part: tuple[PurePath, int] | None
    mean_bytes: float  # mean size of a file
    scratch: Place | None  # folder to make files in; None where nothing may be written
    tables: Path  # folder for the tables of indexes

    @property
    def files_per_list(self) -> float:
        """Mean number of files that a call of LIST lists."""
        return len(self.files) / len(self.lists)


def write_archive(run: Place, tables: Path, plan: Plan, crew: Crew, level: Level) -> Target:
    """Write the planned archive into the folder of a run; raise BenchError where that fails."""
    place = run / ARCHIVE
    place.make_folders(plan.folders, level.concurrency)
    files = [(place.locate(file.path), file.size) for file in plan.files]
    run_operation(None, share_out(files, level), crew=crew, place=place, seconds=UNLIMITED)
    n_part = sum(file.path.startswith(f"{plan.part}/") for file in plan.files)
    return Target(
        place=place,
        lists=place.plan_lists(plan.folders, plan.file_paths),
        files=[path for path, _ in files],
        small=[place.locate(file.path) for file in plan.small],
        large=[place.locate(file.path) for file in plan.large],
        whole=(place.path, len(files)),
        part=(place.path / plan.part, n_part) if n_part < len(files) else None,
        mean_bytes=plan.mean_bytes,
        scratch=run / SCRATCH,
        tables=tables,
    )


def find_archive(place: Place, tables: Path, n_files: int) -> Target:
    """Walk an existing archive, subject by subject, until there are `n_files` files.

    Where it has more, its largest subject among those walked is indexed instead of the whole.
    BenchError is raised where there are no datasets.
    """
    root = open_archive(place.path, place.options)
    subjects: dict[str, list[str]] = defaultdict(list)
    for folder in open_walker(root, place.options).survey():
        subjects[folder.rpartition("/")[0]].append(folder)
    counts: dict[str, int] = {}
    folders: list[str] = []
    files: list[tuple[str, int]] = []
    for subject, dated in sorted(subjects.items()):
        counter = Counter()
        walker = open_walker(root, place.options, counter)
        entries = join_batches(walker.walk(dated))
        rows = entries.select("directory", "name", "file_size").iter_rows()
        files += [(join(directory, name), size) for directory, name, size in rows]
        listed: pa.ChunkedArray = walker.listings().column("directory")
        folders += listed.to_pylist()
        counts[subject] = counter.total()[0]
        if sum(counts.values()) >= n_files:
            break
    if not files:
        raise BenchError(
            f"{place} has no datasets to read; give the folder of an archive, or --write to have "
            "one written"
        )
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    whole = (place.path / largest, counts[largest])
    if len(counts) == len(subjects):
        whole = (place.path, sum(counts.values()))
    large = [place.locate(path) for path, size in files if size >= CHUNK]
    return Target(
        place=place,
        lists=place.plan_lists(folders, [path for path, _ in files]),
        files=[place.locate(path) for path, _ in files],
        small=[place.locate(path) for path, size in files if size < CHUNK],
        large=large[:_MAX_LARGE_FILES],
        whole=whole,
        part=(place.path / smallest, counts[smallest]) if 2 * counts[smallest] < whole[1] else None,
        mean_bytes=sum(size for _, size in files) / len(files),
        scratch=None,
        tables=tables,
    )
