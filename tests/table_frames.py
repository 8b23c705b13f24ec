"""Tables as frames of a few rows."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from polars_alf import schema
from polars_alf.schema import DATASETS, SESSIONS, polars_schema
from polars_alf.tables import contract, transaction

Row = tuple[object, ...]
DAY = datetime.date(2024, 5, 6)


def make_sessions(rows: Sequence[Row]) -> pl.DataFrame:
    """Make SESSIONS of rows (id, subject)."""
    return pl.DataFrame(
        [(eid, "lab", subject, DAY, 1, "", "") for eid, subject in rows],
        polars_schema(SESSIONS),
        orient="row",
    )


def make_datasets(rows: Sequence[Row]) -> pl.DataFrame:
    """Make DATASETS of rows (eid, id, rel_path, file_size)."""
    return pl.DataFrame(
        [(*row, "", True, "NOT_SET") for row in rows], polars_schema(DATASETS), orient="row"
    )


def write_tables(folder: Path, pair: Sequence[pl.DataFrame], minute: int = 0) -> Path:
    """Write frames, in the order that they have, as tables made at a minute."""
    folder.mkdir(parents=True)
    created = datetime.datetime(2024, 1, 1, 0, minute)
    origin = contract.Origin(str(folder), uuid.UUID(int=1), uuid.uuid4().hex, created)
    with (
        transaction.locked_state(folder),
        transaction.staged(folder, origin, with_index=False) as staging,
    ):
        for name, frame in zip(schema.TABLES, pair, strict=True):
            staging.write_table(name, [frame], len(frame))
        staging.commit()
    return folder
