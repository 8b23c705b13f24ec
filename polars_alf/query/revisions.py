"""The default revision of each dataset, by the rule of ONE's readers."""

from __future__ import annotations

import polars as pl

from polars_alf.query.columns import Frame

DEFAULT_REVISION = "default_revision"
"""Column that tells whether a row is the revision to load where none is asked for."""

_FOLDER = r"#.*#/"


def with_default_revisions(datasets: Frame, *, keep: bool = True) -> Frame:
    """Add ``default_revision``: which of a dataset's revisions ONE loads where none is asked for.

    Parameters
    ----------
    datasets
        With ``eid`` and ``rel_path``, all revisions of a dataset among them.
    keep
        Whether a choice that is there stays: where exactly one revision of a dataset is True.

    Returns
    -------
    polars.DataFrame or polars.LazyFrame
        The datasets, in their order and as the kind that they came in, with the column in its
        place or as the last one: Boolean without nulls. The rows of one session that differ only
        in the folder ``#revision#/`` are one dataset. Its default is the revision that comes last
        in the order of characters, and comes after none.
    """
    group = [pl.col("eid"), pl.col("rel_path").str.replace_all(_FOLDER, "")]
    revision = pl.col("rel_path").str.extract(r"#(.*)#/").fill_null("")
    n_revisions = pl.len().over(group)
    default = (n_revisions == 1) | (revision.rank("ordinal").over(group) == n_revisions)
    known = datasets.collect_schema().get(DEFAULT_REVISION)
    if keep and known is not None and (known == pl.Boolean or known.is_numeric()):
        kept = pl.col(DEFAULT_REVISION).cast(pl.Boolean).fill_null(value=False)
        default = pl.when(kept.sum().over(group) == 1).then(kept).otherwise(default)
    return datasets.with_columns(default.alias(DEFAULT_REVISION))
