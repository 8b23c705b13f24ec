"""The reports of S3 Inventory: a manifest.json with files in CSV or Parquet, or one in Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_plus

import polars as pl
import xxhash

from polars_alf.errors import InventoryError
from polars_alf.walk.digests import digest_file
from polars_alf.walk.inventory_formats import STDIN
from polars_alf.walk.inventory_rows import RECORDS, Kind, Records

_PARQUET = b"PAR1"

_NAMES = {
    "Bucket": "bucket",
    "Key": "key",
    "VersionId": "version_id",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
}
"""Columns of the two formats: those of CSV by the manifest, and those of Parquet."""

_NEEDED = ("key", "size")

_ROWS_AT_ONCE = 1 << 18

_MOST_MANIFEST = 1 << 30
"""Bytes up to which a file may be a manifest."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description that a report of S3 Inventory has of itself.

    Parameters
    ----------
    path
        Its file.
    bucket
        The bucket that was listed, '' where that is not known.
    form
        ``CSV`` or ``Parquet``.
    columns
        The columns of its files, as Parquet has them; of Parquet these files tell.
    files
        Paths of the files, each with its MD5 or ''.
    """

    path: str
    bucket: str
    form: str
    columns: Sequence[str]
    files: Sequence[tuple[Path, str]]


def find_manifest(file: str) -> Manifest | None:
    """Return the manifest in a file, or the one that a file in Parquet needs; None for others.

    Raises
    ------
    InventoryError
        A file that it names is not there, or it is of another format.
    """
    if file == STDIN:
        return None
    path = Path(file)
    try:
        with path.open("rb") as opened:
            head = opened.read(4)
            if head == _PARQUET:
                return Manifest(file, "", "Parquet", (), [(path, "")])
            if head.lstrip()[:1] != b"{" or path.stat().st_size > _MOST_MANIFEST:
                return None
            found = json.loads(head + opened.read())
    except (OSError, ValueError):
        return None  # whoever reads it next says so
    if not isinstance(found, dict) or "files" not in found:
        return None
    try:
        form = found["fileFormat"]
        keys = [(str(part["key"]), str(part.get("MD5checksum", ""))) for part in found["files"]]
        bucket = str(found["sourceBucket"])
        columns = [name.strip() for name in str(found.get("fileSchema", "")).split(",")]
    except (KeyError, TypeError, AttributeError) as error:
        raise InventoryError(
            f"the inventory {file} lacks {error} of a manifest of S3 Inventory; copy it again"
        ) from error
    if form not in ("CSV", "Parquet"):
        raise InventoryError(
            f"the inventory {file} has files in {form}; have S3 Inventory write Parquet or CSV"
        )
    files = [(_find_file(path, key), md5) for key, md5 in keys]
    return Manifest(file, bucket, form, [_NAMES.get(name, name) for name in columns], files)


def read_objects(manifest: Manifest, bucket: str, checksum: xxhash.xxh3_128) -> Iterator[Records]:
    """Read the objects of a report that are there now, in all versions of a bucket.

    What tells the files from others goes into the checksum. Raises InventoryError where a file
    cannot be read, is not the one that the manifest means, or lacks a column.
    """
    for path, md5 in manifest.files:
        if md5:
            (found,) = _digest(path)
            checksum.update(found.encode())
            if found != md5.lower():
                raise InventoryError(
                    f"the file {path} of the inventory {manifest.path} has the MD5 {found}, and "
                    f"the manifest says {md5}; copy it again"
                )
        else:
            status = path.stat()
            checksum.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
        scanned = _scan_file(manifest, path)
        columns = _check_columns(scanned, manifest, path)
        try:
            for frame in scanned.collect_batches(
                chunk_size=_ROWS_AT_ONCE, maintain_order=True, engine="streaming"
            ):
                yield _make_records(frame, columns, bucket, is_encoded=manifest.form == "CSV")
        except pl.exceptions.PolarsError as error:
            raise _explain(manifest, path, error) from error


def _find_file(manifest: Path, key: str) -> Path:
    """Return the path of a file that a manifest names by its key in the bucket of reports."""
    name = key.rpartition("/")[2]
    # As they lie in that bucket, below the folder of the report; or all in one folder.
    places = [above / key for above in manifest.resolve().parents]
    places += [manifest.parent / name, manifest.parent / "data" / name]
    places.append(manifest.parent.parent / "data" / name)
    for place in places:
        if place.is_file():
            return place
    raise InventoryError(
        f"the file {key} of the inventory {manifest} is not there; copy it beside {manifest.name}"
    )


def _digest(path: Path) -> list[str]:
    try:
        return digest_file(str(path), ["md5"])
    except OSError as error:
        raise InventoryError(
            f"the file {path} of an inventory cannot be read: {error.strerror}; copy it again"
        ) from error


def _scan_file(manifest: Manifest, path: Path) -> pl.LazyFrame:
    if manifest.form == "Parquet":
        return pl.scan_parquet(path, glob=False)
    return pl.scan_csv(
        path,
        has_header=False,
        schema=dict.fromkeys(manifest.columns, pl.String),
        truncate_ragged_lines=True,
        glob=False,
    )


def _check_columns(scanned: pl.LazyFrame, manifest: Manifest, path: Path) -> set[str]:
    try:
        columns = {*scanned.collect_schema()}
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _explain(manifest, path, error) from error
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise InventoryError(
            f"the file {path} of the inventory {manifest.path} has no column {missing[0]}, but "
            f"{', '.join(sorted(columns))}; have S3 Inventory write Key and Size, and best also "
            "LastModifiedDate and ETag"
        )
    return columns


def _explain(manifest: Manifest, path: Path, error: Exception) -> InventoryError:
    reason = str(error).partition("\n")[0]
    return InventoryError(
        f"the file {path} of the inventory {manifest.path} cannot be read: {reason}; copy it again"
    )


def _make_records(
    frame: pl.DataFrame, columns: set[str], bucket: str, *, is_encoded: bool
) -> Records:
    """Return the objects among rows as records; an older version, or a deleted object, is none."""
    for name, wanted in (("is_latest", "true"), ("is_delete_marker", "false")):
        if name in columns:
            is_wanted = pl.col(name).cast(pl.String).str.to_lowercase() == wanted
            frame = frame.filter(is_wanted.fill_null(value=True))
    if "bucket" in columns:
        frame = frame.filter((pl.col("bucket") == bucket).fill_null(value=True))
    if is_encoded and len(frame):
        is_changed = frame["key"].str.contains("[%+]").fill_null(value=False)
        if is_changed.any():
            decoded = [key and unquote_plus(key, errors="surrogateescape") for key in frame["key"]]
            texts = [key and key.encode("utf-8", "replace").decode() for key in decoded]
            frame = frame.with_columns(key=pl.Series(texts, dtype=pl.String))
    size = pl.col("size").cast(pl.UInt64, strict=False)
    made = frame.select(
        path="key",
        kind=pl.lit(int(Kind.FILE)),
        file_size=size,
        mtime_ns=_expr_time(frame) if "last_modified_date" in columns else pl.lit(0),
        inode=pl.lit(0),
        e_tag=pl.col("e_tag") if "e_tag" in columns else pl.lit(None, pl.String),
        version=pl.lit(None, pl.String),
    )
    has_all = pl.col("path").is_not_null() & pl.col("file_size").is_not_null()
    is_whole = made.select(has_all).to_series()
    malformed = frame.filter(~is_whole).select(pl.struct(pl.all()).struct.json_encode()).to_series()
    return Records(made.filter(is_whole).cast(RECORDS), [], malformed.to_list())


def _expr_time(frame: pl.DataFrame) -> pl.Expr:
    time = pl.col("last_modified_date")
    if frame.schema["last_modified_date"] == pl.String:
        time = time.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return (time.dt.epoch("us") * 1000).fill_null(0)
