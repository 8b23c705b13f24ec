"""Keys as the service of S3 itself has them: any text, also one that is no path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from polars_alf.bucket.service import Service, open_client

KEYS = pl.Schema(
    {
        "path": pl.String(),
        "last_modified": pl.Datetime("us", "UTC"),
        "size": pl.UInt64(),
        "e_tag": pl.String(),
        "version": pl.String(),
    }
)
"""The columns of a list of objects; paths are relative to the bucket."""


@dataclass(slots=True)
class Level:
    """The content of one folder, without what lies deeper.

    Parameters
    ----------
    folders
        Names of the folders in it.
    keys
        Objects in it (KEYS).
    odd
        Keys that are no paths, relative to the bucket; a part of one stands for all that begin so.
    """

    folders: list[str]
    keys: pl.DataFrame
    odd: list[str]


@dataclass(slots=True)
class RawPage:
    """Keys that follow each other.

    Parameters
    ----------
    keys
        Objects (KEYS) whose keys are paths.
    odd
        Keys that are none.
    last
        The last of all.
    is_last
        Whether none follows.
    """

    keys: pl.DataFrame
    odd: list[str]
    last: str
    is_last: bool


def is_plain(key: str) -> bool:
    """Whether a key is a path, perhaps with a slash at its end."""
    names = key.removesuffix("/").split("/")
    return all(
        name not in ("", ".", "..") and not any(sign < " " or sign == "\x7f" for sign in name)
        for name in names
    )


def read_raw_page(service: Service, prefix: str, after: str) -> RawPage:
    """Read the keys in a folder that come after a key."""
    options = {"StartAfter": after} if after else {}
    answer = open_client(service).list_objects_v2(
        Bucket=service.address.bucket, Prefix=f"{prefix}/" if prefix else "", **options
    )
    objects = answer.get("Contents", [])
    return RawPage(
        _make_frame(found for found in objects if is_plain(found["Key"])),
        [found["Key"] for found in objects if not is_plain(found["Key"])],
        objects[-1]["Key"] if objects else after,
        not (answer.get("IsTruncated") and objects),
    )


def read_raw_level(service: Service, path: str) -> Level:
    """Read what lies directly in a folder."""
    pages = open_client(service).get_paginator("list_objects_v2")
    folders: list[str] = []
    objects: list[dict[str, Any]] = []
    for page in pages.paginate(
        Bucket=service.address.bucket, Prefix=f"{path}/" if path else "", Delimiter="/"
    ):
        folders += (found["Prefix"] for found in page.get("CommonPrefixes", []))
        objects += page.get("Contents", [])
    own = [f"{path}/"]
    return Level(
        [key[:-1].rpartition("/")[2] for key in folders if is_plain(key)],
        _make_frame(o for o in objects if is_plain(o["Key"]) and o["Key"] not in own),
        [key for key in (*folders, *(o["Key"] for o in objects)) if not is_plain(key)],
    )


def _make_frame(objects: Iterable[dict[str, Any]]) -> pl.DataFrame:
    rows = [
        (found["Key"].removesuffix("/"), found["LastModified"], found["Size"], found["ETag"], None)
        for found in objects
    ]
    return pl.DataFrame(rows, KEYS, orient="row")
