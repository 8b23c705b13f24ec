"""The default revision of each dataset, by the rule of ONE's readers."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from polars_alf.query.columns import Frame

DEFAULT_REVISION = "default_revision"
"""Column that tells whether a row is the revision to load where none is asked for."""

FOLDER = r"#.*#/"
"""Folders of revisions in a rel_path, as a regular expression."""

_PLAIN = pl.col("rel_path").str.replace_all(FOLDER, "")

_REVISION = pl.col("rel_path").str.extract(r"#(.*)#/").fill_null("")

_IS_REVISED = pl.col("rel_path").str.contains("#", literal=True)

_CHOICE = pl.col(DEFAULT_REVISION).cast(pl.Boolean).fill_null(value=False)


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
    if isinstance(datasets, pl.DataFrame):
        return _add_to_frame(datasets, keep=keep)
    return datasets.with_columns(_expr_default(datasets.collect_schema(), keep=keep))


def _expr_default(schema: Mapping[str, pl.DataType], *, keep: bool) -> pl.Expr:
    group = [pl.col("eid"), _PLAIN]
    n_revisions = pl.len().over(group)
    default = (n_revisions == 1) | (_REVISION.rank("ordinal").over(group) == n_revisions)
    if keep and has_choices(schema):
        default = pl.when(_CHOICE.sum().over(group) == 1).then(_CHOICE).otherwise(default)
    return default.alias(DEFAULT_REVISION)


def _add_to_frame(datasets: pl.DataFrame, *, keep: bool) -> pl.DataFrame:
    """Do the same, where only the few rows that have revisions beside them are compared."""
    keep = keep and has_choices(datasets.schema)
    rows = datasets.select(
        "eid",
        "rel_path",
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        **{"chosen": _CHOICE} if keep else {},
    ).filter(_may_have_others(datasets["rel_path"]))
    paths = rows.select(pl.col("rel_path").unique())
    of_paths = paths.cast(pl.String).select(
        plain=_PLAIN, is_revised=_IS_REVISED, order=_REVISION.rank("dense")
    )
    group = ["eid", "plain"]
    rows = rows.join(paths.hstack(of_paths), on="rel_path", maintain_order="left")
    revised = rows.filter("is_revised").select(group)
    rows = rows.join(revised, on=group, how="semi", nulls_equal=True, maintain_order="left")
    rows = rows.sort("order", maintain_order=True)
    defaults = rows.unique(group, keep="last")
    if keep:
        only_choices = rows.filter("chosen").unique(group, keep="none")
        defaults = pl.concat([defaults, only_choices]).unique(group, keep="last")
    default = pl.repeat(value=True, n=len(datasets), dtype=pl.Boolean, eager=True)
    default = default.scatter(rows["row"], False).scatter(defaults["row"], True)
    return datasets.with_columns(default.alias(DEFAULT_REVISION))


def _may_have_others(paths: pl.Series) -> pl.Series:
    """Return whether each path has a revision, or is one that has revisions somewhere."""
    texts, is_enum = paths, False
    if isinstance(paths.dtype, pl.Enum):
        texts, is_enum = paths.dtype.categories, True
    rows = texts.to_frame("rel_path")
    plain = rows.filter(_IS_REVISED).select(_PLAIN.unique()).to_series()
    found = rows.select(_IS_REVISED | pl.col("rel_path").is_in(plain.implode())).to_series()
    return found.gather(paths.to_physical()) if is_enum else found


def has_choices(schema: Mapping[str, pl.DataType]) -> bool:
    """Whether a table has the column, in a type that can tell choices."""
    dtype = schema.get(DEFAULT_REVISION)
    return dtype is not None and (dtype == pl.Boolean or dtype.is_numeric())


def keep_own_choices(datasets: pl.LazyFrame) -> pl.LazyFrame:
    """Return datasets with ``default_revision`` only where it is not what the rule would choose.

    It is null elsewhere; the column is gone where there is no such choice. Raises Polars' errors.
    """
    if not has_choices(datasets.collect_schema()):
        return datasets
    rows = datasets.select("eid", "rel_path", plain=_PLAIN, revision=_REVISION, choice=_CHOICE)
    # An older one is chosen only where the last one, whose folder has its name, is not.
    refused = pl.col("rel_path").str.contains("#", literal=True) & ~pl.col("choice")
    group = ["eid", "plain"]
    if (some := rows.filter(refused).select(group).unique().collect(engine="streaming")).is_empty():
        return datasets.drop(DEFAULT_REVISION)
    revisions = rows.join(some.lazy(), on=group, how="semi").collect(engine="streaming")
    is_last = pl.col("revision").rank("ordinal").over(group) == pl.len().over(group)
    is_clear = pl.col("choice").sum().over(group) == 1
    chosen = revisions.filter(is_clear & pl.col("choice") & ~is_last).select("eid", "rel_path")
    if chosen.is_empty():
        return datasets.drop(DEFAULT_REVISION)
    own = chosen.unique().lazy().with_columns(pl.lit(value=True).alias(DEFAULT_REVISION))
    plain = datasets.drop(DEFAULT_REVISION)
    return plain.join(own, on=["eid", "rel_path"], how="left", maintain_order="left")
