"""Services that fail: tables are as they were, and the next run goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from apart import run_apart
from buckets import ACCESS_KEY, Bucket, Mirror, serve_lists
from command_line import MAIN, run
from indexes import read_folder, read_tables

from polars_alf import IndexReport, index_archive, verify_archive
from polars_alf.errors import (
    ArchiveNotFoundError,
    ArchivePermissionError,
    MassRemovalError,
    PolarsAlfError,
    ScanError,
)
from polars_alf.walk.shards import UNDER_WAY

SMALL = ["--keys", 12_000, "--subjects", 6]


def index(out_dir: Path, url: str, **options: object) -> IndexReport:
    return index_archive(
        "s3://bucket",
        out_dir,
        endpoint_url=url,
        namespace="test",
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.slow
def test_answers_that_are_cut_or_refused_for_the_moment(out_dir: Path, tmp_path: Path) -> None:
    with serve_lists(*SMALL) as url:
        index(out_dir, url)
    (tmp_path / "other").mkdir()
    faults = "cut=0.1,reset=0.05,SlowDown=0.05,InternalError=0.05,TooManyRequests=0.05"
    with serve_lists(*SMALL, "--faults", faults) as url:
        report = index(tmp_path / "other", url)
    assert (report.n_datasets, report.issues) == (12_000, {})
    for one, two in zip(read_tables(out_dir), read_tables(tmp_path / "other"), strict=True):
        assert one.equals(two)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error", "cure"),
    [
        ("AccessDenied", ArchivePermissionError, "--anonymous"),
        ("ExpiredToken", ArchivePermissionError, "AWS_PROFILE"),
        ("SlowDown", ScanError, "run again"),
    ],
)
def test_a_service_that_refuses_in_the_middle(
    out_dir: Path, code: str, error: type[PolarsAlfError], cure: str
) -> None:
    with serve_lists(*SMALL) as url:
        index(out_dir, url)
    before = read_folder(out_dir)
    with (
        serve_lists(*SMALL, "--faults", f"{code}=1", "--after", 20) as url,
        pytest.raises(error, match=f"{code}.*tables that were there are as they were.*{cure}"),
    ):
        index(out_dir, url, op_timeout=1.0)
    tables = {name: data for name, data in before.items() if name.endswith(".pqt")}
    assert tables.items() <= read_folder(out_dir).items()
    with serve_lists(*SMALL) as url:
        assert index(out_dir, url).n_datasets == 12_000


@pytest.mark.slow
def test_a_folder_that_cannot_be_listed(out_dir: Path) -> None:
    """What else there is, is indexed, and the next run has the rest."""
    with serve_lists(*SMALL) as url:
        index(out_dir, url)
    # Requests for the first subject's dates are cut each time.
    cut = ["--faults", "cut=1", "--match", "start-after=lab/Subjects/S0000"]
    with serve_lists(*SMALL, *cut) as url:
        report = index(out_dir, url)
    assert report.n_datasets == 10_000
    assert set(report.issues) == {"unreadable_directory"}
    issue = report.scan_issues().collect().row(0, named=True)
    assert issue["path"].startswith("lab/Subjects/S0000/2000-")
    assert "index again" in issue["message"]
    assert report.changes is not None
    assert report.changes["unreadable"] == 2000
    with serve_lists(*SMALL) as url:
        report = index(out_dir, url)
    assert (report.n_datasets, report.issues) == (12_000, {})


def test_a_bucket_that_is_emptied(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    bucket.put_tree(archive)
    where = bucket.address, out_dir
    index_archive(*where, endpoint_url=bucket.endpoint_url)
    for path in archive.rglob("*.*"):
        if path.is_file() and "KS001" in path.parts:
            bucket.delete(path.relative_to(archive).as_posix())
    with pytest.raises(MassRemovalError):
        index_archive(*where, endpoint_url=bucket.endpoint_url)
    assert read_tables(out_dir)[1].height == 12


def test_what_is_not_there(bucket: Bucket, out_dir: Path) -> None:
    with pytest.raises(ArchiveNotFoundError, match="NoSuchBucket"):
        index_archive("s3://no-such-bucket", out_dir, endpoint_url=bucket.endpoint_url)
    bucket.put("a/b")
    with pytest.raises(ArchiveNotFoundError, match=f"there is nothing in {bucket.address}/c;"):
        index_archive(f"{bucket.address}/c", out_dir, endpoint_url=bucket.endpoint_url)
    with pytest.raises(ScanError, match="no connection to the service"):
        index_archive(bucket.address, out_dir, endpoint_url="http://127.0.0.1:1", op_timeout=0.5)


def test_objects_that_cannot_be_read(bucket: Bucket, out_dir: Path) -> None:
    """Those of a class that is not at hand are issues, and have no MD5."""
    session = "lab/Subjects/S1/2020-01-01/001"
    bucket.put(f"{session}/alf/a.b.npy")
    bucket.client.put_object(
        Bucket=bucket.name, Key=f"{session}/alf/cold.times.npy", Body=b"x", StorageClass="GLACIER"
    )
    report = index_archive(
        bucket.address, out_dir, endpoint_url=bucket.endpoint_url, hash_files=True
    )
    assert report.issues == {"unreadable_content": 1}
    assert report.n_datasets == 2
    issue = report.scan_issues().collect().row(0, named=True)
    assert issue["path"] == f"{session}/alf/cold.times.npy"
    assert "InvalidObjectState" in issue["message"]
    verified = verify_archive(
        bucket.address, out_dir, endpoint_url=bucket.endpoint_url, digest=True
    )
    assert verified.n_digested == 1


def start(out_dir: Path, url: str) -> subprocess.Popen[str]:
    arguments = ["index", "s3://bucket", "--out", str(out_dir), "--endpoint-url", url]
    return subprocess.Popen(
        [sys.executable, "-m", "polars_alf", *arguments, "--namespace", "test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_shards(out_dir: Path) -> int:
    written = out_dir.glob(".polars_alf/run-*/shards/*/summary.json")
    return len([path for path in written if path.parent.suffix != UNDER_WAY])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_goes_on(out_dir: Path, tmp_path: Path, number: signal.Signals) -> None:
    many = ["--keys", 40_000, "--subjects", 8]
    with serve_lists(*many, "--latency-ms", 50) as url:
        process = start(out_dir, url)
        deadline = time.monotonic() + 60
        while not count_shards(out_dir):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        process.communicate()
        assert not (out_dir / "sessions.pqt").exists()
        report = index(out_dir, url)
        assert report.n_resumed > 0
        (tmp_path / "undisturbed").mkdir()
        index(tmp_path / "undisturbed", url)
    for one, two in zip(read_tables(out_dir), read_tables(tmp_path / "undisturbed"), strict=True):
        assert one.equals(two)


@pytest.mark.slow
def test_an_interrupt_is_heard_while_a_service_hangs(out_dir: Path) -> None:
    with serve_lists(*SMALL, "--latency-ms", 60_000) as url:
        process = start(out_dir, url)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - begun < 10
    assert process.returncode == 130
    assert "Traceback" not in errors


SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIALEAKLEAKLEAK",
    "AWS_SECRET_ACCESS_KEY": "sEcReTsEcReTsEcReT",
    "AWS_SESSION_TOKEN": "tOkEnToKeNtOkEn",
}


@pytest.mark.slow
def test_secrets_are_nowhere(
    bucket: Bucket, archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_tree(archive)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    url = ["--endpoint-url", bucket.endpoint_url]
    shown = []
    for address, *options in (
        (bucket.address, *url, "--hash-files", "--json"),
        ("s3://no-such-bucket", *url),
        (bucket.address, "--endpoint-url", "http://127.0.0.1:1", "--op-timeout", "1"),
        (f"s3://{SECRETS['AWS_SECRET_ACCESS_KEY']}@bucket", *url),
        (bucket.address, "--endpoint-url", f"http://u:{SECRETS['AWS_SESSION_TOKEN']}@127.0.0.1"),
        (bucket.address, "--endpoint-url", f"http://h/?x={SECRETS['AWS_SESSION_TOKEN']}"),
    ):
        found = run("index", address, "--out", out_dir, *options)
        shown += [found.stdout, found.stderr]
        assert "Traceback" not in found.stderr
    with serve_lists(*SMALL, "--faults", "AccessDenied=1") as refusing:
        found = run("index", "s3://bucket", "--out", out_dir, "--endpoint-url", refusing)
        shown += [found.stdout, found.stderr]
        assert found.returncode == 1
    files = [path.read_bytes() for path in out_dir.rglob("*") if path.is_file()]
    assert len(files) > 5
    for secret in SECRETS.values():
        assert not any(secret in text for text in shown)
        assert not any(secret.encode() in content for content in files)


def test_credentials_of_a_profile(
    bucket: Bucket, archive: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_tree(archive)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    where = bucket.address, out_dir
    with pytest.raises(ArchivePermissionError, match="there are no credentials for s3://"):
        index_archive(*where, endpoint_url=bucket.endpoint_url)
    # The cures that it names.
    assert index_archive(*where, endpoint_url=bucket.endpoint_url, anonymous=True).n_datasets == 12
    profiles = tmp_path / "credentials"
    profiles.write_text(
        f"[mine]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = SECRET\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    options = {"endpoint_url": bucket.endpoint_url, "region": "us-east-1"}
    assert index_archive(*where, **options).n_datasets == 12  # type: ignore[arg-type]
    monkeypatch.setenv("AWS_PROFILE", "another")
    with pytest.raises(ArchivePermissionError, match="check AWS_PROFILE"):
        index_archive(*where, **options)  # type: ignore[arg-type]


def test_keys_that_a_service_does_not_know(
    mirror: Mirror, archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(ArchivePermissionError, match="the service refuses"):
        index_archive(mirror.address, out_dir, endpoint_url=mirror.endpoint_url)


@pytest.mark.parametrize("package", ["obstore", "arro3", "boto3"])
def test_a_package_that_is_missing(
    out_dir: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    code = f"import sys; sys.modules[{package!r}] = None\n{MAIN}"
    found = run_apart(code, ["index", "s3://bucket", "--out", str(out_dir)])
    assert found.returncode == 1
    assert re.fullmatch(
        rf'error: an archive in a bucket needs {package}: pip install "polars-alf\[cloud\]"\n',
        found.stderr,
    )
