"""What a shard leaves behind for the last stage: sorted rows on disk, and a small receipt.

A shard's folder is written under another name and renamed when it is whole, so that it is there
complete or not at all.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.schema import ISSUES, SESSIONS, make_table, polars_schema
from polars_alf.tables import complete_datasets

ROWS_PER_GROUP = 262_144
"""About how many datasets are in memory at a time, and in one row group of their table."""


_NO_SESSIONS = pl.DataFrame(
    schema=polars_schema(SESSIONS)
    | {"session": pl.String, "name": pl.String, "key": pl.String}
    | dict.fromkeys(("n_datasets", "n_bytes", "shard", "offset"), pl.UInt64)
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a finished shard found.

    Parameters
    ----------
    shard
        Position of the shard in the run.
    path
        Folder with its rows.
    n_other_files
        Files that are not ALF datasets, or lie outside every session.
    """

    shard: int
    path: str
    n_other_files: int


def write_shard(
    spool: Path, name: str, *, sessions: pl.DataFrame, datasets: pl.DataFrame, issues: pa.Table
) -> Path:
    """Write the rows of a shard.

    Parameters
    ----------
    spool
        Folder of the run.
    name
        Name of the shard.
    sessions
        As `tables.assemble_sessions` gives them, with ``n_datasets`` and ``n_bytes``.
    datasets
        Of those sessions, in their order.
    issues
        ISSUES.

    Returns
    -------
    pathlib.Path
        Folder with the rows.
    """
    final = spool / name
    beside = spool / f"{name}.{uuid.uuid4().hex}.tmp"
    beside.mkdir()
    sessions.write_ipc(beside / "sessions.arrow", compat_level=pl.CompatLevel.newest())
    datasets.write_ipc(beside / "datasets.arrow", compat_level=pl.CompatLevel.newest())
    with pa.ipc.new_file(str(beside / "issues.arrow"), ISSUES) as writer:
        writer.write_table(issues)
    try:
        beside.rename(final)
    except OSError:
        # Another worker has written the same shard.
        shutil.rmtree(beside, ignore_errors=True)
        if not final.is_dir():
            raise
    return final


def read_sessions(receipts: Sequence[Receipt]) -> pl.DataFrame:
    """Read the sessions of all shards, with ``shard`` and ``offset`` of their datasets in it."""
    frames = [_NO_SESSIONS]
    for receipt in receipts:
        sessions = _scan(receipt, "sessions").collect()
        before = pl.col("n_datasets").cum_sum() - pl.col("n_datasets")
        frames.append(sessions.with_columns(shard=pl.lit(receipt.shard), offset=before))
    return pl.concat(frames, how="vertical_relaxed")


def _scan(receipt: Receipt, table: str) -> pl.LazyFrame:
    return pl.scan_ipc(Path(receipt.path) / f"{table}.arrow", glob=False)


def read_issues(receipts: Sequence[Receipt]) -> pa.Table:
    """Read the issues of all shards, in the order of the shards."""
    tables = [make_table([], ISSUES)]
    for receipt in sorted(receipts, key=lambda receipt: receipt.shard):
        with pa.memory_map(str(Path(receipt.path) / "issues.arrow")) as file:
            tables.append(pa.ipc.open_file(file).read_all())
    return pa.concat_tables(tables)


def merge_datasets(receipts: Sequence[Receipt], sessions: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Merge the datasets of all shards into the order of their sessions.

    Parameters
    ----------
    receipts
        Of all shards.
    sessions
        Those wanted, as `read_sessions` gives them, in the order wanted. Sessions of one shard
        must be in the order in which the shard has them.

    Yields
    ------
    polars.DataFrame
        DATASETS, about `ROWS_PER_GROUP` rows at a time; a session is never divided. Nothing at
        all where there are no datasets.
    """
    files = {receipt.shard: _map_datasets(receipt) for receipt in receipts}
    before = pl.col("n_datasets").cum_sum() - pl.col("n_datasets")
    groups = (
        sessions.filter(pl.col("n_datasets") > 0)
        .with_row_index("rank")
        .with_columns(group=before // ROWS_PER_GROUP)
        .partition_by("group", maintain_order=True)
    )
    for group in groups:
        in_files = group.sort("shard", "offset")
        rows = in_files.select("rank", "n_datasets", eid="id").select(
            pl.col("rank", "eid").repeat_by("n_datasets").explode()
        )
        slices = [
            files[shard].slice(offset, n_datasets)
            for shard, offset, n_datasets in _find_runs(in_files).iter_rows()
        ]
        datasets = pl.concat([pl.concat(slices), rows], how="horizontal")
        yield complete_datasets(datasets.lazy().sort("rank", maintain_order=True)).collect()


def _map_datasets(receipt: Receipt) -> pl.DataFrame:
    # Mapped, not read: only the slices that are asked for come into memory.
    with pa.memory_map(str(Path(receipt.path) / "datasets.arrow")) as file:
        return pl.DataFrame(pa.ipc.open_file(file).read_all())


def _find_runs(sessions: pl.DataFrame) -> pl.DataFrame:
    """Return shard, offset and number of the datasets of sessions, neighbours taken together."""
    end = pl.col("offset") + pl.col("n_datasets")
    goes_on = (pl.col("shard") == pl.col("shard").shift(1)) & (pl.col("offset") == end.shift(1))
    return (
        sessions.with_columns(run=(~goes_on).fill_null(value=True).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(pl.col("shard", "offset").first(), pl.col("n_datasets").sum())
        .drop("run")
    )
