"""Identifiers that follow from paths: UUIDs of version 3 (RFC 9562) in a namespace.

A session is named by ``[lab/]subject/date/number``, a dataset by that and its rel_path: unique in
the archive, and the same in every run over the same namespace.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable

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
        lambda column: pl.Series(column.name, list(_uuid3_strings(column, namespace)), pl.String),
        return_dtype=pl.String,
        is_elementwise=True,
    )


# RFC 9562: the two highest bits of this hexadecimal digit are 10.
_VARIANT = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}


def _uuid3_strings(names: Iterable[str], namespace: uuid.UUID) -> Iterable[str]:
    # uuid.uuid3 takes five times as long: it makes an object, and hashes the namespace each time.
    start = hashlib.md5(namespace.bytes, usedforsecurity=False).copy
    for name in names:
        digest = start()
        digest.update(name.encode())
        text = digest.hexdigest()
        yield (
            f"{text[:8]}-{text[8:12]}-3{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"
        )
