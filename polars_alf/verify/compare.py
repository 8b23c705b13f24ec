"""The files of an archive against the rows of its tables. Pure: frames in, FINDINGS out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import expr_below, expr_join, find_folder_above, join
from polars_alf.schema import IssueKind, _field, polars_schema
from polars_alf.walk.scan import ArchiveFiles

_UNREADABLE = (IssueKind.UNREADABLE_DIRECTORY, IssueKind.UNREADABLE_FILE)

# The walk did not go there, so it cannot tell what is there.
_NOT_ENTERED = (IssueKind.LINKED_DIRECTORY, IssueKind.LINK_LOOP)

_MD5 = "^[0-9a-f]{32}$"


@dataclass(frozen=True, slots=True)
class Disk:
    """The archive as it is.

    Parameters
    ----------
    listed
        What the walk found.
    located
        Its sessions in the tables, as `locate_sessions` gives them.
    expected
        Where the other sessions of the tables could be, by their id.
    """

    listed: ArchiveFiles
    located: pl.DataFrame
    expected: Mapping[str, list[str]]

    def files(self) -> pl.LazyFrame:
        """Return ``eid`` (null where no table has the session), ``rel_path``, ``path``, size."""
        folders = (
            self.listed.directories.lazy()
            .join(self.located.lazy(), on="session")
            .filter(~pl.col("is_copy"))
            .select("directory", "session", "eid", collection=expr_below("directory", "session"))
        )
        path, rel_path = expr_join("directory", "name"), expr_join("collection", "name")
        return (
            self.listed.entries.lazy()
            .join(folders, on="directory")
            .select("eid", "session", rel_path=rel_path, path=path, disk_size="file_size")
        )


def find_unsafe(datasets: pl.DataFrame) -> pl.DataFrame:
    """Find rows whose path could lead out of their session."""
    return datasets.select(
        "eid",
        "id",
        kind=pl.lit(FindingKind.UNSAFE_PATH.value),
        table=pl.lit("datasets"),
        path="rel_path",
        table_size="file_size",
        message=pl.lit("the path leads out of its session, so it was not looked for"),
    )


def find_missing(
    disk: Disk,
    sessions: pl.DataFrame,
    datasets: pl.DataFrame,
    is_excluded: Callable[[str], bool],
) -> pl.DataFrame:
    """Find sessions and datasets that the walk has not met: missing, or out of its sight."""
    met = disk.located.filter(~pl.col("is_copy")).drop_nulls("eid").select("eid", "session")
    lost_sessions = (
        sessions.select(eid="id")
        .join(met, on="eid", how="anti")
        .select("eid", rel_path=pl.lit(""), table=pl.lit("sessions"))
    )
    lost_datasets = (
        datasets.lazy()
        .filter(pl.col("exists").ne_missing(other=False))
        .join(disk.files().drop_nulls("eid"), on=["eid", "rel_path"], how="anti")
        .select("eid", "id", "rel_path", table_size="file_size", table=pl.lit("datasets"))
        .collect()
    )
    lost = pl.concat([lost_sessions, lost_datasets], how="diagonal").join(met, on="eid", how="left")
    places = lost.with_columns(folder=pl.col("rel_path").str.extract(r"^(.*)/[^/]*$").fill_null(""))
    folders = places.select("eid", "session", "folder").unique()
    hidden = _find_hidden(disk, folders)
    path = pl.concat_str(
        pl.when(pl.col("place") != "").then("place"),
        pl.when(pl.col("rel_path") != "").then("rel_path"),
        separator="/",
        ignore_nulls=True,
    )
    exact = disk.listed.issues.select("path", found="kind", note="message").unique("path")
    findings = (
        places.join(hidden, on=["eid", "session", "folder"], nulls_equal=True)
        .with_columns(path=path)
        .join(exact, on="path", how="left")
    )
    unreadable = pl.col("hidden").is_not_null() | pl.col("found").is_in(
        [*_UNREADABLE, *_NOT_ENTERED]
    )
    findings = findings.with_columns(
        kind=pl.when(unreadable)
        .then(pl.lit(FindingKind.UNREADABLE.value))
        .otherwise(pl.lit(FindingKind.MISSING.value)),
        message=pl.coalesce(
            pl.format("it may be in {}, which was not read", "hidden"),
            "note",
            pl.lit("not on disk"),
        ),
    )
    excluded = [is_excluded(text) for text in findings["path"]]
    return findings.filter(~pl.Series(excluded, dtype=pl.Boolean))


def _find_hidden(disk: Disk, folders: pl.DataFrame) -> pl.DataFrame:
    """Say of folders of sessions where they are, and what hides them.

    Returns
    -------
    polars.DataFrame
        The columns of `folders`; ``place``, the folder of the session; ``hidden``, the folder
        that could not be read, or was not entered, and may hold it; null where there is none.
    """
    kinds = [*_UNREADABLE, *_NOT_ENTERED]
    issues = disk.listed.issues.filter(pl.col("kind").is_in(kinds))
    dark = {"" if path == "." else path for path in issues["path"]}
    rows = []
    for eid, session, folder in folders.rows():
        places = [session] if session is not None else disk.expected.get(eid, [])
        above = (find_folder_above(join(place, folder).rstrip("/"), dark) for place in places)
        hidden = next((found for found in above if found is not None), None)
        rows.append((eid, session, folder, places[0] if places else eid, hidden))
    names = ("eid", "session", "folder", "place", "hidden")
    return pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")


def find_changed(disk: Disk, datasets: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Find datasets whose size is another one.

    Returns
    -------
    changed : polars.DataFrame
        FINDINGS.
    alike : polars.DataFrame
        ``eid``, ``id``, ``path``, ``file_size`` on disk and ``table_hash``, of the others that
        have one.
    n_without_hash : int
        How many others have none, or none that is an MD5.
    """
    both = (
        datasets.lazy()
        .join(disk.files().drop_nulls("eid"), on=["eid", "rel_path"])
        .with_columns(
            differs=pl.col("file_size") != pl.col("disk_size"),
            table_hash=pl.col("hash").str.to_lowercase(),
        )
        .with_columns(pl.when(pl.col("table_hash").str.contains(_MD5)).then("table_hash"))
        .collect()
    )
    changed = both.filter(pl.col("differs")).select(
        "eid",
        "id",
        "path",
        "disk_size",
        kind=pl.lit(FindingKind.SIZE_CHANGED.value),
        table=pl.lit("datasets"),
        table_size="file_size",
        message=pl.lit("its size is not what it was"),
    )
    alike = both.filter(pl.col("differs").ne_missing(other=True)).select(
        "eid", "id", "path", "table_hash", "disk_size", table_size="file_size",
        file_size="disk_size",
    )  # fmt: skip
    return changed, alike.drop_nulls("table_hash"), alike["table_hash"].null_count()


def find_new(disk: Disk, datasets: pl.DataFrame) -> pl.DataFrame:
    """Find sessions and datasets that the tables do not have, or say that they are not there."""
    unknown = disk.located.filter(pl.col("eid").is_null() & ~pl.col("is_copy")).select(
        path="session", table=pl.lit("sessions")
    )
    there = datasets.lazy().filter(pl.col("exists").ne_missing(other=False))
    strays = (
        disk.files()
        .join(there, on=["eid", "rel_path"], how="anti")
        .select("eid", "path", "disk_size", table=pl.lit("datasets"))
        .collect()
    )
    return pl.concat([unknown, strays], how="diagonal").with_columns(
        kind=pl.lit(FindingKind.NEW.value), message=pl.lit("not in the tables")
    )


def list_unreadable(disk: Disk, missing: pl.DataFrame) -> pl.DataFrame:
    """List what the walk could not read, but for datasets that are in `missing` by themselves."""
    return (
        disk.listed.issues.filter(pl.col("kind").is_in(_UNREADABLE))
        .join(missing.filter(pl.col("table") == "datasets"), on="path", how="anti")
        .select("path", "message", kind=pl.lit(FindingKind.UNREADABLE.value))
    )


def join_findings(findings: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put findings together, in the order of their paths."""
    schema = polars_schema(FINDINGS)
    rows = [
        frame.select(
            pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
            for name, dtype in schema.items()
        )
        for frame in findings
    ]
    return pl.concat(rows).sort("path", "table", "id", maintain_order=True)


FINDINGS = pa.schema(
    [
        _field("kind", pa.string(), "a FindingKind"),
        _field("table", pa.string(), "sessions or datasets; null for what may hold any"),
        _field("eid", pa.string(), "id of the session, null where it is in no table"),
        _field("id", pa.string(), "id of the dataset, null where it is in no table"),
        _field("path", pa.string(), "where it is, or should be, relative to the root"),
        _field("table_size", pa.uint64(), "size in the table", unit="bytes"),
        _field("disk_size", pa.uint64(), "size on disk", unit="bytes"),
        _field("table_hash", pa.string(), "MD5 in the table, null where it was not compared"),
        _field("disk_hash", pa.string(), "MD5 on disk, null where it was not compared"),
        _field("message", pa.string(), "what was found"),
    ]
)
"""One row per way in which an archive is not what its tables say, sorted by path."""


class FindingKind(StrEnum):
    """In what way an archive is not what its tables say."""

    MISSING = "missing"
    NEW = "new"
    SIZE_CHANGED = "size_changed"
    DIGEST_CHANGED = "digest_changed"
    UNREADABLE = "unreadable"
    """What is there cannot be told: a folder cannot be listed, say."""
    UNSAFE_PATH = "unsafe_path"
    """The table's path leads out of the session, so it was not looked for."""
