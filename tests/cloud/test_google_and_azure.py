"""Archives in Google Cloud Storage and in Azure are those on disk as well."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import polars as pl
import pytest
from buckets import check_same
from google_and_azure import AzureContainer, GoogleBucket
from indexes import read_tables
from trees import TWO_LABS, Tree, make_tree

from polars_alf import index_archive, scan_archive, verify_archive
from polars_alf.alf.address import Address
from polars_alf.bucket.service import Service
from polars_alf.errors import ArchiveNotFoundError, ArchivePermissionError, OptionError, ScanError

Elsewhere = GoogleBucket | AzureContainer

FIRST = "cortexlab/Subjects/KS001/2020-01-01/001"
SECOND = "cortexlab/Subjects/KS001/2020-01-01/002"

ARCHIVE: Tree = {
    **TWO_LABS,
    **{
        f"zadorlab/Subjects/Z{n}/2021-0{m}-1{n}/001": {"a.b.npy": n}
        for n in range(9)
        for m in (1, 2)
    },
    f"{FIRST}/raw data/_ns_#1 %20+é~☃.a.npy": "x",
    f"{FIRST}/alf/large.data.npy": 20_000_000,
    "README.md": "no dataset",
}


@pytest.mark.slow
def test_the_tables_are_those_of_a_folder(
    elsewhere: Elsewhere, tmp_path: Path, out_dirs: tuple[Path, Path]
) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    elsewhere.put_tree(root, "data/of")
    where = f"{elsewhere.address}/data/of", elsewhere.endpoint_url
    report = check_same(*where, root, out_dirs, digest=["md5", "xxh3_128"])
    assert (report.n_sessions, report.n_datasets) == (22, 31)
    assert not report.issues.keys() - {"odd_collection"}
    assert str(report.root) == where[0]
    verified = verify_archive(where[0], out_dirs[0], endpoint_url=where[1], digest=True)
    assert verified.n_digested == 31
    assert verified.findings.is_empty()
    scanned = scan_archive(where[0], endpoint_url=where[1]).filter(pl.col("subject") == "Z3")
    assert scanned.collect()["file_size"].to_list() == [3, 3]


@pytest.mark.slow
def test_a_refresh_reads_what_changed(elsewhere: Elsewhere, archive: Path, out_dir: Path) -> None:
    elsewhere.put_tree(archive)
    time.sleep(3)  # what was written in the seconds before an index is read again
    where = elsewhere.address, out_dir

    def index() -> tuple[list[tuple[str, str]], int]:
        seen = []
        report = index_archive(
            *where, endpoint_url=elsewhere.endpoint_url, hash_files=True, progress=seen.append
        )
        changes = report.scan_changes().select("path", "change").collect().rows()
        return sorted(changes), seen[-1].n_bytes

    index()
    assert index() == ([], 0)
    elsewhere.put(f"{FIRST}/alf/spikes.times.npy", b"y" * 20)  # as large as it was
    elsewhere.put(f"{FIRST}/alf/new.times.npy", b"new")
    elsewhere.delete(f"{SECOND}/alf/spikes.times.npy")
    verified = verify_archive(*where, endpoint_url=elsewhere.endpoint_url)
    assert set(verified.findings.select("kind", "path").rows()) >= {
        ("new", f"{FIRST}/alf/new.times.npy"),
        ("missing", f"{SECOND}/alf/spikes.times.npy"),
    }
    assert index() == (
        [
            (f"{FIRST}/alf/new.times.npy", "added"),
            (f"{FIRST}/alf/spikes.times.npy", "changed"),
            (f"{SECOND}/alf/spikes.times.npy", "removed"),
        ],
        23,
    )
    hashes = read_tables(out_dir)[1]["hash"].to_list()
    assert {hashlib.md5(body).hexdigest() for body in (b"y" * 20, b"new")} <= {*hashes}
    with pytest.raises(OptionError, match="leave out --quick"):
        index_archive(*where, endpoint_url=elsewhere.endpoint_url, quick=True)


@pytest.mark.slow
def test_a_subject_with_thousands_of_keys(elsewhere: Elsewhere, out_dir: Path) -> None:
    """More pages than one, and more dates than requests at once."""
    for day in range(1, 29):
        for number in range(45):
            elsewhere.put(f"lab/Subjects/S1/2020-01-{day:02}/001/alf/a{number}.b.npy")
    for threads in (1, 4):
        report = index_archive(
            elsewhere.address,
            out_dir,
            endpoint_url=elsewhere.endpoint_url,
            threads=threads,
            restart=True,
        )
        assert (report.n_sessions, report.n_datasets, report.issues) == (28, 28 * 45, {})


def test_a_key_that_is_no_path(elsewhere: Elsewhere, archive: Path, out_dir: Path) -> None:
    """The dates beside it are issues, and what else there is, is indexed."""
    elsewhere.put_tree(archive)
    elsewhere.put(f"{FIRST}/alf//double.a.npy")
    report = index_archive(elsewhere.address, out_dir, endpoint_url=elsewhere.endpoint_url)
    assert set(report.issues) == {"unreadable_directory"}
    issue = report.scan_issues().collect().row(0, named=True)
    assert issue["path"].startswith("cortexlab/Subjects/KS001/2020-01-01")
    assert "a key in it is no path" in issue["message"]
    subjects = {*read_tables(out_dir)[0]["subject"]}
    assert "KS002" in subjects


@pytest.mark.slow
def test_what_is_not_there(elsewhere: Elsewhere, out_dir: Path) -> None:
    elsewhere.put("a/b")
    url, scheme = elsewhere.endpoint_url, elsewhere.address[:5]
    with pytest.raises(ArchiveNotFoundError, match="there is nothing in"):
        index_archive(f"{elsewhere.address}/c", out_dir, endpoint_url=url)
    with pytest.raises((ArchiveNotFoundError, ScanError), match="no-such-bucket cannot be listed"):
        index_archive(f"{scheme}no-such-bucket", out_dir, endpoint_url=url, op_timeout=1.0)
    gone = "http://127.0.0.1:1"
    with pytest.raises(ScanError, match="no connection to the service"):
        index_archive(elsewhere.address, out_dir, endpoint_url=gone, op_timeout=0.5)


def test_keys_that_azure_does_not_know(
    azure: str, archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = AzureContainer.create("container", azure)
    container.put_tree(archive)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "b3RoZXI=")
    for options in ({}, {"anonymous": True}):
        with pytest.raises(
            ArchivePermissionError, match=r"the service refuses.*AZURE_STORAGE_ACCOUNT_KEY"
        ):
            index_archive("az://container", out_dir, endpoint_url=azure, **options)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(OptionError, match="set AZURE_STORAGE_ACCOUNT_NAME"):
        index_archive("az://container", out_dir, endpoint_url=azure)


def test_google_without_keys(
    google: str,
    archive: Path,
    out_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = GoogleBucket.create("bucket-for-everybody", google)
    bucket.put_tree(archive)
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))  # which may have them
    where = bucket.address, out_dir
    with pytest.raises(
        ArchivePermissionError, match=r"no credentials.*GOOGLE_APPLICATION_CREDENTIALS"
    ):
        index_archive(*where, endpoint_url=google, op_timeout=1.0)
    assert index_archive(*where, endpoint_url=google, anonymous=True).n_datasets == 12


def test_containers_of_a_name_in_two_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No digest goes from one to the other."""
    service = Service(Address("az:", "container"))
    numbers = set()
    for name in ("mine", "yours"):
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", name)
        numbers.add(service.number)
    assert len(numbers) == 2
