"""Contents that end early on their way: read again, or an issue, and never a wrong digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from buckets import Bucket
from cutting_proxy import Faults, serve_cut_short
from indexes import read_tables

from polars_alf import IndexReport, index_archive, verify_archive
from polars_alf.bucket import content

FOLDER = "lab/Subjects/S1/2020-01-01/001/alf"
BODIES = {
    "empty.times.npy": b"",
    "small.times.npy": b"small",
    "ranges.times.npy": bytes(range(250)) * 1000,
}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an object of several ranges that is small, and wait little before each next try."""
    monkeypatch.setattr(content, "BYTES_PER_REQUEST", 100_000)
    monkeypatch.setattr("polars_alf.bucket.keys._FIRST_PAUSE", 0.001)
    # obstore has tries of its own, and waits longer before each.
    monkeypatch.setattr("polars_alf.bucket.service._RETRY_SECONDS", 0.2)


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for name, body in BODIES.items():
        bucket.put(f"{FOLDER}/{name}", body)
    return bucket


def index(bucket: Bucket, out_dir: Path, faults: Faults) -> tuple[IndexReport, dict[str, str]]:
    """Return the report, and the MD5 of each dataset."""
    with serve_cut_short(bucket.endpoint_url, faults) as url:
        report = index_archive(bucket.address, out_dir, endpoint_url=url, hash_files=True)
    datasets = read_tables(out_dir)[1].select("rel_path", "hash")
    return report, {path.rpartition("/")[2]: md5 for path, md5 in datasets.rows()}


@pytest.mark.slow
@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("is_admitted", [True, False])
def test_what_is_cut_short_is_read_again(
    filled: Bucket, out_dir: Path, has_ranges: bool, is_admitted: bool
) -> None:
    faults = Faults(n_cuts=2, is_admitted=is_admitted, has_ranges=has_ranges)
    report, md5s = index(filled, out_dir, faults)
    assert md5s == {name: hashlib.md5(body).hexdigest() for name, body in BODIES.items()}
    assert not report.issues
    assert max(faults.seen.values()) > 2


@pytest.mark.slow
@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("is_admitted", [True, False])
def test_what_is_cut_short_each_time_is_an_issue(
    filled: Bucket, out_dir: Path, has_ranges: bool, is_admitted: bool
) -> None:
    faults = Faults(10**9, is_admitted=is_admitted, has_ranges=has_ranges, match="ranges.times")
    report, md5s = index(filled, out_dir, faults)
    assert report.issues == {"unreadable_content": 1}
    issue = report.scan_issues().collect().row(0, named=True)
    assert issue["path"] == f"{FOLDER}/ranges.times.npy"
    assert "cut short" in issue["message"]
    assert md5s.pop("ranges.times.npy") == ""
    assert md5s == {name: hashlib.md5(BODIES[name]).hexdigest() for name in md5s}
    # The next run reads it, and verify has nothing to say of it.
    report, md5s = index(filled, out_dir, Faults())
    assert md5s["ranges.times.npy"] == hashlib.md5(BODIES["ranges.times.npy"]).hexdigest()
    assert not report.issues
    with serve_cut_short(filled.endpoint_url, Faults(n_cuts=1)) as url:
        found = verify_archive(filled.address, out_dir, endpoint_url=url, digest=True)
    assert (found.n_digested, found.findings.height) == (3, 0)


def test_an_object_that_is_replaced_between_its_ranges(filled: Bucket, out_dir: Path) -> None:
    """Also on a service that does not heed which version is asked for."""
    report, md5s = index(filled, out_dir, Faults(is_replaced=True))
    assert report.issues == {"unreadable_content": 1}
    issue = report.scan_issues().collect().row(0, named=True)
    assert "replaced while it was read" in issue["message"]
    assert md5s["ranges.times.npy"] == ""
    assert md5s["small.times.npy"] == hashlib.md5(b"small").hexdigest()
