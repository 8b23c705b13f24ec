"""What is measured on: an archive that is written for it, or one that is there."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import Executor
from pathlib import Path

import pyarrow as pa

from polars_alf.alf.root import open_root
from polars_alf.bench.folder import ARCHIVE, SCRATCH, TABLES, Plan, make_folders
from polars_alf.bench.meters import CHUNK
from polars_alf.bench.sweep import FOREVER, Level, Target, run_level, share_out
from polars_alf.errors import BenchError
from polars_alf.parallel.progress import Counter
from polars_alf.walk.batches import join_batches
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

MOST_LARGE = 1000
"""Large files to read of an archive at most: far more than there is time for."""


def write_archive(folder: Path, plan: Plan, pool: Executor, level: Level) -> Target:
    """Write the synthetic archive into the folder of a run.

    Raises
    ------
    BenchError
        It cannot be written.
    """
    root = folder / ARCHIVE
    try:
        make_folders([root / path for path in plan.folders], level.concurrency)
    except OSError as error:
        raise BenchError(
            error.errno,
            f"folders cannot be made in {root}: {error.strerror}; see to its free space and its "
            "permissions",
        ) from error
    files = [(f"{root}/{file.path}", file.size) for file in plan.files]
    shares = share_out(files, level)
    run_level(pool, None, level, shares, root=root, seconds=FOREVER, once=True)
    n_less = sum(file.path.startswith(f"{plan.subject}/") for file in plan.files)
    is_small = n_less == len(files)
    small = [f"{root}/{file.path}" for file in plan.small]
    large = [f"{root}/{file.path}" for file in plan.large]
    return Target(
        root=root,
        folders=plan.folders,
        files=small,
        small=small,
        large=large,
        indexed=(root, len(files)),
        indexed_less=None if is_small else (root / plan.subject, n_less),
        scratch=folder / SCRATCH,
        tables=folder / TABLES,
    )


def find_archive(root: Path, n_files: int, tables: Path) -> tuple[Target, float]:
    """Look at an archive that is there, up to about so many files of it, whole subjects each.

    Parameters
    ----------
    root
        The archive.
    n_files
        How many files are enough.
    tables
        Folder to make folders for tables in.

    Returns
    -------
    target : Target
        Without a folder to write to. Where the archive has more files than were looked at, its
        largest subject of those is what is indexed.
    mean_bytes : float
        Mean size of the datasets.

    Raises
    ------
    BenchError
        There are no datasets.
    """
    subjects: dict[str, list[str]] = defaultdict(list)
    for unit in Walker(open_root(root), WalkOptions()).survey():
        subjects[unit.rpartition("/")[0]].append(unit)
    counts: dict[str, int] = {}
    folders: list[str] = []
    paths: list[tuple[str, int]] = []
    for subject, units in sorted(subjects.items()):
        counter = Counter()
        walker = Walker(open_root(root), WalkOptions(), counter)
        entries = join_batches(walker.walk(units))
        rows = entries.select("directory", "name", "file_size").iter_rows()
        paths += [(f"{root}/{directory}/{name}", size) for directory, name, size in rows]
        listed: pa.ChunkedArray = walker.listings().column("directory")
        folders += listed.to_pylist()
        counts[subject] = counter.total()[0]
        if sum(counts.values()) >= n_files:
            break
    if not paths:
        raise BenchError(
            f"{root} has no datasets to read; give the folder of an archive, or leave out "
            "--read-only to have one written"
        )
    whole = max(counts, key=counts.__getitem__)
    less = min(counts, key=counts.__getitem__)
    indexed = (root / whole, counts[whole])
    if len(counts) == len(subjects):
        indexed = (root, sum(counts.values()))
    target = Target(
        root=root,
        folders=folders,
        files=[path for path, _ in paths],
        small=[path for path, size in paths if size < CHUNK],
        large=[path for path, size in paths if size >= CHUNK][:MOST_LARGE],
        indexed=indexed,
        indexed_less=(root / less, counts[less]) if counts[less] * 2 < indexed[1] else None,
        scratch=None,
        tables=tables,
    )
    return target, sum(size for _, size in paths) / len(paths)
