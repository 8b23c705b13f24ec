"""Arrow columns of other programs, in types that pandas and Polars both read. Pure."""

from __future__ import annotations

import re
from typing import TypeVar

import polars as pl
import pyarrow as pa

from polars_alf.alf.ids import expr_uuid_text

Data = TypeVar("Data", pa.Table, pa.RecordBatch)

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


def simplify_columns(data: Data) -> Data:
    """Return a table with its UUIDs as strings, and each name once.

    UUIDs are those of the logical type that Parquet has for them. Other extension types become
    what they are stored as. Of columns with one name the first is kept.
    """
    schema = data.schema
    names: list[str] = schema.names
    if len({*names}) < len(names):
        data = data.select([index for index, name in enumerate(names) if name not in names[:index]])
    for index, field in enumerate(data.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            column = _read_extension(data.column(index))
            data = data.set_column(index, pa.field(field.name, column.type), column)
    return data.replace_schema_metadata(schema.metadata)


def _read_extension(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    if isinstance(column, pa.ChunkedArray):
        chunks = [_read_extension(chunk) for chunk in column.chunks]
        return pa.chunked_array(chunks, None if chunks else _read_extension_type(column.type))
    if not isinstance(column.type, pa.UuidType):
        return column.storage
    octets = pl.DataFrame({"id": pl.Series(column.storage, dtype=pl.Binary)})
    return octets.select(expr_uuid_text(pl.col("id"))).to_series().to_arrow()


def _read_extension_type(dtype: pa.BaseExtensionType) -> pa.DataType:
    return pa.large_string() if isinstance(dtype, pa.UuidType) else dtype.storage_type


def make_frame(data: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Return simplified columns as a frame.

    Times in zones that are offsets, or that Polars does not know, become those of UTC, but `date`
    becomes the time on the clocks there, as its day would be another one.
    """
    data = data.replace_schema_metadata()
    for index, field in enumerate(data.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz and not _is_zone(field.type.tz):
            is_date = field.name == "date"
            column = _move_zone(data.column(index), field.type, is_local=is_date)
            data = data.set_column(index, pa.field(field.name, column.type), column)
    return pl.DataFrame(data)


def _is_zone(zone: str) -> bool:
    if _OFFSET.fullmatch(zone):
        return False
    try:  # not by a frame, in which Polars panics
        pl.Series(dtype=pl.Datetime).dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError:
        return False
    return True


def _move_zone(
    column: pa.ChunkedArray | pa.Array, dtype: pa.TimestampType, *, is_local: bool
) -> pa.ChunkedArray | pa.Array:
    times = pl.Series(column.cast(pa.timestamp(dtype.unit)))
    offset = _OFFSET.fullmatch(dtype.tz)
    if not is_local or offset is None:
        return times.dt.replace_time_zone("UTC").to_arrow()
    sign, hours, minutes = offset.groups()
    return times.dt.offset_by(f"{sign.strip('+')}{hours}h{minutes}m").to_arrow()
