"""What a shard leaves behind for the last stage: sorted rows on disk, and a small receipt.

A shard's folder is written under another name and renamed when it is whole, so that it is there
complete or not at all: an interrupted run can go on with the shards that it had finished.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.schema import ISSUES, SESSIONS, polars_schema
from polars_alf.shards import Shard
from polars_alf.tables import complete_datasets

ROWS_PER_GROUP = 262_144
"""About how many datasets are in memory at a time, and in one row group of their table."""

_RECEIPT = "receipt.json"
_ROWS = ("sessions", "datasets", "changes", "issues")

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
    path
        Folder with its rows.
    first_unit
        The first of its units, which places it among the shards of the run.
    n_units
        Number of its units.
    n_other_files
        Files that are not ALF datasets, or lie outside every session.
    n_changes
        Number of datasets by `polars_alf.schema.ChangeKind`, since the last index.
    is_whole
        Whether all of it could be read. If not, a run that goes on after an interruption scans
        the shard again.
    counts
        Files, sessions and digested bytes, as `polars_alf.progress.Counter` has them.
    seconds
        How long it took.
    """

    path: str
    first_unit: str
    n_units: int
    n_other_files: int
    n_changes: dict[str, int]
    is_whole: bool
    counts: tuple[int, int, int]
    seconds: float


@contextmanager
def shard_folder(spool: Path, shard: Shard) -> Iterator[Path]:
    """Make the folder of a shard, which gets its name when the context ends without an error.

    Parameters
    ----------
    spool
        Folder for the shards of the run.
    shard
        The shard.

    Yields
    ------
    pathlib.Path
        Folder to write into.
    """
    final = spool / shard.name
    beside = spool / f"{shard.name}.{uuid.uuid4().hex}.tmp"
    beside.mkdir()
    try:
        yield beside
        with contextlib.suppress(OSError):
            beside.rename(final)
            return
        # Another worker may have written the same shard.
        if not final.is_dir():
            beside.rename(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_receipt(folder: Path, shard: Shard, receipt: Receipt) -> None:
    """Write the receipt of a shard into its folder, with its units: the last thing to do."""
    text = json.dumps({"receipt": asdict(receipt), "units": shard.units})
    (folder / _RECEIPT).write_text(text, encoding="utf-8")


def write_rows(
    folder: Path,
    *,
    sessions: pl.DataFrame,
    datasets: pl.DataFrame,
    issues: pa.Table,
    changes: pl.DataFrame,
) -> None:
    """Write what the last stage needs of a shard into its folder.

    Parameters
    ----------
    folder
        Of the shard.
    sessions
        As `tables.assemble_sessions` gives them, with ``n_datasets`` and ``n_bytes``.
    datasets
        Of those sessions, in their order.
    issues
        ISSUES.
    changes
        CHANGES.
    """
    for name, frame in (("sessions", sessions), ("datasets", datasets), ("changes", changes)):
        frame.write_ipc(folder / f"{name}.arrow", compat_level=pl.CompatLevel.newest())
    with pa.ipc.new_file(str(folder / "issues.arrow"), ISSUES) as writer:
        writer.write_table(issues)


def remove_rows(spool: Path) -> None:
    """Remove what only the last stage needed."""
    for shard in spool.iterdir():
        if shard.is_dir():
            for name in _ROWS:
                (shard / f"{name}.arrow").unlink(missing_ok=True)


def find_finished(spool: Path) -> list[tuple[Receipt, list[str]]]:
    """Return receipts and units of the shards that an interrupted run has finished.

    What is not whole is removed: shards that were under way, or could not be read in full.
    """
    finished = []
    for folder in sorted(spool.iterdir()):
        found = _read_receipt(folder)
        if (
            found
            and found[0].is_whole
            and all((folder / f"{name}.arrow").is_file() for name in _ROWS)
        ):
            finished.append(found)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return finished


def read_units(spool: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name and units of each shard that has a receipt."""
    for folder in sorted(spool.iterdir()):
        if found := _read_receipt(folder):
            yield folder.name, found[1]


def _read_receipt(folder: Path) -> tuple[Receipt, list[str]] | None:
    try:
        values = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
        receipt = Receipt(**values["receipt"] | {"path": str(folder)})
        return receipt, [str(unit) for unit in values["units"]]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def read_sessions(receipts: Sequence[Receipt]) -> pl.DataFrame:
    """Read the sessions of all shards, with ``shard`` and ``offset`` of their datasets in it.

    ``shard`` is the position of the receipt.
    """
    frames = [_NO_SESSIONS]
    for shard, receipt in enumerate(receipts):
        sessions = pl.scan_ipc(Path(receipt.path) / "sessions.arrow", glob=False).collect()
        before = pl.col("n_datasets").cum_sum() - pl.col("n_datasets")
        frames.append(sessions.with_columns(shard=pl.lit(shard), offset=before))
    return pl.concat(frames, how="vertical_relaxed")


def read_rows(receipts: Sequence[Receipt], name: str) -> Iterator[pa.Table]:
    """Read ``issues`` or ``changes`` of each shard in turn."""
    for receipt in receipts:
        yield _map(receipt, name)


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
    files = [pl.DataFrame(_map(receipt, "datasets")) for receipt in receipts]
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


def _map(receipt: Receipt, name: str) -> pa.Table:
    # Mapped, not read: only the slices that are asked for come into memory.
    with pa.memory_map(str(Path(receipt.path) / f"{name}.arrow")) as file:
        return pa.ipc.open_file(file).read_all()


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
