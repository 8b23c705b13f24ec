"""An index of what S3 Inventory wrote: the tables of a walk of the bucket, without a request."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from buckets import Bucket
from indexes import read_tables
from inventories import list_by_rclone
from trees import ODD, TWO_LABS, Tree, make_tree

from polars_alf import IndexReport, errors, index_archive

ARCHIVE: Tree = {
    **TWO_LABS,
    "cortexlab/Subjects/KS001/2020-01-01/001/raw #1 %20+é~☃/a.b.npy": "x",
    "cortexlab/Subjects/KS003/2020-13-01/001/a.b.npy": 1,
    "cortexlab/Subjects/KS003/weights.a.csv": 1,
    ".snapshot/S1/2020-01-01/001/a.b.npy": 1,
    "README.md": "no dataset",
}

ODD_KEYS = (
    *("data/S1/2020-01-01/001//a.b.npy", "data//x.y.npy", "data/S1/2020-01-01/001/../c.d.npy"),
    *("data/S1/2020-01-01/002/", "data/S1/2020-01-01/001/alf/", "data/", "elsewhere/a.b.npy"),
)
"""Keys that are no paths, markers of folders, and one outside of the archive."""

SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"


def list_objects(bucket: Bucket) -> list[dict[str, Any]]:
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    return [found for page in pages for found in page.get("Contents", [])]


def _list_rows(bucket: Bucket) -> list[tuple[object, ...]]:
    """Return the rows of a report of all versions: of each object an older one, too."""
    rows: list[tuple[object, ...]] = [
        (bucket.name, "data/gone.x.npy", "v", True, True, None, "2020-01-01", None)
    ]
    for found in list_objects(bucket):
        tag = found["ETag"].strip('"')
        when = found["LastModified"]
        rows.append((bucket.name, found["Key"], "2", True, False, found["Size"], when, tag))
        rows.append((bucket.name, found["Key"], "1", False, False, 12345, when, "0" * 32))
    return rows


def write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for name, key, version, is_latest, is_marker, size, when, tag in rows:
        time = when if isinstance(when, str) else f"{when:%Y-%m-%dT%H:%M:%S.000Z}"
        flags = (str(is_latest).lower(), str(is_marker).lower())
        writer.writerow((name, quote_plus(str(key), safe="/"), version, *flags, size, time, tag))
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def write_parquet(path: Path, rows: list[tuple[object, ...]]) -> None:
    names = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size"]
    columns = [list(column) for column in zip(*rows, strict=True)]
    times = [None if isinstance(when, str) else when for when in columns[6]]
    arrays = [pa.array(column) for column in columns[:6]]
    arrays += [pa.array(times, pa.timestamp("ms", "UTC")), pa.array(columns[7])]
    table = pa.table(arrays, names=[*names, "last_modified_date", "e_tag"])
    pq.write_table(table, path)


WRITERS: dict[str, Callable[[Path, list[tuple[object, ...]]], None]] = {
    "CSV": write_csv,
    "Parquet": write_parquet,
}


def write_report(folder: Path, bucket: Bucket, form: str, **changes: object) -> Path:
    """Write a report in two files, as S3 Inventory lays it out; return its manifest."""
    rows = _list_rows(bucket)
    data = folder / "reports" / bucket.name / "nightly" / "data"
    data.mkdir(parents=True)
    files = []
    for number, part in enumerate((rows[::2], rows[1::2])):
        path = data / f"{number}.{form.lower()}"
        WRITERS[form](path, part)
        key = path.relative_to(folder).as_posix()
        checksum = hashlib.md5(path.read_bytes()).hexdigest()
        files.append({"key": key, "size": path.stat().st_size, "MD5checksum": checksum})
    manifest = data.parent / "2026-11-29T01-00Z" / "manifest.json"
    manifest.parent.mkdir()
    values = {"sourceBucket": bucket.name, "destinationBucket": "arn:aws:s3:::reports"}
    values |= {"fileFormat": form, "fileSchema": SCHEMA, "files": files, **changes}
    manifest.write_text(json.dumps(values))
    return manifest


def list_issues(report: IndexReport) -> list[tuple[object, ...]]:
    return sorted(report.scan_issues().select("path", "kind").collect().rows())


def index_both(
    bucket: Bucket, inventory: Path, tmp_path: Path, **options: Any
) -> tuple[IndexReport, IndexReport]:
    """Index a bucket by its inventory, without a service, and by a walk; compare the tables."""
    reports = []
    nowhere = "http://127.0.0.1:9"
    for name, more in (
        ("by_inventory", {"inventory": inventory, "endpoint_url": nowhere}),
        ("by_walk", {"endpoint_url": bucket.endpoint_url}),
    ):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        given = {"namespace": "test", **options, **more}
        reports.append(index_archive(f"{bucket.address}/data", folder, **given))
    ours, theirs = (read_tables(tmp_path / name) for name in ("by_inventory", "by_walk"))
    for one, two in zip(ours, theirs, strict=True):
        assert one.equals(two)
    assert list_issues(reports[0]) == list_issues(reports[1])
    assert reports[0].n_other_files == reports[1].n_other_files
    return reports[0], reports[1]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["CSV", "Parquet"])
def test_the_tables_are_those_of_a_walk(bucket: Bucket, tmp_path: Path, form: str) -> None:
    bucket.put_tree(make_tree(tmp_path / "archive", ARCHIVE), "data")
    for key in ODD_KEYS:
        bucket.put(key, b"" if key.endswith("/") else b"x")
    manifest = write_report(tmp_path, bucket, form)
    report, _ = index_both(bucket, manifest, tmp_path, etag_md5=True)
    assert report.n_datasets == 13
    assert (read_tables(tmp_path / "by_inventory")[1]["hash"].str.len_bytes() == 32).all()
    walked = index_archive(
        f"{bucket.address}/data", tmp_path / "by_inventory", endpoint_url=bucket.endpoint_url
    )
    changes = walked.changes
    assert changes is not None
    assert (changes["added"], changes["removed"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("tree", [case[1] for case in ODD])
def test_odd_archives(bucket: Bucket, tmp_path: Path, tree: Tree) -> None:
    bucket.put_tree(make_tree(tmp_path / "archive", tree), "data")
    index_both(bucket, write_report(tmp_path, bucket, "Parquet"), tmp_path)


@pytest.mark.slow
def test_a_file_in_parquet_alone_and_a_folder_of_rclone(bucket: Bucket, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    bucket.put_tree(root, "data")
    path = tmp_path / "rows.parquet"
    write_parquet(path, _list_rows(bucket))
    index_both(bucket, path, tmp_path)
    path.write_bytes(list_by_rclone(root))
    index_both(bucket, path, tmp_path)


def test_an_inventory_of_something_else(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_tree(make_tree(tmp_path / "archive", TWO_LABS), "data")
    manifest = write_report(tmp_path, bucket, "CSV")
    out = tmp_path / "tables"
    out.mkdir()

    def refuse(root: str | Path, message: str, inventory: Path = manifest) -> None:
        with pytest.raises(errors.InventoryError, match=message):
            index_archive(root, out, inventory=inventory)

    refuse("s3://other/data", f"of the bucket {bucket.name}, and the archive is s3://other/data")
    refuse(f"{bucket.address}/nothing", "none of the 16 paths .* 'data/")
    refuse(tmp_path / "archive", "one of a bucket, and the archive .* is a folder; give s3://")
    lines = tmp_path / "lines"
    lines.write_text("ff 1 1.5 7 /data/a.b.npy\n")
    refuse(bucket.address, "one of folders, and the archive s3://.* is in a bucket", lines)
    values = json.loads(manifest.read_text())
    for changes, message in (
        ({"fileFormat": "ORC"}, "has files in ORC; have S3 Inventory write Parquet or CSV"),
        ({"fileSchema": "Bucket, Name"}, "has no column key"),
        ({"files": [{"key": "reports/lost.csv.gz"}]}, r"lost.csv.gz .* is not there; copy it"),
        ({"files": [{**values["files"][0], "MD5checksum": "0" * 32}]}, "and the manifest says 000"),
    ):
        manifest.write_text(json.dumps({**values, **changes}))
        refuse(f"{bucket.address}/data", message)
    assert not list(out.glob("*.pqt"))


def test_rows_without_a_size_are_issues(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_tree(make_tree(tmp_path / "archive", TWO_LABS), "data")
    frame = pl.DataFrame({"key": [f["Key"] for f in list_objects(bucket)], "size": 7})
    frame = frame.with_columns(
        size=pl.when(pl.col("key").str.contains("KS002")).then(None).otherwise(7)
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "tables").mkdir()
    report = index_archive(
        f"{bucket.address}/data", tmp_path / "tables", inventory=tmp_path / "rows.parquet"
    )
    assert (report.n_datasets, report.issues) == (9, {"malformed_record": 4})
