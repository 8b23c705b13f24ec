"""The files of an archive against the rows of its tables. Pure: frames in, FINDINGS out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.alf.path_columns import expr_below, expr_join
from polars_alf.alf.paths import find_folder_above, join
from polars_alf.alf.uuid_names import expr_uuid, expr_with_uuid, expr_without_uuid
from polars_alf.schema import HIDING, IssueKind, _field, polars_schema
from polars_alf.walk.scan import ArchiveFiles

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
"""One row per difference between an archive and its tables, sorted by path."""


class FindingKind(StrEnum):
    """The kinds of differences between an archive and its tables."""

    MISSING = "missing"
    NEW = "new"
    SIZE_CHANGED = "size_changed"
    DIGEST_CHANGED = "digest_changed"
    UNREADABLE = "unreadable"
    """Neither found nor known to be missing: its folder cannot be listed, for example."""
    UNSAFE_PATH = "unsafe_path"
    """The table's path leads out of the session, so it was not looked for."""


# Nor is it known what is in folders that the walk did not enter.
_HIDING = HIDING | {IssueKind.LINKED_DIRECTORY, IssueKind.LINK_LOOP}

_MD5 = "^[0-9a-f]{32}$"


@dataclass(frozen=True, slots=True)
class Disk:
    """The archive as it is on disk."""

    listed: ArchiveFiles
    located: pl.DataFrame
    """Sessions of the archive in the tables, as `locate_sessions` returns them."""
    expected: Mapping[str, list[str]]
    """Folders that the other sessions of the tables could be in, by the id of the session."""
    named: pl.DataFrame | None = None
    """Rows of the datasets table, if their ids may be in the names of files."""

    @property
    def found(self) -> pl.DataFrame:
        """``eid`` and ``session`` of the sessions of the tables."""
        return self.located.filter(~pl.col("is_copy")).drop_nulls("eid").select("eid", "session")

    def files(self) -> pl.LazyFrame:
        """Return ``eid`` (null where no table has the session), ``rel_path``, ``path``, size."""
        folders = (
            self.listed.directories.lazy()
            .join(self.located.lazy(), on="session")
            .filter(~pl.col("is_copy"))
            .select("directory", "eid", collection=expr_below("directory", "session"))
        )
        path, rel_path = expr_join("directory", "name"), expr_join("collection", "name")
        files = (
            self.listed.entries.lazy()
            .join(folders, on="directory")
            .select("eid", rel_path=rel_path, path=path, disk_size="file_size")
        )
        return files if self.named is None else _match_named(files, self.named)


def _match_named(files: pl.LazyFrame, rows: pl.DataFrame) -> pl.LazyFrame:
    """Give files that are named by the id of their row the path of it.

    Files of a session that have the same UUID are found by their paths, as an index does not take
    their ids from it. Those that differ in the UUID alone from a file that is found are left out,
    as an index skips them.
    """
    path, key = pl.col("rel_path"), ["eid", "plain"]
    ids = rows.lazy().select("eid", "id", plain="rel_path", is_row=pl.lit(value=True))
    split = files.with_columns(plain=expr_without_uuid(path), id=expr_uuid(path)).join(
        ids.unique(), on=[*key, "id"], how="left"
    )
    found = split.filter("is_row").with_columns(rel_path="plain")
    others = split.filter(pl.col("is_row").is_null()).join(found, on=key, how="anti")
    is_named = pl.all_horizontal(pl.col("eid", "id").is_not_null())
    repeated = (
        others.filter(is_named & pl.struct("eid", "id").is_duplicated())
        .sort("id")
        .unique(key, keep="first", maintain_order=True)
        .with_columns(rel_path="plain")
    )
    others = others.join(repeated, on=key, how="anti")
    return pl.concat([found, repeated, others]).drop("plain", "id", "is_row")


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


def find_missing_sessions(
    disk: Disk, gone: pl.DataFrame, is_excluded: Callable[[str], bool]
) -> pl.DataFrame:
    """Describe sessions that the walk did not find, by ``eid``: missing, or not to be seen."""
    rows = gone.with_columns(id=pl.lit(None, pl.String), rel_path=pl.lit(""))
    size = pl.lit(None, pl.UInt64)
    return _describe_missing(
        disk, rows.with_columns(table_size=size, table=pl.lit("sessions")), is_excluded
    )


def find_missing(
    disk: Disk, datasets: pl.DataFrame, is_excluded: Callable[[str], bool]
) -> pl.DataFrame:
    """Find datasets that the walk did not find: missing, or not to be seen."""
    absent = (
        datasets.lazy()
        .filter(pl.col("exists").ne_missing(other=False))
        .join(disk.files().drop_nulls("eid"), on=["eid", "rel_path"], how="anti")
        .select("eid", "id", "rel_path", table_size="file_size", table=pl.lit("datasets"))
        .collect()
    )
    return _describe_missing(disk, absent, is_excluded)


def _describe_missing(
    disk: Disk, rows: pl.DataFrame, is_excluded: Callable[[str], bool]
) -> pl.DataFrame:
    absent = rows.join(disk.found, on="eid", how="left").with_columns(
        folder=pl.col("rel_path").str.extract(r"^(.*)/[^/]*$").fill_null("")
    )
    keys = ["eid", "session", "folder"]
    hidden = _find_hidden(disk, absent.select(keys).unique())
    issues = disk.listed.issues.select("path", issue="kind", note="message")
    path = expr_join("place", "rel_path")
    if disk.named is not None:
        named = expr_with_uuid(path, pl.col("id"))
        path = pl.when(named.is_in(issues["path"].implode())).then(named).otherwise(path)
    findings = (
        absent.join(hidden, on=keys, nulls_equal=True)
        .with_columns(path=path)
        .join(issues.unique("path", keep="first", maintain_order=True), on="path", how="left")
    )
    is_hidden = pl.col("hidden").is_not_null() | pl.col("issue").is_in(_HIDING)
    is_kept = [not is_excluded(path) for path in findings["path"]]
    return findings.filter(pl.Series(is_kept, dtype=pl.Boolean)).with_columns(
        kind=pl.when(is_hidden)
        .then(pl.lit(FindingKind.UNREADABLE.value))
        .otherwise(pl.lit(FindingKind.MISSING.value)),
        message=pl.coalesce(
            pl.format("it may be in {}, which was not read", "hidden"),
            "note",
            pl.lit("not on disk"),
        ),
    )


def _find_hidden(disk: Disk, folders: pl.DataFrame) -> pl.DataFrame:
    """Add to folders of sessions where these are, and the folder that may hide them.

    The new columns are ``place``, the folder of the session, and ``hidden``, a folder that could
    not be read or was not entered; null where there is none.
    """
    issues = disk.listed.issues.filter(pl.col("kind").is_in(_HIDING))
    hiding = {"" if path == "." else path for path in issues["path"]}
    rows = []
    for eid, session, folder in folders.rows():
        places = [session] if session is not None else disk.expected.get(eid, [])
        above = (find_folder_above(join(place, folder).rstrip("/"), hiding) for place in places)
        hidden = next((found for found in above if found is not None), None)
        rows.append((eid, session, folder, places[0] if places else eid or "", hidden))
    names = ("eid", "session", "folder", "place", "hidden")
    return pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")


def expr_has_digest() -> pl.Expr:
    """Whether a dataset has an MD5 in the table."""
    return pl.col("hash").str.to_lowercase().str.contains(_MD5).alias("has_digest")


def find_changed(disk: Disk, datasets: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Find datasets of another size, those whose content can be compared, and how many cannot.

    The second frame has ``eid``, ``id``, ``path``, ``disk_size``, ``table_size`` and
    ``table_hash``; the others of the right size have no MD5 in the table.
    """
    both = (
        datasets.lazy()
        .join(disk.files().drop_nulls("eid"), on=["eid", "rel_path"])
        .rename({"file_size": "table_size"})
        .with_columns(table_hash=pl.col("hash").str.to_lowercase())
        .with_columns(pl.when(pl.col("table_hash").str.contains(_MD5)).then("table_hash"))
        .select("eid", "id", "path", "disk_size", "table_size", "table_hash")
        .collect()
    )
    differs = (pl.col("table_size") != pl.col("disk_size")).fill_null(value=False)
    changed = both.filter(differs).with_columns(
        kind=pl.lit(FindingKind.SIZE_CHANGED.value),
        table=pl.lit("datasets"),
        table_hash=None,
        message=pl.lit("its size is not what it was"),
    )
    alike = both.filter(~differs)
    return changed, alike.drop_nulls("table_hash"), alike["table_hash"].null_count()


def find_rotten(datasets: pl.DataFrame, digests: pl.DataFrame) -> pl.DataFrame:
    """Find datasets whose content is not what it was, or cannot be read, by their digests."""
    is_unread = pl.col("disk_hash").is_null()
    return (
        datasets.join(digests, on="path")
        .filter(is_unread | (pl.col("disk_hash") != pl.col("table_hash")))
        .with_columns(
            kind=pl.when(is_unread)
            .then(pl.lit(FindingKind.UNREADABLE.value))
            .otherwise(pl.lit(FindingKind.DIGEST_CHANGED.value)),
            table=pl.lit("datasets"),
            message=pl.coalesce("message", pl.lit("its content is not what it was")),
        )
    )


def find_new(disk: Disk, datasets: pl.DataFrame) -> pl.DataFrame:
    """Find sessions and datasets that the tables lack, or have as not being on disk."""
    unknown = disk.located.filter(pl.col("eid").is_null() & ~pl.col("is_copy")).select(
        path="session", table=pl.lit("sessions")
    )
    known = datasets.lazy().filter(pl.col("exists").ne_missing(other=False))
    strays = (
        disk.files()
        .join(known, on=["eid", "rel_path"], how="anti")
        .select("eid", "path", "disk_size", table=pl.lit("datasets"))
        .collect()
    )
    return pl.concat([unknown, strays], how="diagonal").with_columns(
        kind=pl.lit(FindingKind.NEW.value), message=pl.lit("not in the tables")
    )


def list_unreadable(issues: pl.DataFrame, missing: pl.DataFrame) -> pl.DataFrame:
    """List ISSUES of what cannot be read, but for datasets that are in `missing` by themselves."""
    return (
        issues.filter(pl.col("kind").is_in(HIDING))
        .join(missing.filter(pl.col("table") == "datasets"), on="path", how="anti")
        .select("path", "message", kind=pl.lit(FindingKind.UNREADABLE.value))
    )


def join_findings(findings: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put findings together, in the order of their paths."""
    schema = polars_schema(FINDINGS)
    rows = pl.concat([schema.to_frame(), *findings], how="diagonal_relaxed")
    order = ["path", "table", "id"]
    return rows.select(schema.names()).cast(schema).sort(order, maintain_order=True)
