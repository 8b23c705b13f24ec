"""What a shard leaves behind for the last stage: sorted rows on disk, and a small receipt.

A shard's folder is written under another name and renamed when it is whole, so that it is there
complete or not at all: an interrupted run can go on with the shards that it had finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import xxhash

from polars_alf.schema import ISSUES
from polars_alf.walk.shards import Shard

_UNDER_WAY = ".tmp"

_RECEIPT = "receipt.json"

_ROWS = ("sessions", "datasets", "changes", "issues")


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
        Files, sessions and digested bytes, as `polars_alf.parallel.progress.Counter` has them.
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
    beside = spool / f"{shard.name}.{uuid.uuid4().hex}{_UNDER_WAY}"
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
    """Write the receipt of a shard into its folder, with its units: the last thing to do.

    It also has digests of the other files there, as after a loss of power a name can be there
    without its content.
    """
    digests = {file.name: _digest(file) for file in sorted(folder.glob("*.arrow"))}
    text = json.dumps({"receipt": asdict(receipt), "units": shard.units, "digests": digests})
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
        As `tables.assemble_sessions` gives them, with ``n_datasets``.
    datasets
        Of those sessions, in their order.
    issues
        ISSUES.
    changes
        CHANGES.
    """
    for name, frame in (("sessions", sessions), ("datasets", datasets), ("changes", changes)):
        # Texts one after the other, of which a run of rows can be copied as it is.
        frame.write_ipc(folder / f"{name}.arrow", compat_level=pl.CompatLevel.oldest())
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
        if found and found[0].is_whole and _has_all(folder, found[2]):
            finished.append(found[:2])
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return finished


def read_units(spool: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name and units of each shard that has a receipt."""
    for folder in sorted(spool.iterdir()):
        if found := _read_receipt(folder):
            yield folder.name, found[1]


def is_whole(file: Path) -> bool:
    """Tell whether a file of a shard is as it was when the receipt was written."""
    found = _read_receipt(file.parent)
    return found is not None and _has_all(file.parent, {file.name: found[2].get(file.name, "")})


def _has_all(folder: Path, digests: Mapping[str, str]) -> bool:
    try:
        return all(_digest(folder / name) == digest for name, digest in digests.items())
    except OSError:
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, xxhash.xxh3_64).hexdigest()


def _read_receipt(folder: Path) -> tuple[Receipt, list[str], dict[str, str]] | None:
    if folder.suffix == _UNDER_WAY:
        return None
    try:
        values = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
        receipt = Receipt(**values["receipt"] | {"path": str(folder)})
        return receipt, [str(unit) for unit in values["units"]], dict(values["digests"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
