"""The addresses of archives in buckets, as paths that keep what stands before their first name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

from polars_alf.errors import OptionError
from polars_alf.native.twin import CONTROL

SCHEMES = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Schemes of buckets, and the one that tables have for each."""

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")
_DRIVES = frozenset(f"{scheme}:" for scheme in SCHEMES.values())


class Address(PurePosixPath):
    """The address of a bucket, or of a folder in one: ``s3://bucket/folder``.

    Its parts are the scheme with a colon, the bucket, and the names in the bucket.
    """

    __slots__ = ()

    def __str__(self) -> str:
        scheme, *names = self.parts
        return f"{scheme}//{'/'.join(names)}"

    def __fspath__(self) -> str:
        return str(self)

    @property
    def scheme(self) -> str:
        """``s3``, ``gs`` or ``az``."""
        return self.parts[0].removesuffix(":")

    @property
    def bucket(self) -> str:
        """The name of the bucket; that of a container in Azure."""
        return self.parts[1]

    @property
    def folder(self) -> str:
        """The folder in the bucket, "" for the bucket itself."""
        return "/".join(self.parts[2:])


def parse_address(path: str | os.PathLike[str], what: str = "the archive") -> Address | None:
    """Return the address of a bucket, None for the path of a folder.

    Raises
    ------
    OptionError
        It is the address of something else, or of no bucket.
    """
    if isinstance(path, Address):
        return path
    if not isinstance(path, str | os.PathLike):
        return None
    text = os.fspath(path)
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if match is None or (text and Path(text).exists()):
        return None
    scheme = match["scheme"].lower()
    if scheme not in SCHEMES:
        cure = "mount it, for example with rclone, and give the folder"
        if scheme == "file":
            cure = f"give {match['rest'] or '/'}"
        elif scheme in ("http", "https"):
            cure += ", or give s3://BUCKET with --endpoint-url (endpoint_url=…)"
        raise OptionError(
            f"{what} is {hide_secrets(text)!r}, an address that is neither a folder's nor a "
            f"bucket's; {cure}"
        )
    bucket, _, folder = match["rest"].partition("/")
    if "@" in bucket:
        raise OptionError(
            f"{what} has an @ in its address, {hide_secrets(text)!r}; give s3://BUCKET, gs://BUCKET"
            " or az://CONTAINER alone, and keys in the environment or a profile"
        )
    if not _BUCKET.fullmatch(bucket):
        raise OptionError(f"{what} is {text!r}, which names no bucket; give s3://BUCKET/FOLDER")
    names = folder.rstrip("/").split("/") if folder else []
    if any(name in ("", ".", "..") or CONTROL.search(name) for name in names):
        raise OptionError(
            f"{what} is {text!r}, of which no folder is called so: a name in it is empty, '.' or "
            "'..', or has control characters; give a folder of plain names"
        )
    return Address(f"{SCHEMES[scheme]}:", bucket, *names)


def hide_secrets(address: str) -> str:
    """Return an address without what stands before an @, or after a question mark."""
    return re.sub(r"://[^/@]*@", "://…@", address.partition("?")[0])


def is_address(text: str) -> bool:
    """Whether a text that tables have as their origin is the address of a bucket."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and f"{match['scheme']}:" in _DRIVES


def make_location(parts: Sequence[str]) -> PurePath:
    """Return the path of a folder, or the address of one in a bucket, from its parts."""
    return Address(*parts) if parts and parts[0] in _DRIVES else Path(*parts)


def parse_location(text: str) -> PurePath:
    """Return the path, or the address, that a table has as its origin."""
    return Address(text) if is_address(text) else Path(text)
