"""Tables as others leave them: edited by hand, or written as a database's."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

Edit = Callable[[pl.DataFrame], pl.DataFrame]

EVERY_TYPE = {
    "flag": pl.Series([True, None, False, True]),
    "count": pl.Series([1, None, 3, 4], dtype=pl.Int32),
    "share": pl.Series([0.25, None, 0.5, 1.0]),
    "note": pl.Series(["a", None, "", "ü"]),
    "seen": pl.Series([dt.datetime(2024, 5, 6, 7, 8, 9), None, None, dt.datetime(1999, 1, 1)]),
    "day": pl.Series([dt.date(2024, 5, 6), None, None, None]),
    "kind": pl.Series(["x", None, "y", "x"], dtype=pl.Categorical),
    "tags": pl.Series([["a", "b"], None, [], ["c"]]),
    "place": pl.Series([{"x": 1, "y": "l"}, None, {"x": 2, "y": None}, {"x": 3, "y": "r"}]),
    # Names that the code has for columns of its own.
    "source": pl.Series([1, None, None, 4]),
    "session": pl.Series(["s", None, "t", "u"]),
    "group": pl.Series([7, None, 8, 9]),
    "qc_": pl.Series(["q", None, None, "q"]),
    "rank": pl.Series([1, None, 1, 1]),
}
"""Columns of four rows that a lab may add to its tables; the second row has no values."""


def damage_column(folder: Path, table: str, column: str) -> None:
    """Change a byte of a column of a table; all else is as it was."""
    path = folder / f"{table}.pqt"
    metadata = pq.read_metadata(path)
    at = metadata.row_group(0).column(metadata.schema.names.index(column)).data_page_offset
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)


def edit_table(folder: Path, name: str, edit: Edit) -> None:
    """Write a table anew with what Polars makes of it, without any metadata of ours."""
    path = folder / f"{name}.pqt"
    edit(pl.read_parquet(path)).write_parquet(path)


def add_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `EVERY_TYPE`, again and again down the rows."""
    rows = pl.Series(range(len(frame))) % 4
    return frame.with_columns(
        values.gather(rows).alias(column) for column, values in EVERY_TYPE.items()
    )


def spell_values(frame: pl.DataFrame) -> pl.DataFrame:
    """Spell columns of `EVERY_TYPE` as tables of ours have them."""
    return frame.with_columns(
        pl.col("kind").cast(pl.String),
        pl.col("place").map_batches(
            lambda column: pl.Series(
                [value if value is None else json.dumps(value) for value in column.to_list()],
                dtype=pl.String,
            ),
            return_dtype=pl.String,
        ),
    )


def make_database(folder: Path, origin: str = "https://alyx.example.org") -> None:
    """Make the tables of a folder those of a database: with ids and an origin of its own."""
    paths = {name: folder / f"{name}.pqt" for name in ("sessions", "datasets")}
    sessions, datasets = (pl.read_parquet(path) for path in paths.values())
    # In another order than that of the ids that were there, the same in each run.
    eids = {eid: str(uuid.uuid3(uuid.NAMESPACE_DNS, eid)) for eid in sessions["id"]}
    ids = [str(uuid.uuid3(uuid.NAMESPACE_DNS, name)) for name in datasets["id"]]
    sessions = sessions.with_columns(pl.col("id").replace_strict(eids))
    datasets = datasets.with_columns(
        pl.col("eid").replace_strict(eids), pl.Series("id", ids), hash=pl.lit("ab" * 16)
    )
    one = json.dumps({"date_created": "2024-01-01 00:00", "origin": origin})
    for path, frame in zip(paths.values(), (sessions, datasets), strict=True):
        table = frame.with_columns(pl.col(pl.Enum).cast(pl.String)).to_arrow()
        pq.write_table(table.replace_schema_metadata({"one_metadata": one}), path)
