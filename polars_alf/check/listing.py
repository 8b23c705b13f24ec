"""The files of a shard, and the names beside them that are not ALF: what a check looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator

import polars as pl

from polars_alf.alf.path_columns import expr_below, expr_join
from polars_alf.alf.root import call_within
from polars_alf.alf.uuid_names import expr_without_uuid
from polars_alf.check.parts import FILES
from polars_alf.walk.entries import join_batches
from polars_alf.walk.shards import Shard
from polars_alf.walk.sources import AnyWalker

DIRECTORIES = {"directory": pl.String, "session": pl.String}
"""Columns of the folders of sessions."""


def read_names(walker: AnyWalker, shard: Shard) -> dict[str, pl.DataFrame]:
    """Return the files of a shard in its sessions, and the names of those that are not ALF."""
    entries = join_batches(walker.walk(shard.folders))
    directories = pl.DataFrame(walker.directories())
    within = directories.select(
        "directory", folder="session", collection=expr_below("directory", "session")
    )
    path = expr_join("collection", "name")
    files = entries.join(within, on="directory").select("folder", "file_size", rel_path=path)
    plain = files.with_columns(rel_path=expr_without_uuid(pl.col("rel_path")))
    if not plain.equals(files):
        files = plain.unique(["folder", "rel_path"], keep="first", maintain_order=True)
    listings = pl.DataFrame(walker.listings()).filter(pl.col("n_others") > 0)
    asked = listings.select("directory").join(within, on="directory", how="semi")["directory"]
    named = pl.DataFrame(
        [*_list_names(walker, asked)],
        {"directory": pl.String, "name": pl.String},
        orient="row",
    )
    known = entries.select("directory", pl.col("name").cast(pl.String))
    others = named.join(known, on=["directory", "name"], how="anti").join(within, on="directory")
    return {
        "directories": directories.filter(pl.col("directory") == pl.col("session")).select(
            DIRECTORIES.keys()
        ),
        "files": files.select(FILES.keys()),
        "others": others.select("folder", rel_path=path),
        "issues": pl.DataFrame(walker.issues()),
    }


_CALLS_TO_LIST = 2
"""Calls to the storage to list names: to open a directory, and to read it."""


def _list_names(walker: AnyWalker, directories: pl.Series) -> Iterator[tuple[str, str]]:
    """Yield the files of directories that have others than datasets, which a walk only counts."""
    timeout, exclusion = walker.options.op_timeout, walker.options.exclusion
    for directory in directories:
        path = walker.root.locate(directory)
        walker.pacer.wait(_CALLS_TO_LIST)
        try:
            # TimeoutError is an OSError, too.
            names = call_within(timeout, lambda: _scan(path)) if timeout else _scan(path)  # noqa: B023
        except OSError:  # the walk has reported it, or it has gone since
            continue
        for name in names:
            if not exclusion.leaves_out(directory, name):
                yield directory, name


def _scan(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.name.isprintable() and not entry.is_dir()]
