"""Identifiers that follow from paths: UUIDs of version 3 (RFC 9562) in a namespace.

A session is named by ``[lab/]subject/date/number``, a dataset by that and its rel_path: unique in
the archive, and the same in every run over the same namespace.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from uuid import UUID

import polars as pl

from polars_alf.errors import NamespaceConflictError, OptionError


def make_namespace() -> UUID:
    """Make a namespace from the system's clock and network address, as ONE does."""
    return uuid.uuid1()


def parse_namespace(namespace: UUID | str | None) -> UUID | None:
    """Return the namespace for a UUID, its text, or a name; OptionError for anything but None.

    A name, such as that of a site, becomes the UUID that RFC 9562 gives to a domain name.
    """
    if namespace is None or isinstance(namespace, UUID):
        return namespace
    if not isinstance(namespace, str) or not namespace.strip():
        raise OptionError(f"the namespace {namespace!r} is no name; give a UUID or a name")
    try:
        return UUID(namespace)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_DNS, namespace)


def check_namespace(given: UUID | None, found: UUID | None, folder: Path) -> None:
    """Raise NamespaceConflictError for a namespace that would change the ids of a folder's tables.

    `given` is what the caller wants, `found` what the tables in the folder were made with.
    """
    if given and found and given != found:
        raise NamespaceConflictError(
            f"the namespace {given} would change the id of every session and dataset: the tables "
            f"in {folder} were made with {found}; leave the namespace out, or give another "
            "folder for the tables"
        )


def expr_uuid3(names: pl.Expr, namespace: UUID) -> pl.Expr:
    """Return ``str(uuid.uuid3(namespace, name))`` of names, a String column without nulls."""
    return names.map_batches(
        lambda column: _uuid3(column, namespace), return_dtype=pl.String, is_elementwise=True
    )


def expr_uuid_text(octets: pl.Expr) -> pl.Expr:
    """Return ``str(uuid.UUID(bytes=octets))`` of 16 bytes, a Binary column; null where it is."""
    digits = octets.bin.encode("hex")
    parts = [digits.str.slice(*part) for part in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(parts, separator="-")


# RFC 9562: the two highest bits of this hexadecimal digit are 10.
_VARIANT = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}


def _uuid3(names: pl.Series, namespace: UUID) -> pl.Series:
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
