"""The walk of an archive as a lazy frame, that looks only where its filters can be true."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from polars_alf.alf import grammar
from polars_alf.alf.paths import check_root, temporary_folder
from polars_alf.parallel.executors import (
    Executor,
    check_executor,
    choose_executor,
    count_workers,
    run_tasks,
)
from polars_alf.schema import DATASETS, ENTRIES, SESSIONS, polars_schema
from polars_alf.walk.batches import join_batches
from polars_alf.walk.options import Options, check_op_timeout, check_threads, parse_exclude
from polars_alf.walk.shards import path_key, plan_shards
from polars_alf.walk.walker import Walker

FILES = pa.schema(
    [
        *(SESSIONS.field(name) for name in ("lab", "subject", "date", "number")),
        DATASETS.field("rel_path"),
        *ENTRIES,
    ]
)
"""One row per dataset file of an archive that is walked, with what its path says."""

_SCHEMA = polars_schema(FILES)

_OF_UNIT = frozenset({"lab", "subject", "date"})


def scan_archive(
    root: str | os.PathLike[str],
    *,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    threads: int | None = None,
    op_timeout: float | None = None,
) -> pl.LazyFrame:
    """Walk an archive as a lazy frame: its dataset files, when the frame is collected.

    A filter on ``lab``, ``subject`` or ``date`` decides which dates are walked; of the others
    nothing is listed below the folders of their subjects. A limit ends the walk as soon as it has
    its rows.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    n_jobs, executor, follow_links, exclude, threads, op_timeout
        As for `index_archive`.

    Returns
    -------
    polars.LazyFrame
        FILES: one row for each dataset file, ``file_size`` in bytes and ``mtime_ns`` in
        nanoseconds since the epoch. Rows come date by date in the order of paths, but in no
        particular order within one. ``lab`` is '' where there is no lab's folder; no other value
        is null. ``directory`` and ``name`` make the path below the root as it is on disk. What
        cannot be read is left out; `index_archive` reports it. A session that lies in the folder
        of another's date, beside its sessions, is found by the filters of that folder alone.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, OptionError
        About the root and the options, at once.
    """
    op_timeout = check_op_timeout(op_timeout)
    path = str(check_root(root, op_timeout))
    options = Options(
        follow_links,
        parse_exclude(exclude),
        threads=check_threads(threads),
        op_timeout=op_timeout,
    )
    n_jobs = count_workers(n_jobs)
    executor = check_executor(executor)

    def files(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        needed = _SCHEMA.names() if with_columns is None else list(with_columns)
        if predicate is not None:
            needed += {*predicate.meta.root_names()} - {*needed}
        walk = _Walk(path, options, tuple(needed))
        units = _choose_units(path, Walker(path, options).survey(), predicate)
        if n_rows is None:
            frames = _walk_shards(walk, units, executor, n_jobs)
        else:
            frames = _walk_until(walk, units, n_rows)
        for frame in frames:
            found = frame if predicate is None else frame.filter(predicate)
            yield found if with_columns is None else found.select(with_columns)

    return register_io_source(files, schema=_SCHEMA)


@dataclass(frozen=True, slots=True)
class _Walk:
    """What to walk, and which columns of FILES to make of it."""

    root: str
    options: Options
    columns: tuple[str, ...]

    def read(self, units: Sequence[str]) -> pl.DataFrame:
        walker = Walker(self.root, self.options)
        entries = join_batches(walker.walk(units)).lazy()
        directories = pl.LazyFrame(walker.directories())
        sessions = (
            directories.filter(pl.col("directory") == pl.col("session"))
            .with_columns(parts=grammar.expr_session_parts(_expr_path(self.root, "session")))
            .unnest("parts")
            .with_columns(pl.col("lab").fill_null(""))
            .drop("directory")
        )
        within = pl.concat_str("directory", pl.lit("/")).str.slice(
            pl.col("session").str.len_chars()
        )
        places = directories.join(sessions, on="session").with_columns(
            prefix=within.str.strip_prefix("/")
        )
        return (
            entries.join(places, on="directory", maintain_order="left")
            .with_columns(rel_path=pl.concat_str("prefix", "name"))
            .select(self.columns)
            .collect()
        )


@dataclass(frozen=True, slots=True)
class _Task:
    walk: _Walk
    units: Sequence[str]
    file: Path


def _walk_shards(
    walk: _Walk, units: Sequence[str], executor: Executor | None, n_jobs: int
) -> Iterator[pl.DataFrame]:
    shards = plan_shards(units)
    executor = executor or choose_executor(len(shards), n_jobs)
    with temporary_folder() as folder:
        tasks = [_Task(walk, shard.units, folder / f"{shard.index}.arrow") for shard in shards]
        for file in run_tasks(_write_files, tasks, executor=executor, n_jobs=n_jobs, ordered=True):
            yield pl.scan_ipc(file, glob=False).collect()
            file.unlink()


def _write_files(task: _Task) -> Path:
    """Leave the files of some units in a file: nothing large goes through a pipe."""
    frame = task.walk.read(task.units)
    frame.write_ipc(task.file, compat_level=pl.CompatLevel.newest())
    return task.file


def _walk_until(walk: _Walk, units: Sequence[str], n_rows: int) -> Iterator[pl.DataFrame]:
    """Walk unit by unit, in this process, until there are enough rows: workers would go on."""
    for unit in sorted(units, key=path_key):
        if n_rows <= 0:
            return
        frame = walk.read([unit]).head(n_rows)
        n_rows -= len(frame)
        yield frame


def _choose_units(root: str, units: Sequence[str], predicate: pl.Expr | None) -> list[str]:
    """Return the units that may have rows for which a predicate is true."""
    path = _expr_path(root, "unit")
    # Most units are dates: with any number they read as sessions of the same lab and subject.
    parts = pl.coalesce(grammar.expr_session_parts(path), grammar.expr_session_parts(path + "/1"))
    known = (
        pl.DataFrame({"unit": units}, schema={"unit": pl.String})
        .select("unit", parts=parts)
        .unnest("parts")
        .with_columns(pl.when(pl.col("subject").is_not_null()).then(pl.col("lab").fill_null("")))
    )
    kept = pl.repeat(True, len(known), eager=True)
    for conjunct in _split_conjuncts(predicate):
        columns = set(conjunct.meta.root_names())
        if columns and columns <= _OF_UNIT:
            try:
                kept &= known.select(conjunct.fill_null(value=False)).to_series()
            except Exception:  # what fails here fails on the rows too, if it comes to them
                continue
    # Where no session is directly in a unit, there may be others deeper in it.
    return known.filter(kept | pl.col("subject").is_null())["unit"].to_list()


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


def _expr_path(root: str, directory: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{Path(root).as_posix()}/"), directory).str.strip_suffix("/")
