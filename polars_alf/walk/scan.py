"""The walk as frames: lazily, looking only where filters can be true, or all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.path_columns import expr_below, expr_full, expr_join
from polars_alf.alf.paths import path_key, temporary_folder
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.parallel.lazy_frames import make_lazy_frame
from polars_alf.parallel.progress import Progress
from polars_alf.schema import DATASETS, DIRECTORIES, ENTRIES, ISSUES, SESSIONS, polars_schema
from polars_alf.walk.entries import Entries, join_batches
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import Shard
from polars_alf.walk.sources import AnyWalker, open_archive, open_walker
from polars_alf.walk.walk import Walk, WriteFrames, open_walk

FILES = pa.schema(
    [
        *(SESSIONS.field(name) for name in ("lab", "subject", "date", "number")),
        DATASETS.field("rel_path"),
        *ENTRIES,
    ]
)
"""One row per dataset file of an archive that is walked, with what its path says."""

_SCHEMA = polars_schema(FILES)

_KNOWN_BEFORE = frozenset({"lab", "subject", "date"})
"""Columns that follow from the path of a dated folder."""


@accepting_old_spellings(n_jobs="jobs")
def scan_archive(
    root: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    executor: str | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    include_snapshots: bool = False,
    threads: int | None = None,
    op_timeout: float | None = None,
    max_rate: float | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> pl.LazyFrame:
    """Walk an archive as a lazy frame: its dataset files, when the frame is collected.

    A filter on ``lab``, ``subject`` or ``date`` decides which dates are walked; of the others
    nothing is listed below the folders of their subjects. A limit ends the walk as soon as it has
    its rows.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session; also in a bucket.
    jobs, executor, follow_links, exclude, include_snapshots, threads, op_timeout, max_rate,
    endpoint_url, region, anonymous, progress
        As for `index_archive`. A cluster hands rows over in the folder for temporary files, which
        all its machines must share.

    Returns
    -------
    polars.LazyFrame
        FILES: one row for each dataset file, ``file_size`` in bytes and ``mtime_ns`` in
        nanoseconds since the epoch. Rows come date by date in the order of paths, but in no
        particular order within one. ``lab`` is '' where there is no lab's folder; no other value
        is null. ``directory`` and ``name`` make the path below the root as it is on disk: they tell
        apart the files of a session that is there twice, as a copy or as ``1`` and ``001``. What
        cannot be read is left out; `index_archive` reports it. A session that lies in the folder
        of another's date, beside its sessions, is found by the filters of that folder alone.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, OptionError
        About the root and the options, at once.
    """
    options = WalkOptions(
        follow_links=follow_links,
        exclude=exclude,  # type: ignore[arg-type]
        include_snapshots=include_snapshots,
        threads=threads,
        op_timeout=op_timeout,
        max_rate=max_rate,
        n_jobs=jobs,
        executor=executor,
        endpoint_url=endpoint_url,
        region=region,
        anonymous=anonymous,
    )
    opened = open_archive(root, options)

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        needed = _SCHEMA.names() if with_columns is None else list(with_columns)
        if predicate is not None:
            needed += {*predicate.meta.root_names()} - {*needed}
        visit = _ReadFiles(tuple(needed))
        with open_walk(opened, options, progress) as walk:
            folders = _choose_folders(opened.posix, walk.survey().folders, predicate)
            if n_rows is None:
                tasks = [(shard, visit) for shard in walk.plan_shards(folders)]
                frames: Iterator[pl.DataFrame] = (
                    found["files"] for found in walk.visit_frames(tasks)
                )
            else:
                frames = _read_until(walk, folders, visit, n_rows)
            for frame in frames:
                found = frame if predicate is None else frame.filter(predicate)
                yield found if with_columns is None else found.select(with_columns)

    return make_lazy_frame(read, _SCHEMA, is_pure=False)


@dataclass(frozen=True, slots=True)
class _ReadFiles:
    """Make columns of FILES of a shard."""

    columns: tuple[str, ...]

    def __call__(self, walker: AnyWalker, shard: Shard) -> dict[str, pl.DataFrame]:
        entries = join_batches(walker.walk(shard.folders)).lazy()
        directories = pl.LazyFrame(walker.directories())
        path = expr_full(walker.root.posix, "session")
        sessions = (
            directories.filter(pl.col("directory") == pl.col("session"))
            .with_columns(parts=grammar.expr_session_parts(path))
            .unnest("parts")
            .with_columns(pl.col("lab").fill_null(""))
            .drop("directory")
        )
        directories = directories.join(sessions, on="session").with_columns(
            collection=expr_below("directory", "session")
        )
        files = (
            entries.join(directories, on="directory", maintain_order="left")
            .with_columns(rel_path=expr_join("collection", "name"))
            .select(self.columns)
        )
        return {"files": files.collect()}


def _read_until(
    walk: Walk, folders: pl.Series, visit: _ReadFiles, n_rows: int
) -> Iterator[pl.DataFrame]:
    """Walk folder by folder, in this process, until there are enough rows: workers would go on."""
    for folder in sorted(folders, key=path_key):
        if n_rows <= 0:
            return
        walker = open_walker(walk.root, walk.options, pacer=walk.pacer)
        frame = visit(walker, Shard.pack(0, [folder]))["files"].head(n_rows)
        n_rows -= len(frame)
        yield frame


def _choose_folders(root: str, folders: pl.Series, predicate: pl.Expr | None) -> pl.Series:
    """Return the dated folders that may have rows for which a predicate is true."""
    path = expr_full(root, "folder")
    # Most are dates: with any number they read as sessions of the same lab and subject.
    parts = pl.coalesce(grammar.expr_session_parts(path), grammar.expr_session_parts(path + "/1"))
    known = (
        folders.to_frame("folder")
        .select("folder", parts=parts)
        .unnest("parts")
        .with_columns(pl.when(pl.col("subject").is_not_null()).then(pl.col("lab").fill_null("")))
    )
    kept = pl.repeat(True, len(known), eager=True)
    for conjunct in _split_conjuncts(predicate):
        columns = set(conjunct.meta.root_names())
        if columns and columns <= _KNOWN_BEFORE:
            try:
                kept &= known.select(conjunct.fill_null(value=False)).to_series()
            except Exception:  # what fails here fails on the rows too, if it comes to them
                continue
    # Where no session is directly in a folder, there may be others deeper in it.
    return known.filter(kept | pl.col("subject").is_null())["folder"]


def _split_conjuncts(predicate: pl.Expr | None) -> Iterator[pl.Expr]:
    """Yield the conditions that all have to be true for a predicate to be so."""
    pending = [] if predicate is None else [predicate]
    while pending:
        expr = pending.pop()
        inputs = expr.meta.pop()
        if len(inputs) == 2 and expr.meta.eq(inputs[1] & inputs[0]):
            pending += inputs
        else:
            yield expr


class ArchiveFiles(NamedTuple):
    """Files of an archive: ENTRIES without times and DIRECTORIES, names as strings, and ISSUES."""

    entries: pl.DataFrame
    directories: pl.DataFrame
    issues: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of an archive on disk, in the order of their paths."""

    issues: pl.DataFrame
    """ISSUES of all shards."""
    n_sessions: int
    shards: list[Path]
    n_files: list[int]
    """Number of files of each shard."""

    def group_shards(self, n_groups: int) -> list[range]:
        """Return runs of neighbouring shards, about so many, with about as many files."""
        enough = sum(self.n_files) / n_groups
        groups, start, n = [], 0, 0
        for shard, more in enumerate(self.n_files):
            n += more
            if n >= enough:
                groups.append(range(start, shard + 1))
                start, n = shard + 1, 0
        rest = range(start, len(self.shards))
        return [*groups, rest] if rest or not groups else groups

    def read(self, shards: Iterable[int]) -> ArchiveFiles:
        """Return what some shards hold, with the issues of all."""
        shards = [*shards]
        entries = [polars_schema(ENTRIES).to_frame().drop("mtime_ns")]
        for shard in shards:
            files, places, names = (
                pl.read_ipc(self.shards[shard] / f"{name}.arrow")
                for name in ("files", "places", "names")
            )
            entries.append(Entries(files, places["directory"], names["name"]).decode())
        return ArchiveFiles(pl.concat(entries), self.read_directories(shards), self.issues)

    def read_directories(self, shards: Iterable[int]) -> pl.DataFrame:
        """Return DIRECTORIES of some shards."""
        found = (pl.read_ipc(self.shards[shard] / "directories.arrow") for shard in shards)
        return pl.concat([polars_schema(DIRECTORIES).to_frame(), *found])

    def place_sessions(self, groups: Sequence[range], name: str) -> pl.DataFrame:
        """Return ``session`` and the number of its group of shards, in a column of this name."""
        found = [pl.DataFrame(schema={"session": pl.String, name: pl.UInt32})]
        for number, shards in enumerate(groups):
            for shard in shards:
                sessions = pl.read_ipc(self.shards[shard] / "sessions.arrow")
                found.append(sessions.with_columns(pl.lit(number, pl.UInt32).alias(name)))
        return pl.concat(found, rechunk=True)


@contextmanager
def list_archive(
    walk: Walk, choose: Callable[[pl.Series], pl.Series] | None = None
) -> Iterator[Listing]:
    """Walk an archive, and yield what it holds: some 10 bytes a file, in a new folder.

    `choose` takes some of the dated folders; None takes all. The new folder is in the system's for
    temporary files, which all machines of a cluster must share.
    """
    with temporary_folder() as folder:
        yield _list_archive(walk, choose, folder)


def _list_archive(
    walk: Walk, choose: Callable[[pl.Series], pl.Series] | None, folder: Path
) -> Listing:
    survey = walk.survey()
    if choose:
        survey.folders = choose(survey.folders)
    issues = [polars_schema(ISSUES).to_frame(), pl.DataFrame(survey.issues)]
    n_sessions = 0
    shards: list[Path] = []
    n_files: list[int] = []
    tasks = [
        (shard, WriteFrames(_list_shard, folder, "lz4"))
        for shard in walk.plan_shards(survey.folders)
    ]
    workers = walk.choose_workers(len(tasks), n_folders=len(survey.folders))
    survey.forget_folders()
    for name in walk.visit(tasks, folder, workers=workers, ordered=True):
        path = folder / name
        issues.append(pl.read_ipc(path / "issues.arrow"))
        n_sessions += _count_rows(path / "sessions.arrow")
        n_files.append(_count_rows(path / "files.arrow"))
        shards.append(path)
    return Listing(pl.concat(issues), n_sessions, shards, n_files)


def _list_shard(walker: AnyWalker, shard: Shard) -> dict[str, pl.DataFrame]:
    entries = Entries.join([*walker.walk(shard.folders)])
    directories = pl.DataFrame(walker.directories())
    # By themselves, as texts that are selected from others keep the memory of all.
    sessions = directories.filter(pl.col("directory") == pl.col("session")).select("session")
    return {
        "files": entries.files.drop("mtime_ns"),
        "places": entries.directories.to_frame("directory"),
        "names": entries.names.to_frame("name"),
        "directories": directories,
        "sessions": sessions,
        "issues": pl.DataFrame(walker.issues()),
    }


def _count_rows(path: Path) -> int:
    return int(pl.scan_ipc(path).select(pl.len()).collect().item())
