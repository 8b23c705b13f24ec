"""Buckets that are measured as storage: what is written and removed, figures, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from buckets import ACCESS_KEY, SECRET_KEY, Bucket, Mirror, serve_hadro, serve_lists
from command_line import run
from google_and_azure import AzureContainer, GoogleBucket
from hypothesis import given
from hypothesis import strategies as st
from storage import measure_quickly as bench
from trees import TWO_LABS, make_tree

from polars_alf import compare_storage
from polars_alf.alf.address import Address
from polars_alf.bench import pages
from polars_alf.bench.advice import explain_advice, find_advice
from polars_alf.bench.objects import Bucket as Place
from polars_alf.bench.operations import Operation
from polars_alf.bench.results import read_report
from polars_alf.errors import (
    ArchiveNotFoundError,
    ArchivePermissionError,
    BenchError,
    KeptWarning,
    OptionError,
    ScanError,
)
from polars_alf.walk.options import WalkOptions

CHANGING = {"create", "rename", "delete", "fsync", "readback"}

CALLS = ["create", "delete", "fsync", "readback", "list", "stat", "read"]

LARGE = {"cortexlab/Subjects/KS001/2020-01-01/001/raw.data.bin": 3 << 20}


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is learned of buckets out of the home of whoever runs the tests."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def list_keys(bucket: Bucket) -> dict[str, object]:
    """Return when each object was written, by its key."""
    found = bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])
    return {each["Key"]: each["LastModified"] for each in found}


@pytest.mark.slow
def test_only_what_was_written_is_deleted(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("folder/mine.npy")

    def meddle(done: int, total: int, text: str) -> None:
        if text.startswith("removing"):
            run = next(key for key in list_keys(bucket) if "/polars_alf_bench_" in key)
            bucket.put(f"{'/'.join(run.split('/')[:2])}/archive/theirs.npy")

    with pytest.warns(KeptWarning, match=r"did not write: .*archive/theirs\.npy"):
        report = bench(
            f"{bucket.address}/folder",
            endpoint_url=bucket.endpoint_url,
            operations=[*CALLS, "md5"],
            read_only=False,
            progress=meddle,
        )
    mine, theirs = sorted(list_keys(bucket))
    assert (mine, theirs.rpartition("/")[2]) == ("folder/mine.npy", "theirs.npy")
    figures = report.figures
    assert set(figures["operation"]) == {*CALLS, "md5"}
    assert (figures["rate"] > 0).all()
    assert {row["task"] for row in report.predictions} == {"index", "digest"}
    assert report.label == report.mount["point"] == bucket.address
    told = json.dumps(report.to_dict())
    assert ACCESS_KEY not in told
    assert SECRET_KEY not in told
    # What was learned counts for that service alone.
    found = find_advice(bucket.address, bucket.endpoint_url)
    assert found is not None
    assert found["advice"] == report.advice
    assert find_advice(bucket.address) is None
    with pytest.warns(KeptWarning, match=r"folder/polars_alf_bench_\w+ is of another bench"):
        bench(
            f"{bucket.address}/folder",
            endpoint_url=bucket.endpoint_url,
            operations=["fsync"],
            read_only=False,
        )


@pytest.mark.slow
def test_a_bucket_is_only_read_unless_asked_otherwise(bucket: Bucket, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", TWO_LABS)
    bucket.put_tree(make_tree(root, LARGE), "folder")
    before = list_keys(bucket)
    address = f"{bucket.address}/folder"
    report = bench(address, endpoint_url=bucket.endpoint_url)
    assert list_keys(bucket) == before
    assert set(report.figures["operation"]) == {*map(str, Operation)} - CHANGING
    amounts = dict(report.figures.select("operation", "amount").drop_nulls().iter_rows())
    assert amounts["list"] == 13, "one request lists them all"
    assert amounts["md5"] == 3 << 20
    on_disk = bench(root, read_only=True, name="disk")
    assert on_disk.mean_bytes == report.mean_bytes
    assert on_disk.figures.filter(operation="index")["n_ops"].item() == 17
    assert report.figures.filter(operation="index")["n_ops"].item() == 17

    found = compare_storage(on_disk, report)
    assert any(
        f"this machine keeps nothing of {bucket.address} in memory" in n for n in found.notes
    )
    assert f"disk lists {format_times(found.ratios)} as fast as {bucket.address}." in found.verdict
    rates = [
        (each.figures["rate"] * each.figures["amount"]).filter(each.figures["operation"] == "list")
        for each in (on_disk, report)
    ]
    ratio = found.ratios.filter(what="list")["ratio"].item()
    assert ratio == pytest.approx(rates[1].item() / rates[0].item()), "files of both are compared"
    (tmp_path / "page").mkdir()
    page = pages.write_pages(tmp_path / "page", found)[0].read_text()
    assert "list up to 1,000 keys" in page
    assert "open and list a folder" in page
    report.write(tmp_path / "page")
    assert read_report(tmp_path / "page").to_dict() == report.to_dict()


def format_times(ratios: object) -> str:
    from polars_alf.bench.words import describe_times

    ratio = 1 / ratios.filter(what="list")["ratio"].item()  # type: ignore[attr-defined]
    return describe_times(ratio, ratio)


@pytest.mark.slow
def test_a_slow_service_is_seen_to_be_slow(mirror: Mirror) -> None:
    make_tree(mirror.folder, TWO_LABS)
    operations = ["list", "stat", "read"]
    reports = []
    for milliseconds in (0, 200):
        with serve_hadro(mirror.folder.parent, "--latency-ms", milliseconds) as url:
            reports.append(
                bench(
                    mirror.address,
                    endpoint_url=url,
                    operations=operations,
                    threads=[1, 8],
                    jobs=2,
                    duration=0.5,
                    name=f"{milliseconds} ms",
                )
            )
    fast, slow = reports
    for operation in operations:
        fast_one, slow_one = (
            report.figures.filter(operation=operation, concurrency=1).row(0, named=True)
            for report in reports
        )
        assert fast_one["p50_ns"] < 200e6 <= slow_one["p50_ns"]
        assert fast_one["rate"] > slow_one["rate"]
    assert "0 ms lists" in "".join(compare_storage(slow, fast).verdict)
    # More requests at once are what helps there, and the advice says so, by lists alone.
    rates = slow.figures.filter(operation="list").sort("concurrency")
    assert rates["rate"][1] > rates["rate"][0]
    assert slow.advice == {"jobs": 2, "threads": 4}
    (reason,) = explain_advice(slow)
    assert reason.startswith("with 1 and 8 calls at once, files were listed at ")
    (predicted,) = (row for row in slow.predictions if row["n_files"] == 10**9)
    rate = rates["rate"][1] * rates["amount"][1]
    assert predicted["seconds"] == pytest.approx(1e9 / rate)
    assert any("those of lists alone" in note for note in slow.notes)


@given(st.integers(1, 5000))
def test_lists_of_a_thousand_keys_are_of_all(n_files: int) -> None:
    place = Place(Address("s3:", "bucket", "folder"), WalkOptions())
    files = [f"{number:04}.npy" for number in range(n_files)]
    starts = place.plan_lists([], files[::-1])
    assert len(starts) == -(-n_files // 1000)
    assert starts[0] == ""
    for number, start in enumerate(starts[1:], start=1):
        assert start == f"folder/{files[1000 * number - 1]}"


@pytest.mark.slow
def test_a_request_lists_a_thousand_keys() -> None:
    with serve_lists("--keys", 2500, "--subjects", 2) as url:
        report = bench(
            "s3://bucket", endpoint_url=url, operations=["list"], threads=[1, 4], files=2500
        )
    assert report.figures["amount"].to_list() == [pytest.approx(2500 / 3)] * 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cold": True}, "nothing in its caches; leave --cold out"),
        ({"operations": ["rename"]}, "no operation 'rename' there"),
        ({"operations": ["create"]}, "measures nothing where nothing is written; .*--write"),
        ({"like": "tables"}, "give --like and --write"),
        ({"endpoint_url": "http://key:secret@localhost"}, "keys in the environment"),
        ({"executor": "dask://localhost:1"}, "a bucket has none; give --operations list,stat"),
    ],
)
def test_what_makes_no_sense_for_a_bucket(options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        bench("s3://bucket", **options)


def test_options_of_buckets_are_refused_for_folders(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--anonymous .* is about buckets"):
        bench(tmp_path, anonymous=True)
    with pytest.raises(OptionError, match="mount it"):
        bench("ftp://server/folder")


def test_a_bucket_that_is_not_there_or_has_nothing(bucket: Bucket) -> None:
    url = bucket.endpoint_url
    for read_only in (True, False):
        with pytest.raises(ArchiveNotFoundError, match="check the name of the bucket"):
            bench("s3://no-such-bucket", endpoint_url=url, read_only=read_only)
    with pytest.raises(ArchiveNotFoundError, match="there is nothing in"):
        bench(bucket.address, endpoint_url=url)
    bucket.put("notes.txt")
    with pytest.raises(BenchError, match=r"no datasets to read; .*--write"):
        bench(bucket.address, endpoint_url=url)


@pytest.mark.slow
def test_a_service_that_refuses(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(mirror.folder, TWO_LABS)
    with (
        serve_hadro(mirror.folder.parent) as url,  # which takes no objects
        pytest.raises(ArchivePermissionError, match=r"cannot be written to: .*refuses"),
    ):
        bench(mirror.address, endpoint_url=url, read_only=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(ArchivePermissionError, match="set AWS_ACCESS_KEY_ID"):
        bench(mirror.address, endpoint_url=mirror.endpoint_url)


def test_objects_that_go_while_they_are_measured(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_tree(make_tree(tmp_path / "archive", TWO_LABS))

    def delete(done: int, total: int, text: str) -> None:
        if text.startswith("read"):
            for key in list_keys(bucket):
                bucket.delete(key)

    with pytest.raises(BenchError, match="failed to get a small object: not found") as raised:
        bench(
            bucket.address,
            endpoint_url=bucket.endpoint_url,
            operations=["read"],
            progress=delete,
        )
    assert SECRET_KEY not in str(raised.value)


def test_other_bytes_than_were_put_are_found(bucket: Bucket) -> None:
    def spoil(done: int, total: int, text: str) -> None:
        if text.startswith("readback"):
            for key in list_keys(bucket):
                if "/scratch/" in key:
                    bucket.put(key, b"other")

    with pytest.raises(BenchError, match="holds other bytes than were written to it"):
        bench(
            bucket.address,
            endpoint_url=bucket.endpoint_url,
            operations=["readback"],
            read_only=False,
            progress=spoil,
        )
    assert list_keys(bucket) == {}


@pytest.mark.slow
def test_services_of_others_are_read(
    elsewhere: GoogleBucket | AzureContainer, tmp_path: Path
) -> None:
    elsewhere.put_tree(make_tree(tmp_path / "archive", TWO_LABS))
    operations = ["list", "stat", "read"]
    report = bench(elsewhere.address, endpoint_url=elsewhere.endpoint_url, operations=operations)
    assert report.figures["operation"].to_list() == operations
    assert (report.figures["rate"] > 0).all()
    assert report.mount["source"] == elsewhere.endpoint_url


@pytest.mark.slow
def test_what_is_written_to_azure_is_deleted(azure: str) -> None:
    # The server that stands for Google's takes no objects of this client.
    container = AzureContainer.create(f"bucket-{uuid.uuid4().hex}", azure)
    container.put("mine.npy")
    report = bench(
        container.address, endpoint_url=azure, operations=[*CALLS, "md5"], read_only=False
    )
    assert (report.figures["rate"] > 0).all()
    assert [*container.client.list_blob_names()] == ["mine.npy"]


def test_a_service_without_ranges_is_read_whole(mirror: Mirror) -> None:
    make_tree(mirror.folder, TWO_LABS | LARGE)
    report = bench(mirror.address, endpoint_url=mirror.endpoint_url, operations=["md5", "stream"])
    assert (report.figures["byte_rate"] > 0).all()


@pytest.mark.slow
def test_the_command_tells_a_person(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_tree(make_tree(tmp_path / "archive", TWO_LABS))
    service = ("--endpoint-url", bucket.endpoint_url)
    quick = ("--files", 80, "--threads", 1, "--duration", 0.02, "--repeats", 1)
    options = (*service, *quick, "--operations", "list,index", "--out", tmp_path / "out")
    result = run("bench", bucket.address, *options)
    assert result.returncode == 0, result.stderr
    assert f"Storage      {bucket.address} (S3 on {bucket.address})" in result.stdout
    assert "Recommended  index --jobs 1 --threads 1" in result.stdout
    for path in (tmp_path / "out").iterdir():
        assert SECRET_KEY.encode() not in path.read_bytes()
    (tmp_path / "tables").mkdir()
    indexed = run("index", bucket.address, *service, "--out", tmp_path / "tables", "--jobs", "auto")
    assert indexed.returncode == 0, indexed.stderr
    assert "jobs 1, threads 1: found best when measured on " in indexed.stderr


@pytest.mark.slow
def test_a_missing_extra_names_its_cure(tmp_path: Path) -> None:
    code = "import sys; sys.modules['obstore'] = None; from polars_alf.cli.app import main; main()"
    command = [sys.executable, "-c", code, "bench", "s3://bucket", "--out", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert 'pip install "polars-alf[cloud]"' in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_no_service_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no connection to the service; run again"):
        bench("s3://bucket", endpoint_url="http://127.0.0.1:9")


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_an_interrupt_leaves_nothing(bucket: Bucket, tmp_path: Path) -> None:
    options = ("--endpoint-url", bucket.endpoint_url, "--write", "--files", "300")
    options += ("--threads", "2", "--jobs", "2", "--duration", "2", "--out", str(tmp_path / "out"))
    process = subprocess.Popen(
        [sys.executable, "-m", "polars_alf", "bench", bucket.address, *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while "2 at once" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1)
    assert list_keys(bucket)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted; what was written was removed" in stderr
    assert list_keys(bucket) == {}
