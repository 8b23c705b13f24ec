"""Rows of DATASETS whose ids are in the names of their files. Pure."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import polars as pl

from polars_alf.alf.ids import make_ids, split_ids
from polars_alf.alf.uuid_names import split_names
from polars_alf.tables.rows import PlacedFiles, encode, place_files, sort_by_id
from polars_alf.walk.entries import Entries

IS_NAMED = "is_named"
"""The column that tells whether the id of a dataset is from the name of its file."""


class NamedDatasets(NamedTuple):
    """Rows of datasets, and the files whose names are in the way of each other.

    Parameters
    ----------
    placed
        As of `tables.rows.assemble_datasets`, with ``is_named``: whether the id is from the name.
    skipped
        ``row`` of files that share their path with another, and ``kept``, the row of that.
    repeated
        ``row`` of files whose UUID another file of the session has, too.
    odd
        ``row`` of files whose names have what is nearly a UUID.
    """

    placed: PlacedFiles
    skipped: pl.DataFrame
    repeated: pl.DataFrame
    odd: pl.DataFrame


def assemble_named_datasets(
    entries: Entries, directories: pl.DataFrame, sessions: pl.DataFrame, *, namespace: UUID
) -> NamedDatasets:
    """Return the rows of datasets as `assemble_datasets` does, with ids from the names of files.

    These UUIDs are no part of the rel_path. Of files with the same one, that whose UUID sorts first
    is kept, and one without a UUID only where it is alone. Files without one, and those of a
    session that have the same, have the ids that follow from their paths.
    """
    split = split_names(entries.names)
    plain, plain_codes = encode(split["plain"])
    names = entries.files["name"]
    files, rel_paths = place_files(entries, directories, sessions, plain, plain_codes.gather(names))
    named = split.select("is_odd", **split_ids(pl.col("uuid"))).select(
        pl.all().gather(names.gather(files["row"]))
    )
    files = files.hstack(named)
    files, skipped = _drop_skipped(files)
    is_named = pl.col("high").is_not_null()
    repeated = files.clear().select("row")
    # One half at first, as it is very seldom that any are equal.
    if files.select((is_named & pl.col("low").is_duplicated()).any()).item():
        is_repeated = is_named & pl.struct("rank", "high", "low").is_duplicated()
        repeated = files.filter(is_repeated).select("row")
        is_named &= ~pl.col("row").is_in(repeated["row"].implode())
    files = files.with_columns(is_named=is_named)
    others = files.filter(~pl.col(IS_NAMED))
    if len(others):
        ids = make_ids(namespace, others["rank"], sessions["name"], others["path"], rel_paths)
        files = pl.concat([files.filter(IS_NAMED), others.with_columns(ids)])
    odd = files.filter("is_odd").select("row")
    placed = PlacedFiles(sort_by_id(files.drop("is_odd")), rel_paths)
    return NamedDatasets(placed, skipped, repeated, odd)


def _drop_skipped(files: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return one of the files that share a path, and ``row`` and ``kept`` of the others."""
    place = pl.col("rank").cast(pl.UInt64) * (2**32) + pl.col("path")
    shared = files.filter(place.is_duplicated())
    if shared.is_empty():
        return files, shared.select("row", kept="row")
    first = pl.col("row").sort_by("high", "low", nulls_last=True).first().over("rank", "path")
    skipped = shared.select("row", kept=first).filter(pl.col("row") != pl.col("kept"))
    return files.join(skipped, on="row", how="anti", maintain_order="left"), skipped
