"""The snapshot: what an index saw of each file and directory, kept for the next one.

A snapshot is a folder of our state with a folder for each shard of the run that made it. It tells
which files changed since, and which digests still hold: those of files whose size, time of
modification and inode are the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl
import pyarrow as pa

from polars_alf.arrow import to_arrow_array
from polars_alf.errors import TableError
from polars_alf.index.changes import (
    CHANGES,
    DIGESTS,
    DOUBTS,
    KNOWN,
    list_changes,
    mark_unknown,
)
from polars_alf.index.shard_files import (
    ShardReader,
    ShardWriter,
    read_checked,
    read_contents,
    read_folders,
    write_checked,
)
from polars_alf.schema import ENTRIES, LISTINGS, TABLES, polars_schema
from polars_alf.tables.contract import read_header
from polars_alf.tables.files import STATE_DIR, changes_path, replace_file, table_path
from polars_alf.walk.entries import Entries
from polars_alf.walk.shards import Shard
from polars_alf.walk.sources import AnyWalker
from polars_alf.walk.unchanged import are_unchanged
from polars_alf.walk.walk import Survey

SNAPSHOT = re.compile("snapshot-[0-9a-f]{32}")

_ENTRIES = "entries.arrow"
_LISTINGS = "listings.arrow"
_SURVEY = "survey.arrow"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)

_logger = logging.getLogger(__name__)


def list_snapshots(folder: Path) -> list[str]:
    """Return the names of the snapshots in the state of a folder of tables."""
    paths = (folder / STATE_DIR).glob("snapshot-*")
    return [path.name for path in paths if SNAPSHOT.fullmatch(path.name)]


def clear_changes(folder: Path) -> None:
    """Leave no changes of an earlier index. Only for who holds the state's lock."""
    with replace_file(changes_path(folder)) as file, pa.ipc.new_file(file, CHANGES):
        pass


class Snapshot:
    """The snapshot of the last index of some tables.

    Attributes
    ----------
    path : pathlib.Path
        Its folder.
    folders : polars.DataFrame
        ``shard``, the name of each shard, and ``folder``, its dated folders in their order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders = pl.DataFrame(
            list(read_folders(path)),
            schema={"shard": pl.String, "folder": pl.List(pl.String)},
            orient="row",
        ).explode("folder")

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return the snapshot that belongs to the tables of a folder, None where there is none."""
        names = list_snapshots(folder)
        return cls(folder / STATE_DIR / names[0]) if names else None

    @property
    def generation(self) -> str:
        """Name of the run that made it, and its tables."""
        return self.path.name.removeprefix("snapshot-")

    def is_of(self, folder: Path) -> bool:
        """Whether it belongs to the tables that are in a folder."""
        try:
            headers = [read_header(table_path(folder, name)) for name in TABLES]
        except TableError:
            return False
        return all(header.generation == self.generation for header in headers)

    def has_folders(self, folders: pl.Series) -> bool:
        """Whether it has these dated folders, and no others."""
        return folders.sort().equals(self.folders["folder"].sort())

    def has_shards(self, shards: Path) -> bool:
        """Whether a run has made these shards once more, all of them, with the same rows.

        A survey that is damaged here, and not there, is reason enough to take those of the run.
        """
        contents = read_contents(self.path)
        has_all = {*contents} == {*self.folders["shard"]}
        has_survey = self.read_survey() is not None or not (shards / _SURVEY).exists()
        return has_all and has_survey and contents == read_contents(shards)

    def read_survey(self) -> pl.DataFrame | None:
        """Return LISTINGS of the directories above the dates, None where they are not known."""
        try:
            return _decode(read_checked(self.path / _SURVEY))
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            _logger.info("%s has no survey: %s", self.path, error)
            return None

    def list_checks(self, *, is_trusted: bool = False) -> list[tuple[Shard, CheckShard]]:
        """Return its shards, each with the check whether it is as it was.

        `is_trusted` is whether all that has a fingerprint is known to be so.
        """
        groups = self.folders.group_by("shard", maintain_order=True).agg("folder")["folder"]
        visit = CheckShard(self.path, is_trusted=is_trusted)
        return [(Shard.pack(index, folders), visit) for index, folders in enumerate(groups)]

    def match_shards(self, shards: Sequence[Shard]) -> dict[int, tuple[str, ...]]:
        """Return, by the index of a run's shards, the names of its own that share folders."""
        folders = pl.DataFrame(
            [(shard.index, shard.folders) for shard in shards],
            schema={"index": pl.Int64, "folder": pl.List(pl.String)},
            orient="row",
        )
        found = (
            folders.explode("folder")
            .join(self.folders, on="folder")
            .group_by("index")
            .agg(pl.col("shard").unique(maintain_order=True))
        )
        return {index: tuple(names) for index, names in found.iter_rows()}

    def list_gone(self, folders: pl.Series, issues: pa.Table) -> pl.DataFrame:
        """Return CHANGES of the files in dated folders that are not there any more.

        Parameters
        ----------
        folders
            Dated folders that are there.
        issues
            ISSUES of their survey.
        """
        gone = self.folders.join(folders.to_frame("folder"), on="folder", how="anti")
        nothing = mark_unknown(Entries.join([]))
        changes = [polars_schema(CHANGES).to_frame()]
        for (shard,), rows in gone.group_by("shard", maintain_order=True):
            known, _ = read_known(self.path, [str(shard)], rows["folder"].to_list())
            changes.append(list_changes(known, nothing, issues))
        return pl.concat(changes)


@dataclass(frozen=True, slots=True)
class CheckShard:
    """The check of one shard of a snapshot by the fingerprints of its directories."""

    snapshot: Path
    is_trusted: bool = False

    def __call__(self, walker: AnyWalker, shard: Shard) -> str | None:
        """Return the name of a shard that is as it was, else None."""
        try:
            listings = _read(ShardReader(self.snapshot / shard.name), _LISTINGS)
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError):
            return None
        if self.is_trusted:
            return None if listings["mtime_ns"].has_nulls() else shard.name
        return (
            shard.name
            if are_unchanged(walker.root, walker.options, listings, walker.pacer)
            else None
        )


def write_seen(
    writer: ShardWriter,
    entries: Sequence[pa.RecordBatch],
    listings: pa.Table,
    digests: pl.DataFrame,
    sure_ns: int,
) -> str:
    """Write the part of a snapshot that one shard makes; return a checksum, as of `ShardSummary`.

    Parameters
    ----------
    writer
        Of the shard.
    entries, listings
        ENTRIES and LISTINGS.
    digests
        Digests of each file, '' where they are not known, and their doubts up to now.
    sure_ns
        Time in ns since the epoch. What changed later may change once more without a sign, so its
        digests are ``is_young``, and its fingerprint is left out.
    """
    table = pa.Table.from_batches(entries, schema=ENTRIES)
    is_young = pl.DataFrame(table.select(["mtime_ns"])).to_series() >= sure_ns
    is_young |= digests["is_young"]
    # A column that says nothing of any file is left out.
    for column in digests.select(DIGESTS):
        if (column != "").any():
            table = table.append_column(column.name, to_arrow_array(column, pa.string()))
    for name, doubt in {"is_young": is_young, "is_moved": digests["is_moved"]}.items():
        if doubt.any():
            table = table.append_column(name, to_arrow_array(doubt, pa.bool_()))
    writer.write(_ENTRIES, _encode(table))
    listings = _doubt_young(listings, sure_ns)
    writer.write(_LISTINGS, _encode(listings))
    # A walk lists in the order in which the storage answers.
    return (
        f"{pl.DataFrame(listings).hash_rows().sum():x}-{is_young.sum()}-{digests['is_moved'].sum()}"
    )


def write_survey(shards: Path, survey: Survey, clock_ns: int) -> None:
    """Write the part of a snapshot that lies above the dates, unless that is there already."""
    if survey.listings is not None:
        listings = _doubt_young(survey.listings, survey.begun_ns - clock_ns)
        write_checked(shards / _SURVEY, _encode(listings))


def _doubt_young(listings: pa.Table, sure_ns: int) -> pa.Table:
    """Return LISTINGS without the fingerprints of what changed after a time."""
    frame = pl.DataFrame(listings)
    is_old = (frame["mtime_ns"] < sure_ns) & (frame["ctime_ns"] < sure_ns)
    if is_old.all():
        return listings
    fingerprint = pl.when(is_old).then(pl.col("mtime_ns", "ctime_ns", "inode"))
    return frame.with_columns(fingerprint).to_arrow()


def read_known(
    snapshot: Path, shards: Sequence[str], folders: Sequence[str]
) -> tuple[Entries, pl.DataFrame]:
    """Read what a snapshot has of some dated folders.

    Parameters
    ----------
    snapshot
        Folder of the snapshot.
    shards
        Names of the shards with these dated folders.
    folders
        Paths relative to the root.

    Returns
    -------
    entries : Entries
        Files in the order of the walk, with the columns KNOWN.
    listings : polars.DataFrame
        LISTINGS.
    """
    parts, listings = [], [polars_schema(LISTINGS).to_frame()]
    for shard in shards:
        try:
            reader = ShardReader(snapshot / shard)
            listed = _keep_below(_read(reader, _LISTINGS), folders)
            entries = _read_entries(reader)
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            _logger.warning("%s is damaged, so its files count as new: %s", snapshot / shard, error)
            continue
        listings.append(listed.cast(polars_schema(LISTINGS)))
        is_wanted = entries.directories.is_in(listed["directory"].implode())
        if not is_wanted.all():
            wanted = entries.files.filter(is_wanted.gather(entries.files["directory"]))
            entries = entries._replace(files=wanted)
        parts.append(entries)
    return Entries.concat(parts, KNOWN), pl.concat(listings)


def _read_entries(reader: ShardReader) -> Entries:
    table = pa.ipc.open_stream(reader.read(_ENTRIES)).read_all()
    if not ENTRIES.equals(pa.schema([*table.schema][: len(ENTRIES)])):
        raise pa.ArrowInvalid(f"it has other columns: {table.schema.names}")
    entries = Entries.join(table.to_batches())
    files = entries.files
    nothing = {**dict.fromkeys(DIGESTS, pl.lit("")), **dict.fromkeys(DOUBTS, pl.lit(value=False))}
    missing = {name: value for name, value in nothing.items() if name not in files.columns}
    return entries._replace(files=files.with_columns(**missing).select(KNOWN.names()).cast(KNOWN))


def _keep_below(directories: pl.DataFrame, folders: Sequence[str]) -> pl.DataFrame:
    """Keep the directories that lie in one of some folders, none of which lies in another."""
    if "" in folders:
        return directories
    slash = pl.lit("/")
    # The folder that a path lies in is the last that sorts before it.
    found = (
        directories.with_columns(key=pl.concat_str("directory", slash))
        .sort("key")
        .join_asof(
            pl.DataFrame({"folder": folders}, schema={"folder": pl.String})
            .with_columns(key=pl.concat_str("folder", slash))
            .sort("key"),
            on="key",
            coalesce=False,
            check_sortedness=False,
        )
    )
    inside = pl.col("key").str.starts_with(pl.col("key_right"))
    return found.filter(inside).select(directories.columns)


def _encode(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    # A stream, as dictionaries may differ from batch to batch.
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as stream:
        stream.write_table(table)
    return memoryview(sink.getvalue())


def _read(reader: ShardReader, name: str) -> pl.DataFrame:
    return _decode(reader.read(name))


def _decode(content: bytes) -> pl.DataFrame:
    return pl.DataFrame(pa.ipc.open_stream(content).read_all())
