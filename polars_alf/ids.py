"""Identifiers that follow from paths: UUIDs of version 3 (RFC 9562) in a namespace.

A session is named by ``[lab/]subject/date/number``, a dataset by that and its rel_path: unique in
the archive, and the same in every run over the same namespace.
"""

from __future__ import annotations

import hashlib
import uuid

import polars as pl


def make_namespace() -> uuid.UUID:
    """Make a namespace from the system: its clock and network address, as ONE does."""
    return uuid.uuid1()


def expr_uuid3(names: pl.Expr, namespace: uuid.UUID) -> pl.Expr:
    """Return the UUIDs of names.

    Parameters
    ----------
    names
        Strings without nulls.
    namespace
        What the names are unique in.

    Returns
    -------
    polars.Expr
        Strings, ``str(uuid.uuid3(namespace, name))``.
    """
    return names.map_batches(
        lambda column: _uuid3(column, namespace), return_dtype=pl.String, is_elementwise=True
    )


# RFC 9562: the two highest bits of this hexadecimal digit are 10.
_VARIANT = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}


def _uuid3(names: pl.Series, namespace: uuid.UUID) -> pl.Series:
    # uuid.uuid3 takes four times as long: it makes an object, and hashes the namespace each time.
    # The package polars-hash takes as long as this, and would tie us to its releases of Polars.
    start = hashlib.md5(namespace.bytes, usedforsecurity=False).copy
    texts = []
    for name in names.cast(pl.Binary).to_list():
        digest = start()
        digest.update(name)
        texts.append(digest.hexdigest())
    text = pl.Series(names.name, texts, pl.String)
    return pl.select(
        pl.format(
            "{}-{}-3{}-{}{}-{}",
            text.str.slice(0, 8),
            text.str.slice(8, 4),
            text.str.slice(13, 3),
            text.str.slice(16, 1).replace_strict(_VARIANT, return_dtype=pl.String),
            text.str.slice(17, 3),
            text.str.slice(20, 12),
        ).alias(names.name)
    ).to_series()
