"""Tables as other programs write them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet as pq


def write_bare(folder: Path, name: str, columns: dict[str, object]) -> Path:
    """Write a table of one row, or of the columns given as Series, without any metadata."""
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame(
        {key: value if isinstance(value, pl.Series) else [value] for key, value in columns.items()}
    )
    path = folder / f"{name}.pqt"
    pq.write_table(frame.to_arrow(), path)
    return path


def convert_frame(frame: pd.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return what the pandas shim loaded, in the columns of a scan."""
    flat = frame.reset_index()
    values = {
        column: [
            None if value is None or value is pd.NA or value != value else value
            for value in (map(str, flat[column]) if column in ("id", "eid") else flat[column])
        ]
        for column in flat.columns
    }
    return pl.DataFrame(values, schema_overrides=dict(schema)).select(schema.names())
