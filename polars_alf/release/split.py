"""Tables cut into pairs: one for each lab, subject or year, in bounded memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import check_folder
from polars_alf.display import Shown, describe_size
from polars_alf.errors import OptionError, OverwriteError, TableError
from polars_alf.insertions.api import stage_insertions
from polars_alf.query.scan import Folders, find_folders, scan_pair
from polars_alf.query.spill import BUCKET, Spill, read_batches, select_range
from polars_alf.release.folder_names import name_folders
from polars_alf.release.subset import list_columns, make_origin, shape_columns
from polars_alf.schema import TABLES
from polars_alf.tables.files import check_replaceable, reporting_write_errors, table_path
from polars_alf.tables.history import make_record, read_records
from polars_alf.tables.keep import KEEP, check_keep
from polars_alf.tables.rows import ROWS_AT_ONCE, sum_bytes
from polars_alf.tables.transaction import discard_runs, locked_state, staged

Division = Literal["lab", "subject", "year"]

DIVISIONS: tuple[Division, ...] = get_args(Division)

_LEVELS: dict[Division, list[str]] = {
    "lab": ["lab"],
    "subject": ["lab", "subject"],  # several labs may have a subject of one name
    "year": ["year"],
}

_RUN = "split"


@dataclass(frozen=True, slots=True, repr=False)
class SplitTables(Shown):
    """The pairs of tables that others were split into.

    Parameters
    ----------
    folder
        The folder that has the folders of the pairs.
    parts
        ``folder`` of each pair; ``lab``, ``lab`` and ``subject``, or ``year``; ``n_sessions``,
        ``n_datasets`` and ``n_bytes``. In the order of these values.
    n_left_out
        Datasets of no session in the tables: they are in no pair.
    seconds
        Time that it took.
    """

    folder: Path
    parts: pl.DataFrame
    n_left_out: int
    seconds: float

    def _list_figures(self) -> dict[str, object]:
        return {
            "pairs": len(self.parts),
            "sessions": int(self.parts["n_sessions"].sum()),
            "datasets": int(self.parts["n_datasets"].sum()),
            "size": describe_size(sum_bytes(self.parts["n_bytes"])),
            "left out": self.n_left_out,
            "time": f"{self.seconds:.2f} s",
            "folder": self.folder,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the result in values that JSON has."""
        return {
            "out_dir": str(self.folder),
            "parts": self.parts.to_dicts(),
            "n_left_out": self.n_left_out,
            "seconds": self.seconds,
        }


def split_tables(
    tables: Folders,
    out: str | os.PathLike[str],
    *,
    by: Division = "lab",
    keep_generations: int = KEEP,
) -> SplitTables:
    """Split tables into pairs that ONE opens, one for each lab, subject or year.

    Rows keep their ids and all their columns. ONE opens a pair with the root of the archive as its
    ``cache_dir`` and the folder of the pair as its ``tables_dir``. Some 260,000 datasets are in
    memory at a time; the others are spilled to the system's folder for temporary files.

    Parameters
    ----------
    tables
        Folders of tables, as for `scan_sessions`.
    out
        Existing folder for the folders of the pairs; none of `tables`. They are called
        ``lab``, ``lab/subject`` or ``year``, and ``no-lab`` where there is none. Characters other
        than letters, digits and ``_-.~`` are written as in addresses: ``%20`` for a space.
    by
        ``lab``, ``subject`` or ``year``. The subjects of one name in two labs are two.
    keep_generations
        As for `merge_tables`, for each pair.

    Returns
    -------
    SplitTables
        The pairs, and how many rows each has.

    Raises
    ------
    OptionError
        An option is invalid.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, TableError
        As of `scan_sessions`, and about `out`.
    OverwriteError
        Tables in a folder of a pair were not made by a split.
    ArchiveBusyError, OutputError, CommitError
        As of `merge_tables`. Pairs that were finished stay.
    """
    start = time.perf_counter()
    check_keep(keep_generations)
    if by not in DIVISIONS:
        raise OptionError(f"tables cannot be split by {by!r}; give one of {', '.join(DIVISIONS)}")
    folders = find_folders(tables)
    place = check_folder(out)
    if place in folders:
        raise OptionError(f"the pairs would be beside the tables in {place}; give another folder")
    lazy_sessions, datasets = scan_pair(folders)
    try:
        with temporary_folder() as scratch:
            sessions = _place_sessions(lazy_sessions, datasets, by)
            for part in sessions.unique("folder").sort("folder")["folder"]:
                _check_part(place / part)
            rows = _Rows(Spill(scratch))
            n_left_out = rows.fill(datasets, sessions)
            parts = [
                _write_pair(place, folders, part, rows, datasets, by, keep_generations)
                for part in sessions.partition_by("folder", maintain_order=True)
            ]
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error
    return SplitTables(
        folder=place,
        parts=pl.DataFrame(parts, _list_schema(by)),
        n_left_out=n_left_out,
        seconds=time.perf_counter() - start,
    )


def _list_schema(by: Division) -> dict[str, pl.DataType]:
    counts = {"n_sessions": pl.Int64(), "n_datasets": pl.Int64(), "n_bytes": pl.Int128()}
    levels = dict.fromkeys(_LEVELS[by], pl.String())
    return {"folder": pl.String(), **levels, **counts}


def _place_sessions(sessions: pl.LazyFrame, datasets: pl.LazyFrame, by: Division) -> pl.DataFrame:
    """Return sessions with ``folder`` and ``bucket``, in the order of folders and ids.

    A bucket has some sessions, so that their datasets are in memory together.
    """
    levels = _LEVELS[by]
    values = {
        "lab": pl.col("lab").fill_null(""),
        "subject": pl.col("subject").fill_null(""),
        "year": pl.col("date").dt.year().cast(pl.String).fill_null(""),
    }
    counts = datasets.group_by("eid").agg(n=pl.len().cast(pl.Int64))
    found = (
        sessions.unique("id", keep="first", maintain_order=True)
        .join(counts, left_on="id", right_on="eid", how="left")
        .with_columns(values[level].alias(f"{level}_value") for level in levels)
        .collect(engine="streaming")
    )
    names = [
        pl.col(f"{level}_value").replace_strict(
            name_folders(found[f"{level}_value"].unique(), f"no-{level}"), return_dtype=pl.String
        )
        for level in levels
    ]
    n = pl.col("n").fill_null(0)
    return (
        found.with_columns(folder=pl.concat_str(names, separator="/"))
        .sort([f"{level}_value" for level in levels] + ["id"])
        .with_columns(((n.cum_sum() - n) // ROWS_AT_ONCE).cast(pl.UInt32).alias(BUCKET))
        .drop("n")
    )


class _Rows:
    """The datasets of sessions in the order of these."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._bucket: tuple[int, pl.DataFrame] | None = None

    def fill(self, datasets: pl.LazyFrame, sessions: pl.DataFrame) -> int:
        """Read all rows; return how many are of no session."""
        buckets = sessions.select("id", BUCKET).drop_nulls("id").sort("id")
        n_left_out = 0
        for rows in read_batches(datasets):
            near = select_range(buckets, "id", rows["eid"])
            placed = rows.join(
                near, left_on="eid", right_on="id", how="left", maintain_order="left"
            )
            n_left_out += placed[BUCKET].null_count()
            self._spill.add(placed)
        return n_left_out

    def iter_rows(self, sessions: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield the datasets of sessions, sorted by eid and id."""
        for part in sessions.partition_by(BUCKET, maintain_order=True):
            bucket = part[BUCKET][0]
            if self._bucket is None or self._bucket[0] != bucket:
                self._bucket = (bucket, self._spill.read(bucket))
            found = self._bucket[1].filter(pl.col("eid").is_in(part["id"].implode()))
            yield found.sort("eid", "id")


def _check_part(folder: Path) -> None:
    """Raise OverwriteError where tables are no pair of a split."""
    if not folder.is_dir():
        return
    check_replaceable(folder)
    records = read_records(folder)
    is_ours = bool(records) and records[-1].get("run") == _RUN
    if not is_ours and any(table_path(folder, name).exists() for name in TABLES):
        raise OverwriteError(
            f"the tables in {folder} were not made by a split; give another folder, or remove them"
        )


def _write_pair(
    out: Path,
    folders: Sequence[Path],
    sessions: pl.DataFrame,
    rows: _Rows,
    datasets: pl.LazyFrame,
    by: Division,
    keep_generations: int,
) -> dict[str, object]:
    """Write the tables of a part, and return its row of ``parts``."""
    start = time.perf_counter()
    folder = out / sessions["folder"][0]
    values = {level: sessions[f"{level}_value"][0] for level in _LEVELS[by]}
    own = sessions.drop("folder", BUCKET, *(f"{level}_value" for level in _LEVELS[by]))
    origin = make_origin(folders, None)
    foreign = {
        "sessions": list_columns("sessions", own.lazy()),
        "datasets": list_columns("datasets", datasets),
    }
    ids = own.select(grammar.expr_is_uuid(pl.col("id")).all()).item()
    n_bytes = 0
    with reporting_write_errors(folder, "the tables of a part"):
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked_state(folder))
            discard_runs(folder)
            staging = stack.enter_context(staged(folder, origin, with_index=bool(ids)))
            table = shape_columns("sessions", own.lazy(), foreign["sessions"]).collect()
            staging.write_table("sessions", [table], len(table), foreign["sessions"])

            def frames() -> Iterator[pl.DataFrame]:
                nonlocal n_bytes
                for found in rows.iter_rows(sessions):
                    n_bytes += sum_bytes(found["file_size"])
                    yield shape_columns("datasets", found.lazy(), foreign["datasets"]).collect()

            n_datasets = staging.write_table("datasets", frames(), more=foreign["datasets"])
            record = make_record(
                _RUN,
                origin.generation,
                n_sessions=len(table),
                n_datasets=n_datasets,
                n_bytes=n_bytes,
                seconds=time.perf_counter() - start,
            )
            stage_insertions(staging, folders)
            staging.commit(keep=keep_generations, record=record)
    return {
        "folder": str(folder),
        **values,
        "n_sessions": len(table),
        "n_datasets": n_datasets,
        "n_bytes": n_bytes,
    }
