"""Arrow tables and arrays of frames and rows, made without pandas or pyarrow.compute.

Schemas are those of `polars_alf.schema`, and the types of frames those that `polars_schema` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import polars as pl
import pyarrow as pa

from polars_alf.schema import polars_schema


def make_table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    """Return rows, as tuples in the order of the schema, as a table of that schema."""
    # Not Schema.empty_table, which loads pandas, as pa.array does.
    columns = [*zip(*rows, strict=True)]
    return make_columns_table(columns, schema) if rows else pa.Table.from_batches([], schema)


def make_columns_table(columns: Sequence[Sequence[object]], schema: pa.Schema) -> pa.Table:
    """Return columns, in the order of the schema, as a table of that schema."""
    # Not by pa.array, which loads pandas wherever pandas is installed: a third of a second.
    series = zip(polars_schema(schema).items(), columns, strict=True)
    frame = pl.DataFrame([pl.Series(name, column, dtype) for (name, dtype), column in series])
    return to_arrow(frame, schema)


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return the columns of a schema, which a frame has in any order and beside others."""
    # Not by Table.cast, which loads pyarrow.compute: a thirtieth of a second in each process.
    columns = [to_arrow_array(frame[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def to_coded_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return the columns of a schema, but that texts which a frame has as an Enum are dictionaries.

    Parquet has such texts as they are, and need not look for them in each row.
    """
    columns = []
    for field in schema:
        column = frame[field.name]
        is_coded = isinstance(column.dtype, pl.Enum) and field.type == pa.string()
        columns.append(_encode_used(column) if is_coded else to_arrow_array(column, field.type))
    fields = [field.with_type(c.type) for field, c in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, schema.metadata))


def _encode_used(texts: pl.Series) -> pa.Array:
    """Return an Enum as a dictionary of those of its categories that are in use."""
    codes = texts.to_physical()
    categories = cast("pl.Enum", texts.dtype).categories
    is_used = pl.repeat(value=False, n=len(categories), dtype=pl.Boolean, eager=True)
    is_used = is_used.scatter(codes.drop_nulls(), True)
    places = is_used.cum_sum().cast(pl.Int32) - 1
    return pa.DictionaryArray.from_arrays(
        to_arrow_array(places.gather(codes), pa.int32()),
        to_arrow_array(categories.filter(is_used), pa.string()),
    )


def copy_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows whose texts are copies: those that are selected from more keep the memory of all.

    A few rows of each of many frames would keep the whole of these.
    """
    texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
    return rows.with_columns(pl.concat_str(name, pl.lit("")).alias(name) for name in texts)


def to_arrow_array(series: pl.Series, dtype: pa.DataType) -> pa.Array:
    """Return a column as an Arrow array of the type of a schema's field."""
    if isinstance(series.dtype, pl.Enum):
        codes = series.to_physical().to_arrow().view(dtype.index_type)
        names = to_arrow_array(series.dtype.categories, dtype.value_type)
        return pa.DictionaryArray.from_arrays(codes, names, ordered=dtype.ordered)
    array = series.to_arrow()
    if dtype != pa.string():
        return array
    # Polars has offsets of 64 bits, which some readers do not expect.
    validity, ends, text = array.buffers()
    long = pa.Array.from_buffers(pa.int64(), array.offset + len(array) + 1, [None, ends])
    offsets = pl.DataFrame(pa.RecordBatch.from_arrays([long], ["end"]))["end"].cast(pl.Int32)
    buffers = [validity, offsets.to_arrow().buffers()[1], text]
    return pa.Array.from_buffers(dtype, len(array), buffers, offset=array.offset)


def view_numbers(column: pl.Series) -> memoryview:
    """Return a view of a column of numbers without nulls, as bytes."""
    array = column.to_arrow()
    width = array.type.bit_width // 8
    view = memoryview(array.buffers()[1] or b"").cast("B")
    return view[array.offset * width : (array.offset + len(array)) * width]
