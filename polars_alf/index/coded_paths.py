"""The rel_paths of a shard's rows, which repeat in every session, as codes of texts.

A shard's file has each text once, and a code of it in each row; the texts of all shards are in
memory while their rows are merged. Where they hardly repeat, as where each name has a UUID, rows
have texts, and nothing of them is in memory before they are.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
import pyarrow as pa

from polars_alf.arrow import to_arrow_array

_MOST_TEXTS = 512
"""Texts of a shard beyond which its rows have texts, lest those of all shards take much memory: if
no two share one, the 14,000 shards of a billion files have 7 million, of some 0.2 kB."""

_ROWS_PER_TEXT = 4
"""Rows of a shard for each text, on average, from which on its rows have codes."""

_CODE = "path"


def encode_paths(codes: pl.Series, texts: pl.Series) -> pa.Array:
    """Return a column of rel_paths for the file of a shard: a dictionary, or texts."""
    if len(texts) > min(_MOST_TEXTS, len(codes) // _ROWS_PER_TEXT):
        # As all other texts of a shard are, and those of a run that an earlier version began.
        return texts.gather(codes).to_arrow(compat_level=pl.CompatLevel.oldest())
    positions = to_arrow_array(codes.cast(pl.Int32), pa.int32())
    return pa.DictionaryArray.from_arrays(positions, to_arrow_array(texts, pa.string()))


def split_paths(rows: pa.Table) -> pa.Table:
    """Return the rows of a shard with the codes alone, where they have codes."""
    position = rows.schema.get_field_index("rel_path")
    if not pa.types.is_dictionary(rows.schema.field(position).type):
        return rows
    codes = [chunk.indices for chunk in rows.column(position).chunks]
    return rows.set_column(position, _CODE, pa.chunked_array(codes, pa.int32()))


class CodedPaths:
    """The distinct rel_paths of all shards whose rows have codes.

    In each row of these there is either a code or, from shards where texts hardly repeat, a text.

    Parameters
    ----------
    shards
        The rows of each shard, as they are on disk.
    """

    def __init__(self, shards: Iterable[pa.Table]) -> None:
        known: dict[str, int] = {}
        starts, codes = list[int](), list[int]()
        for rows in shards:
            starts.append(len(codes))
            codes += (known.setdefault(text, len(known)) for text in _list_texts(rows))
        self._dtype = pl.Enum(pl.Series([*known], dtype=pl.String))
        self._starts = pl.Series(starts, dtype=pl.UInt32)
        self._codes = pl.Series(codes, dtype=pl.UInt32)

    def find_starts(self, shards: pl.Series) -> pl.Series:
        """Return where the codes of some shards, given by their positions, begin."""
        return self._starts.gather(shards)

    def decode(self, rows: pl.DataFrame, starts: pl.Series) -> pl.DataFrame:
        """Return rows with ``rel_path``: an Enum where all have codes, else texts.

        `starts` are where the codes of the shard of each row begin.
        """
        if _CODE not in rows.columns:
            return rows
        paths = self._codes.gather(starts + rows[_CODE]).cat.to(self._dtype).alias("rel_path")
        if "rel_path" in rows.columns:
            paths = rows["rel_path"].fill_null(paths.cast(pl.String))
        return rows.drop(_CODE).with_columns(paths)


def _list_texts(rows: pa.Table) -> list[str]:
    column = rows.column("rel_path")
    if not pa.types.is_dictionary(column.type):
        return []
    texts: list[str] = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    return texts
