"""Keys that no file system has, and those that look like paths and are none."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from buckets import Bucket, serve_lists
from indexes import read_tables

from polars_alf import index_archive, scan_datasets

SESSION = "lab/Subjects/S1/2020-01-01/001"


def index(bucket: Bucket, out_dir: Path, **options: object) -> tuple[list[str], list[str]]:
    """Index a bucket; return the paths of datasets, and the issues with invalid names."""
    report = index_archive(
        bucket.address,
        out_dir,
        endpoint_url=bucket.endpoint_url,
        **options,  # type: ignore[arg-type]
    )
    issues = report.scan_issues().filter(pl.col("kind") == "invalid_name")
    paths = scan_datasets(out_dir).select("rel_path").collect()["rel_path"]
    return sorted(paths), sorted(issues.select("path").collect()["path"])


@pytest.mark.slow
def test_keys_that_are_no_paths_are_issues(bucket: Bucket, out_dir: Path) -> None:
    odd = {
        f"{SESSION}/alf//double.a.npy": f"{SESSION}/alf//",
        f"{SESSION}/alf//other.a.npy": f"{SESSION}/alf//",
        f"{SESSION}/./dot.a.npy": f"{SESSION}/.",
        f"{SESSION}/../dots.a.npy": f"{SESSION}/..",
        f"{SESSION}/alf/tab\t.a.npy": f"{SESSION}/alf/tab\\x09.a.npy",
        f"{SESSION}/alf/delete\x7f.a.npy": f"{SESSION}/alf/delete\\x7f.a.npy",
        "/leading/S1/2020-01-01/001/a.b.npy": "/",
        "lab/Subjects//2020-01-01/001/a.b.npy": "lab/Subjects//",
        "lab/Subjects/S1/2020-01-02//001/a.b.npy": "lab/Subjects/S1/2020-01-02//",
    }
    kept = ["alf/a.b.npy", "alf/zz.last.npy", "alf/probe00/c.d.npy"]
    for key in (*odd, *(f"{SESSION}/{name}" for name in kept)):
        bucket.put(key)
    for day in range(3, 9):
        bucket.put(f"lab/Subjects/S1/2020-01-0{day}/001/alf/later.times.npy")
        bucket.put(f"lab/Subjects/S{day}/2020-01-01/001/alf/later.times.npy")
    paths, issues = index(bucket, out_dir)
    assert paths == sorted([*kept, *["alf/later.times.npy"] * 12])
    assert issues == sorted(set(odd.values()))
    assert index(bucket, out_dir) == (paths, issues)


@pytest.mark.slow
def test_a_few_bad_keys_among_thousands(out_dir: Path, tmp_path: Path) -> None:
    """The other keys of their pages, and those after them, are there all the same."""
    day = "lab/Subjects/S0001/2000-02"
    odd = [f"{day}-01/001/alf//bad", f"{day}-03/001/alf/probe00/\n", f"{day}-09/001/a\x01b.c.npy"]
    more = tmp_path / "more.json"
    more.write_text(json.dumps(odd))
    with serve_lists("--keys", 12_000, "--subjects", 3, "--more", more) as url:
        report = index_archive("s3://bucket", out_dir, endpoint_url=url)
    assert report.n_datasets == 12_000
    assert report.issues == {"invalid_name": 3}


def test_signs_that_are_plain(bucket: Bucket, out_dir: Path) -> None:
    names = ["_ns_a#b.c.npy", "a.b.%20%FF.npy", "a.b.x+y.npy", "a.b.é☃🐭.npy", "a.b.~.npy"]
    for name in names:
        bucket.put(f"{SESSION}/100%/{name}")
    report = index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    assert report.n_datasets + report.n_other_files == len(names)
    assert "invalid_name" not in report.issues


def test_the_longest_keys(bucket: Bucket, out_dir: Path) -> None:
    start = f"{SESSION}/"
    deep = "/".join(["alf"] + ["x" * 60] * 15) + "/"
    name = "a.b.npy".rjust(1024 - len(start) - len(deep), "z")
    bucket.put(start + deep + name)
    paths, _ = index(bucket, out_dir)
    assert paths == [deep + name]
    assert len(start + paths[0]) == 1024


def test_markers_of_folders(bucket: Bucket, out_dir: Path) -> None:
    """Consoles and tools write an object for each folder; a session may be no more than that."""
    for key in ("lab/", "lab/Subjects/S1/", "lab/Subjects/S1/2020-01-01/", f"{SESSION}/alf/"):
        bucket.put(key, b"")
    bucket.put(f"{SESSION}/alf/a.b.npy")
    bucket.put("lab/Subjects/S1/2020-01-01/002/", b"")
    bucket.put("lab/Subjects/S2/2020-01-01/001/alf/", b"")
    report = index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    assert (report.n_sessions, report.n_datasets, report.n_other_files) == (3, 1, 0)
    assert not report.issues


def test_an_object_beside_a_folder_of_its_name(bucket: Bucket, out_dir: Path) -> None:
    bucket.put(f"{SESSION}/alf/a.b.npy")
    bucket.put(f"{SESSION}/alf/a.b.npy/c.d.npy")
    assert index(bucket, out_dir) == (["alf/a.b.npy", "alf/a.b.npy/c.d.npy"], [])


def test_versions_and_deleted_keys(bucket: Bucket, out_dir: Path) -> None:
    bucket.client.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    for body in (b"old", b"newest"):
        bucket.put(f"{SESSION}/alf/a.b.npy", body)
    bucket.put(f"{SESSION}/alf/c.d.npy")
    bucket.delete(f"{SESSION}/alf/c.d.npy")
    bucket.put("lab/Subjects/S2/2020-01-01/001/a.b.npy")
    bucket.delete("lab/Subjects/S2/2020-01-01/001/a.b.npy")
    report = index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    assert (report.n_sessions, report.n_datasets, report.n_bytes) == (1, 1, 6)


@pytest.mark.thorough
def test_a_million_keys_in_one_folder(out_dir: Path) -> None:
    options = ["--keys", 1_000_000, "--subjects", 1, "--files-per-session", 1_000_000]
    with serve_lists(*options) as url:
        report = index_archive("s3://bucket", out_dir, endpoint_url=url)
    assert (report.n_sessions, report.n_datasets) == (1, 1_000_000)
    assert read_tables(out_dir)[1]["rel_path"].n_unique() == 1_000_000
