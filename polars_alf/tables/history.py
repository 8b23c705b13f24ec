"""The history of the tables of a folder: a log with a line for each run that wrote them."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from polars_alf.tables.files import history_path, open_log

Record: TypeAlias = dict[str, Any]
"""A line of the log: columns of HISTORY, ``id``, which no other line has, and ``replaced``, the
name of the generation that the tables of before are kept as."""

_COLUMNS: dict[str, pl.DataType] = {
    "time": pl.Datetime("ms", "UTC"),
    **dict.fromkeys(("run", "generation", "status"), pl.String()),
    **dict.fromkeys(("n_sessions", "n_datasets", "n_bytes"), pl.Int64()),
    **dict.fromkeys(("added", "changed", "removed", "issues"), pl.Int64()),
    "seconds": pl.Float64(),
}

HISTORY = pl.Schema(_COLUMNS)
"""Columns of `polars_alf.read_history`."""


def make_record(
    run: str | None,
    generation: str,
    *,
    n_sessions: int | None,
    n_datasets: int | None,
    n_bytes: int | None = None,
    changes: Mapping[str, int] | None = None,
    issues: int | None = None,
    seconds: float | None = None,
    time: datetime | None = None,
) -> Record:
    """Return the line of a run, ``index`` or ``merge`` say, that made a generation.

    `time` is now by default; `run` is None for tables that no run in the log has made.
    """
    changes = changes or {}
    moment = datetime.now(UTC) if time is None else time
    return {
        "id": uuid.uuid4().hex,
        "time": moment.isoformat(timespec="milliseconds"),
        "run": run,
        "generation": generation,
        "n_sessions": n_sessions,
        "n_datasets": n_datasets,
        "n_bytes": n_bytes,
        **{change: changes.get(change) for change in ("added", "changed", "removed")},
        "issues": issues,
        "seconds": None if seconds is None else round(seconds, 3),
    }


def append_records(folder: Path, records: Iterable[Record]) -> None:
    """Append to the log the records that it does not have yet. Only under the state's lock.

    A log that cannot be written lacks them then: that must not undo a run that is done.
    """
    known = {record["id"] for record in read_records(folder)}
    lines = [json.dumps(record) for record in records if record["id"] not in known]
    if lines:
        with contextlib.suppress(OSError), open_log(history_path(folder)) as log:
            log.write("".join(f"{line}\n" for line in lines).encode())


def read_records(folder: Path) -> list[Record]:
    """Read the log, oldest first, without lines that are damaged; nothing where there is none."""
    found: dict[str, Record] = {}
    with contextlib.suppress(OSError), history_path(folder).open("rb") as log:
        for line in log:
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("id"), str):
                    found.setdefault(record["id"], record)
    return [*found.values()]


def frame_records(records: Iterable[Record]) -> pl.DataFrame:
    """Return records as HISTORY; a value of another type than its column's is null."""
    rows = [
        [_parse(record.get(name), dtype) for name, dtype in HISTORY.items()] for record in records
    ]
    return pl.DataFrame(rows, HISTORY, orient="row")


def _parse(value: object, dtype: pl.DataType) -> object:
    if isinstance(value, bool) or value is None:
        return None
    if dtype == pl.String:
        return value if isinstance(value, str) else None
    if dtype.is_temporal():
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return datetime.fromisoformat(value).astimezone(UTC)  # type: ignore[arg-type]
        return None
    if dtype.is_integer():
        return value if isinstance(value, int) and abs(value) < 2**63 else None
    return float(value) if isinstance(value, int | float) and abs(value) < 2**63 else None
