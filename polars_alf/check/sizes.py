"""Objects whose attributes cannot have the same number of rows, by the sizes of their files. Pure.

The attributes of an ALF object have the same number of rows, and a ``.npy`` file is a header and
rows of equal size. The number of rows therefore divides the sizes of the rows of all its
attributes. Two files cannot fit together where one is empty, or too short for a header, and the
other is not, or where even the narrower of the two would have absurdly wide rows. Nothing is
opened, so that files may fit here and yet differ in rows. What is reported is certain where one
program wrote the object, with headers of one size.
"""

from __future__ import annotations

import polars as pl

from polars_alf.alf import grammar
from polars_alf.check.findings import CheckKind, make_findings

_HEADERS = (80, 96, 128)
"""Sizes of the header of a ``.npy`` file, in bytes: NumPy before 1.14, MATLAB, and NumPy now."""

_WIDEST = 32
"""The widest row, in bytes, of the narrower of two attributes: four numbers of 64 bits."""

_PLAINLY_MORE = max(_HEADERS) + _WIDEST * (max(_HEADERS) - min(_HEADERS))
"""Size beside which a file with the size of a header is empty, whatever its header."""

_STEPS = 92
"""Steps after which Euclid's algorithm has ended for numbers below 2^64."""

_OBJECT = ["eid", "session", "folder", "namespace", "object", "timescale", "extra"]

# ALF allows timestamps of two rows for a whole recording.
_FREE_ATTRIBUTES = ("timestamps",)


def find_misfits(files: pl.DataFrame) -> pl.DataFrame:
    """Find files that do not fit the others of their object in the same folder.

    `files` has ``eid``, ``session``, ``rel_path`` and ``file_size``. Of an object's files the one
    that fits with most others is what the misfits are compared with.
    """
    rel_path = pl.col("rel_path")
    parts = (
        files.lazy()
        .filter(rel_path.str.ends_with(".npy"), pl.col("file_size").is_not_null())
        .with_columns(parts=grammar.expr_rel_path_parts(rel_path))
        .select(
            *("eid", "session", "rel_path", "file_size"),
            pl.col("parts").struct.unnest(),
            folder=rel_path.str.extract(r"^(.*)/[^/]*$"),
        )
        .filter(
            pl.col("object").is_not_null(),
            ~pl.col("attribute").is_in(_FREE_ATTRIBUTES),
            pl.len().over(_OBJECT) > 1,
        )
        .select(*_OBJECT, "rel_path", "file_size")
        .with_columns(group=pl.struct(_OBJECT).rank("dense"))
        .collect()
    )
    # Compared with one of them first: where all fit with that, there is nothing to find.
    first = parts.unique("group", keep="first", maintain_order=True)
    odd = _compare(parts, first).filter(~pl.col("fits"))["group"].unique()
    some = parts.filter(pl.col("group").is_in(odd.implode()))
    pairs = _compare(some, some).filter(pl.col("rel_path") != pl.col("rel_path_other"))
    votes = pairs.group_by("group", "rel_path").agg(
        n_fits=pl.col("fits").sum(), is_short=(pl.col("file_size") < min(_HEADERS)).first()
    )
    order = ("group", "is_short", -pl.col("n_fits").cast(pl.Int64), "rel_path")
    best = votes.sort(*order).unique("group", keep="first", maintain_order=True)
    chosen = best.select("group", rel_path_other="rel_path")
    misfits = pairs.join(chosen, on=["group", "rel_path_other"]).filter(~pl.col("fits"))
    other_is_empty = pl.col("file_size_other") <= max(_HEADERS)
    return make_findings(
        CheckKind.MISFIT_SIZE,
        misfits.select(
            *("eid", "session", "rel_path", "file_size"),
            likely="rel_path_other",
            other_size="file_size_other",
            message=pl.when(
                (pl.col("file_size") < min(_HEADERS)) & (pl.col("file_size_other") >= min(_HEADERS))
            )
            .then(pl.lit("it is shorter than the header of such a file"))
            .when((pl.col("file_size") <= max(_HEADERS)) & ~other_is_empty)
            .then(pl.lit("it has no rows, and others of its object have"))
            .when(other_is_empty)
            .then(pl.lit("it has rows, and others of its object have none"))
            .otherwise(pl.lit("it cannot have as many rows as others of its object")),
        ),
    )


def _compare(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Pair files of the same ``group``, and add whether they ``fit`` with some headers."""
    others = right.select("group", "rel_path", "file_size")
    pairs = left.join(others, on="group", suffix="_other")
    sizes = (
        pairs.with_row_index("pair")
        .select("pair", "file_size", "file_size_other")
        .join(pl.DataFrame({"header": _HEADERS}), how="cross")
        .with_columns(
            (pl.col(size).cast(pl.Int64) - pl.col("header")).clip(lower_bound=0)
            for size in ("file_size", "file_size_other")
        )
    )
    fits = sizes.with_columns(
        divisor=_find_divisors(sizes["file_size"], sizes["file_size_other"]),
        narrow=pl.min_horizontal("file_size", "file_size_other"),
    ).select("pair", fits=pl.col("narrow") <= _WIDEST * pl.col("divisor"))
    agreed = fits.group_by("pair").agg(pl.col("fits").any()).sort("pair")
    is_empty = pl.col("file_size").is_in(_HEADERS) & (pl.col("file_size_other") > _PLAINLY_MORE)
    other_is_empty = pl.col("file_size_other").is_in(_HEADERS) & (
        pl.col("file_size") > _PLAINLY_MORE
    )
    is_short, other_is_short = (
        pl.col(size) < min(_HEADERS) for size in ("file_size", "file_size_other")
    )
    return pairs.with_columns(agreed["fits"]).with_columns(
        pl.col("fits") & ~is_empty & ~other_is_empty & (is_short == other_is_short)
    )


def _find_divisors(left: pl.Series, right: pl.Series) -> pl.Series:
    """Return the greatest common divisors of numbers, by Euclid; that of 0 and n is n."""
    larger, smaller = left, right
    for _ in range(_STEPS):
        if not (smaller > 0).any():
            break
        frame = pl.DataFrame({"larger": larger, "smaller": smaller}).select(
            larger=pl.when(pl.col("smaller") > 0).then("smaller").otherwise("larger"),
            smaller=pl.when(pl.col("smaller") > 0)
            .then(pl.col("larger") % pl.col("smaller"))
            .otherwise(0),
        )
        larger, smaller = frame["larger"], frame["smaller"]
    return larger
