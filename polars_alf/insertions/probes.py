"""Insertions from the probe folders of sessions, and from tables that know more. Pure.

An insertion is a probe in a session; its name is that of the probe's folder, ``probe00``. Its id
follows from the id of the session and its name, unless tables know another one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import expr_uuid3
from polars_alf.schema import INSERTIONS
from polars_alf.tables.foreign import Columns, list_marked, restore_columns

_PROBE = r"(?:^|/)(probe(?:[0-9]+[a-z]?|_[a-zA-Z]+))/"

_NAMESPACE = uuid.UUID("6a3c8a1e-5f0d-5b0a-9d0e-3f5f6f1f7c11")
"""Namespace of the ids of insertions, the same everywhere: ids of sessions differ already."""

_KEY = ["eid", "name"]

_WRITTEN = ["model", "serial"]


def list_probes(datasets: pl.LazyFrame) -> pl.LazyFrame:
    """Return ``eid`` and ``name`` of the probes that sessions have folders for, each once."""
    return datasets.select("eid", name=pl.col("rel_path").str.extract(_PROBE)).drop_nulls().unique()


def make_insertions(
    probes: pl.DataFrame, eids: pl.Series, known: Sequence[pl.DataFrame], foreign: Columns
) -> pl.DataFrame:
    """Return INSERTIONS and the columns that others have added, sorted by eid and id.

    Parameters
    ----------
    probes
        As `list_probes` gives them.
    eids
        All sessions of the tables: other insertions are left out.
    known
        What earlier tables have, the most preferred first: INSERTIONS and `foreign`, whose names
        are marked. An insertion without a folder stays if its id is not ours.
    foreign
        Columns that are not ours.
    """
    columns = [*_WRITTEN, *list_marked(foreign)]
    frames = [
        frame.select(*_KEY, "id", *columns, rank=pl.lit(rank)) for rank, frame in enumerate(known)
    ]
    empty = probes.head(0).with_columns(
        pl.lit(None, pl.String).alias("id"),
        *(pl.lit("").alias(column) for column in _WRITTEN),
        *(
            pl.lit(None, dtype).alias(name)
            for name, dtype in zip(list_marked(foreign), foreign.values(), strict=True)
        ),
        rank=pl.lit(0),
    )
    rows = (
        pl.concat([empty.select(*_KEY, "id", *columns, "rank"), *frames], how="vertical_relaxed")
        .drop_nulls(_KEY)
        .filter(pl.col("eid").is_in(eids.implode()))
        .sort("rank", maintain_order=True)
        .with_columns(own=_expr_id())
    )
    first = rows.group_by(_KEY, maintain_order=True).agg(
        pl.col("id").drop_nulls().first(),
        *(_says(column).drop_nulls().first() for column in columns),
    )
    is_foreign = (pl.col("id") != pl.col("own")).any().over(_KEY)
    kept = rows.filter(is_foreign).select(_KEY).unique()
    names = pl.concat([probes.select(_KEY), kept]).unique()
    found = names.join(first, on=_KEY, how="left").with_columns(own=_expr_id())
    # An id that stands for two insertions tells nothing of either.
    is_clear = (pl.len().over("id") == 1) & pl.col("id").is_not_null()
    return (
        found.with_columns(id=pl.when(is_clear).then("id").otherwise("own"))
        .with_columns(pl.col(column).fill_null("") for column in _WRITTEN)
        .select(*INSERTIONS.names, *restore_columns(foreign))
        .sort("eid", "id")
    )


def _expr_id() -> pl.Expr:
    """Return the id that follows from a session and a name: a UUID if that of the session is."""
    name = pl.concat_str("eid", "name", separator="/")
    is_uuid = grammar.expr_is_uuid(pl.col("eid"))
    return pl.when(is_uuid).then(expr_uuid3(name, _NAMESPACE)).otherwise(name)


def _says(column: str) -> pl.Expr:
    value = pl.col(column)
    return pl.when(value != "").then(value) if column in _WRITTEN else value
