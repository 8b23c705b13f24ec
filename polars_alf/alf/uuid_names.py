"""UUIDs in the names of files: ``spikes.times.UUID.npy``, as servers name datasets.

The UUID is the part before the extension, spelt as `grammar.is_uuid` takes it. A name is that of a
dataset if and only if it is one without its UUID, which has hyphens and so can only be an extra
part.
"""

from __future__ import annotations

import polars as pl

from polars_alf.alf.grammar import UUID_LENGTH, UUID_PATTERN, expr_is_uuid

_TEXT = rf"\.({UUID_PATTERN})(\.[^./]+)$"

# What a person takes for a UUID, and ONE does not: upper-case, of another version, or misspelt.
_ALMOST = r"(?i)^(?:[0-9a-f]{6,10}(?:-[0-9a-f]{3,5}){3}-[0-9a-f]{10,14}|[0-9a-f]{32})$"


def expr_without_uuid(path: pl.Expr) -> pl.Expr:
    """Return names of files, or paths that end in them, without the UUID."""
    return path.str.replace(_TEXT, "$2")


def expr_with_uuid(path: pl.Expr, uuid: pl.Expr) -> pl.Expr:
    """Return paths whose names have a UUID before their extension, where `uuid` is not null."""
    extension = path.str.extract(r"(\.[^./]*)$").fill_null("")
    named = pl.concat_str(path.str.strip_suffix(extension), pl.lit("."), uuid, extension)
    return pl.coalesce(named, path)


def expr_uuid(path: pl.Expr) -> pl.Expr:
    """Return the UUID in the name that a path ends in, null where there is none."""
    return path.str.extract(_TEXT)


def split_names(names: pl.Series) -> pl.DataFrame:
    """Return names of datasets without their UUIDs.

    The columns are ``plain``, the name without the UUID; ``uuid``, null where there is none; and
    ``is_odd``, whether there is a part in its place that is nearly one.
    """
    # By slices: ten times as fast as by the groups of a pattern, where every name is another.
    name, uuid = pl.col("name"), pl.col("uuid")
    end = pl.col("end").cast(pl.Int64)
    n_chars = name.str.len_chars().cast(pl.Int64)
    return (
        names.to_frame("name")
        .with_columns(pieces=name.str.split("."))
        .with_columns(end=pl.col("pieces").list.last().str.len_chars())
        .with_columns(uuid=pl.col("pieces").list.get(-2, null_on_oob=True))
        .with_columns(is_uuid=expr_is_uuid(uuid).fill_null(value=False))
        .select(
            plain=pl.when("is_uuid")
            .then(
                pl.concat_str(
                    name.str.slice(0, n_chars - end - UUID_LENGTH - 1),
                    name.str.slice(n_chars - end),
                )
            )
            .otherwise(name),
            # The pattern is slow, and most names have a UUID: they are null for it.
            is_odd=pl.when(~pl.col("is_uuid"))
            .then(uuid)
            .str.contains(_ALMOST)
            .fill_null(value=False),
            uuid=pl.when("is_uuid").then(uuid),
        )
    )
