"""What an index saw of each file, kept for the next one.

A snapshot is a folder of our state with a folder for each shard of the run that made it. It tells
which files changed since, and which digests still hold. A digest is trusted as long as size, time
of modification and inode of its file are the same.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

import polars as pl
import pyarrow as pa

from polars_alf.arrow import to_arrow_array
from polars_alf.errors import TableError
from polars_alf.schema import (
    DIGEST_COLUMNS,
    ENTRIES,
    GRAIN_NS,
    HIDING,
    LISTINGS,
    TABLES,
    _field,
    polars_schema,
)
from polars_alf.tables.contract import read_header
from polars_alf.tables.files import STATE_DIR, changes_path, replace_file, table_path
from polars_alf.walk.shard_files import is_whole, read_units
from polars_alf.walk.shards import Shard

_logger = logging.getLogger(__name__)

SNAPSHOT = re.compile("snapshot-[0-9a-f]{32}")

_ENTRIES = "entries.arrow"

_LISTINGS = "listings.arrow"

_KEY = ["directory", "name"]

_STAMP = ["file_size", "mtime_ns", "inode"]

DIGESTS = [*DIGEST_COLUMNS.values()]
"""Columns of digests beside those of ENTRIES."""

_KNOWN = pl.Schema(polars_schema(ENTRIES) | dict.fromkeys(DIGESTS, pl.String()))

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def list_snapshots(folder: Path) -> list[str]:
    """Return the names of the snapshots in the state of a folder of tables."""
    paths = (folder / STATE_DIR).glob("snapshot-*")
    return [path.name for path in paths if SNAPSHOT.fullmatch(path.name)]


def clear_changes(folder: Path) -> None:
    """Leave no changes of an earlier index. Only for who holds the state's lock."""
    with replace_file(changes_path(folder)) as file, pa.ipc.new_file(file, CHANGES):
        pass


class Snapshot:
    """What the last index saw.

    Parameters
    ----------
    path
        Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units = pl.DataFrame(
            list(read_units(path)),
            schema={"shard": pl.String, "unit": pl.List(pl.String)},
            orient="row",
        ).explode("unit")

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return the snapshot that belongs to the tables of a folder, None where there is none."""
        names = list_snapshots(folder)
        return cls(folder / STATE_DIR / names[0]) if names else None

    def is_of(self, folder: Path) -> bool:
        """Tell whether it belongs to the tables that are in a folder."""
        generation = self.path.name.removeprefix("snapshot-")
        try:
            headers = [read_header(table_path(folder, name)) for name in TABLES]
        except TableError:
            return False
        return all(header.generation == generation for header in headers)

    def find_shards(self, shards: Sequence[Shard]) -> dict[int, tuple[str, ...]]:
        """Return the names of the snapshot's shards with the units of a run's, by their index."""
        units = pl.DataFrame(
            [(shard.index, shard.units) for shard in shards],
            schema={"index": pl.Int64, "unit": pl.List(pl.String)},
            orient="row",
        )
        found = (
            units.explode("unit")
            .join(self.units, on="unit")
            .group_by("index")
            .agg(pl.col("shard").unique(maintain_order=True))
        )
        return {index: tuple(names) for index, names in found.iter_rows()}

    def is_unchanged(self, root: str, units: Sequence[str]) -> bool:
        """Tell whether every directory has the times that it had.

        Parameters
        ----------
        root
            The archive.
        units
            Those that it has now.
        """
        if len(units) != len(self.units) or set(units) != set(self.units["unit"]):
            return False
        return all(
            _is_unchanged(root, self.path / shard / _LISTINGS)
            for shard in self.units["shard"].unique(maintain_order=True)
        )

    def list_gone(self, units: Sequence[str], issues: pa.Table) -> pl.DataFrame:
        """Return CHANGES of the files in units that are not there any more.

        Parameters
        ----------
        units
            Those that are.
        issues
            ISSUES of their survey.
        """
        there = pl.DataFrame({"unit": units}, schema={"unit": pl.String})
        gone = self.units.join(there, on="unit", how="anti")
        nothing = _KNOWN.to_frame().with_columns(change=pl.lit(""), previous_size="file_size")
        changes = [polars_schema(CHANGES).to_frame()]
        for (shard,), rows in gone.group_by("shard", maintain_order=True):
            known, _ = read_known(self.path, [str(shard)], rows["unit"].to_list())
            changes.append(list_changes(known, nothing, issues))
        return pl.concat(changes)


def write_entries(
    shard: Path,
    entries: Sequence[pa.RecordBatch],
    listings: pa.Table,
    digests: pl.DataFrame,
    begun_ns: int,
) -> None:
    """Write the part of a snapshot that one shard makes.

    Parameters
    ----------
    shard
        Its folder.
    entries
        ENTRIES.
    listings
        LISTINGS.
    digests
        Of each file, '' where they are not known.
    begun_ns
        When the walk began. What changed since, or just before, may change again within the same
        tick of its file system's clock, so its digests or stamp are left out.
    """
    sure = begun_ns - GRAIN_NS
    table = pa.Table.from_batches(entries, schema=ENTRIES)
    is_sure = pl.DataFrame(table.select(["mtime_ns"])).to_series() < sure
    proven = digests.select(pl.when(is_sure).then(pl.all()).otherwise(pl.lit("")))
    for column in proven:
        table = table.append_column(column.name, to_arrow_array(column, pa.string()))
    _write(shard / _ENTRIES, table)
    is_settled = pl.max_horizontal("mtime_ns", "ctime_ns") < sure
    stamps = pl.when(is_settled).then(pl.col("mtime_ns", "ctime_ns", "inode"))
    _write(shard / _LISTINGS, pl.DataFrame(listings).with_columns(stamps).to_arrow())


def read_known(
    snapshot: Path, shards: Sequence[str], units: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read what a snapshot has of some units.

    Parameters
    ----------
    snapshot
        Its folder.
    shards
        Names of the shards with these units.
    units
        Directories relative to the root.

    Returns
    -------
    entries : polars.DataFrame
        ENTRIES in the order of the walk, names as strings, with the digests.
    listings : polars.DataFrame
        LISTINGS.
    """
    entries, listings = [_KNOWN.to_frame()], [polars_schema(LISTINGS).to_frame()]
    for shard in shards:
        try:
            met = _within(_read(snapshot / shard / _LISTINGS), units)
            files = _read(snapshot / shard / _ENTRIES).select(_KNOWN.names()).cast(_KNOWN)
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            _logger.warning("%s is damaged, so its files count as new: %s", snapshot / shard, error)
            continue
        listings.append(met.cast(polars_schema(LISTINGS)))
        entries.append(files.join(met, on="directory", how="semi", maintain_order="left"))
    return pl.concat(entries), pl.concat(listings)


def compare_entries(known: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
    """Find what an earlier index knew of each file.

    Parameters
    ----------
    known
        Of the snapshot, as `read_known` gives it.
    entries
        ENTRIES as they are now, names as strings.

    Returns
    -------
    polars.DataFrame
        The entries in their order, with ``change`` (null where there is none), ``previous_size``,
        and the digests, '' where they do not hold any more.
    """
    joined = entries.join(known, on=_KEY, how="left", suffix="_known", maintain_order="left")
    is_same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_known") for name in _STAMP)
    is_known = pl.col("hash").is_not_null()
    return joined.select(
        *entries.columns,
        change=pl.when(~is_known)
        .then(pl.lit(str(ChangeKind.ADDED)))
        .when(~is_same)
        .then(pl.lit(str(ChangeKind.CHANGED))),
        previous_size="file_size_known",
        **{name: pl.when(is_same).then(name).otherwise(pl.lit("")) for name in DIGESTS},
    )


def list_changes(known: pl.DataFrame, compared: pl.DataFrame, issues: pa.Table) -> pl.DataFrame:
    """List what is not as the snapshot has it.

    Parameters
    ----------
    known
        Of the snapshot.
    compared
        What `compare_entries` made of it.
    issues
        ISSUES met by the walk: what could not be read is not known to be gone.

    Returns
    -------
    polars.DataFrame
        CHANGES.
    """
    path = pl.concat_str("directory", "name", separator="/").str.strip_prefix("/").alias("path")
    met = compared.filter(pl.col("change").is_not_null()).select(
        path, "change", "file_size", "previous_size"
    )
    missing = known.join(compared, on=_KEY, how="anti", maintain_order="left")
    hidden = _find_hidden(missing, issues)
    gone = missing.select(
        path,
        change=pl.when(pl.col("directory").is_in(hidden) | path.is_in(hidden))
        .then(pl.lit(str(ChangeKind.UNREADABLE)))
        .otherwise(pl.lit(str(ChangeKind.REMOVED))),
        file_size=pl.lit(None, pl.UInt64),
        previous_size="file_size",
    )
    return pl.concat([met, gone]).cast(polars_schema(CHANGES))


def _find_hidden(missing: pl.DataFrame, issues: pa.Table) -> list[str]:
    """Return what of the missing files and their directories lies in what cannot be read."""
    kinds = [str(kind) for kind in HIDING]
    unreadable = set(pl.DataFrame(issues).filter(pl.col("kind").is_in(kinds))["path"])
    if not unreadable:
        return []
    directories = (d for d in missing["directory"].unique() if _above(d) & unreadable)
    return [*directories, *unreadable]


def _above(directory: str) -> set[str]:
    parts = directory.split("/")
    return {".", *("/".join(parts[:n]) for n in range(1, len(parts) + 1))}


def _is_unchanged(root: str, file: Path) -> bool:
    try:
        listings = _read(file)
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError):
        return False
    if listings["mtime_ns"].null_count():
        return False
    columns = ("directory", "mtime_ns", "ctime_ns", "inode")
    stamps = zip(*(listings[column].to_list() for column in columns), strict=True)
    # As `read_stamp` has them but for values beyond 64 bits, which count as changed: this is all
    # that a quick index of an unchanged archive does for each of its directories.
    look, prefix = os.stat, f"{root}/"
    try:
        return all(
            (status := look(prefix + directory)).st_mtime_ns == mtime_ns
            and status.st_ctime_ns == ctime_ns
            and status.st_ino == inode
            for directory, mtime_ns, ctime_ns, inode in stamps
        )
    except OSError:
        return False


def _within(directories: pl.DataFrame, units: Sequence[str]) -> pl.DataFrame:
    """Keep the directories that lie in one of the units, none of which lies in another."""
    if "" in units:
        return directories
    slash = pl.lit("/")
    # The unit that a path lies in is the last that sorts before it.
    found = (
        directories.with_columns(key=pl.concat_str("directory", slash))
        .sort("key")
        .join_asof(
            pl.DataFrame({"unit": units}, schema={"unit": pl.String})
            .with_columns(key=pl.concat_str("unit", slash))
            .sort("key"),
            on="key",
            coalesce=False,
            check_sortedness=False,
        )
    )
    inside = pl.col("key").str.starts_with(pl.col("key_right"))
    return found.filter(inside).select(directories.columns)


def _write(path: Path, table: pa.Table) -> None:
    # A stream, as dictionaries may differ from batch to batch.
    with pa.ipc.new_stream(str(path), table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)


def _read(path: Path) -> pl.DataFrame:
    # Damage to a file of Arrow can end the process that uses its rows.
    if not is_whole(path):
        raise OSError(errno.EIO, "it is not what was written", str(path))
    with path.open("rb") as file:
        return pl.DataFrame(pa.ipc.open_stream(file).read_all())


CHANGES = pa.schema(
    [
        _field("path", pa.string(), "file, relative to the root"),
        _field("change", pa.string(), "a ChangeKind"),
        _field("file_size", pa.uint64(), "size now, null where it is not there", unit="bytes"),
        _field("previous_size", pa.uint64(), "size at the last index, null if new", unit="bytes"),
    ]
)
"""One row per dataset that is not as the last index of the same archive found it."""


class ChangeKind(StrEnum):
    """What became of a dataset since the last index."""

    ADDED = "added"
    CHANGED = "changed"
    """Its size, its time of modification or its inode is another."""
    REMOVED = "removed"
    UNREADABLE = "unreadable"
    """It may be there, but could not be read; see the issues. It is not in the tables."""
