"""The findings of a check: their columns and kinds, and how they are put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.schema import _field, polars_schema

CHECKS = pa.schema(
    [
        _field("kind", pa.string(), "a CheckKind"),
        _field("eid", pa.string(), "id of the session, null where none is known"),
        _field("session", pa.string(), "[lab/Subjects/]subject/date/number of the session"),
        _field("rel_path", pa.string(), "path in the session, null for what is about all of it"),
        _field("likely", pa.string(), "path that is meant, or that of the file it was compared to"),
        _field("file_size", pa.uint64(), "size of the file", unit="bytes"),
        _field("other_size", pa.uint64(), "size that it was compared to", unit="bytes"),
        _field("message", pa.string(), "what was found"),
    ]
)
"""One row per finding of a check, sorted by session, path and kind."""


class CheckKind(StrEnum):
    """The kinds of findings."""

    MISSING_DATASET = "missing_dataset"
    """The template has it, and the session does not; ``rel_path`` is what the template says."""
    MISSPELT_NAME = "misspelt_name"
    """Nearly the name of a dataset; ``likely`` is the spelling that is meant."""
    MISFIT_SIZE = "misfit_size"
    """It cannot have as many rows as ``likely``, an attribute of the same object."""
    NOT_ON_DISK = "not_on_disk"
    """Registered in the database's tables, and not there."""
    NOT_REGISTERED = "not_registered"
    """There, and not registered in the database's tables."""
    OTHER_SIZE = "other_size"
    """Registered in the database's tables with another size."""
    UNREADABLE = "unreadable"
    """A path of the archive that could not be read: what is in it is neither there nor missing."""


def make_findings(kind: CheckKind, rows: pl.DataFrame) -> pl.DataFrame:
    """Return CHECKS of one kind; columns that rows do not have are null."""
    schema = polars_schema(CHECKS)
    found = rows.with_columns(kind=pl.lit(kind.value))
    return pl.concat([schema.to_frame(), found], how="diagonal_relaxed").select(schema.names())


def join_findings(findings: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put findings together, in the order of sessions and paths."""
    schema = polars_schema(CHECKS)
    rows = pl.concat([schema.to_frame(), *findings], how="diagonal_relaxed").cast(schema)
    return rows.sort("session", "rel_path", "kind", "likely", nulls_last=True, maintain_order=True)
