"""Tables that lie in a bucket, on a server of S3 that asks for signed requests."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from command_line import run
from polars.testing import assert_frame_equal

import polars_alf
from polars_alf import errors

KEY, SECRET = "ACCESSKEY1", "a-secret-of-the-tests"
N_FILES = 400


@dataclass
class Bucket:
    """A server with the folder of tables as `address`, and how many bytes it has sent."""

    address: str
    endpoint: str
    sent: list[int] = field(default_factory=list)

    @property
    def options(self) -> dict[str, str]:
        return {
            "aws_endpoint_url": self.endpoint,
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_region": "eu-west-2",
        }

    def count(self, frame: pl.LazyFrame) -> tuple[pl.DataFrame, int]:
        """Collect a frame; return it, and the bytes that were sent for it."""
        before = sum(self.sent)
        return frame.collect(), sum(self.sent) - before


def copy(source: socket.socket, target: socket.socket, sent: list[int]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sent.append(len(data))
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def relay(listener: socket.socket, port: int, sent: list[int]) -> None:
    """Pass connections on to a port, and note the sizes of what comes back."""
    with contextlib.suppress(OSError):  # closed at the end
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server, []), (server, client, sent)):
                threading.Thread(target=copy, args=pair, daemon=True).start()


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers, and wants a signature
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make tables of several row groups, in a folder that can be served."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(1, 9):
        folder = root / f"lab/Subjects/KS{number:03}/2020-01-01/001/alf"
        folder.mkdir(parents=True)
        for i in range(N_FILES):
            (folder / f"spikes.times{i}.npy").write_bytes(bytes(i % 7))
    out = tmp_path_factory.mktemp("served") / "bucket/releases/tables"
    out.mkdir(parents=True)
    polars_alf.index_archive(root, out, hash_files=True)
    return out


@pytest.fixture(scope="module")
def bucket(tables: Path) -> Iterator[Bucket]:
    port = find_port()
    command = [sys.executable, "-m", "hadro", str(tables.parents[2]), "--port", str(port)]
    command += ["--access-key", KEY, "--secret-key", SECRET, "--log-level", "error"]
    with subprocess.Popen(command) as process:
        try:
            wait_for(process, port)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
                found = Bucket("s3://bucket/releases/tables", endpoint)
                arguments = (listener, port, found.sent)
                threading.Thread(target=relay, args=arguments, daemon=True).start()
                yield found
        finally:
            process.terminate()


@pytest.mark.slow
def test_tables_are_those_of_the_folder(bucket: Bucket, tables: Path) -> None:
    for scan in (polars_alf.scan_sessions, polars_alf.scan_datasets):
        frame = scan(f"{bucket.address}/", storage_options=bucket.options).collect()
        assert set(frame["origin"]) == {bucket.address}
        assert_frame_equal(frame.drop("origin"), scan(tables).collect().drop("origin"))


def test_only_what_is_asked_for_is_sent(bucket: Bucket) -> None:
    datasets = polars_alf.scan_datasets(bucket.address, storage_options=bucket.options)
    whole, n_whole = bucket.count(datasets)
    sizes, n_sizes = bucket.count(datasets.select(pl.col("file_size").sum()))
    assert sizes.item() == whole["file_size"].sum()
    assert n_sizes < n_whole / 4


def test_folders_and_buckets_are_scanned_together(bucket: Bucket, tables: Path) -> None:
    both = polars_alf.scan_sessions([tables, bucket.address], storage_options=bucket.options)
    assert both.collect()["origin"].value_counts().sort("origin").rows() == [
        (str(tables), 8),
        (bucket.address, 8),
    ]


def test_summaries_and_queries(bucket: Bucket, tables: Path) -> None:
    summary = polars_alf.summarize_tables(bucket.address, storage_options=bucket.options)
    known = polars_alf.summarize_tables(tables)
    assert (summary.n_datasets, summary.n_bytes) == (8 * N_FILES, known.n_bytes)
    assert summary.groups["subject"].sort("subject").equals(known.groups["subject"].sort("subject"))
    query = "SELECT subject, count(*) AS n FROM sessions GROUP BY subject ORDER BY subject"
    answer = polars_alf.query_tables(bucket.address, query, storage_options=bucket.options)
    assert answer.collect().rows() == [(f"KS{number:03}", 1) for number in range(1, 9)]


@pytest.mark.slow
def test_commands_take_the_environment(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.options.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    ended = run("info", bucket.address, "--json")
    assert ended.returncode == 0, ended.stderr
    assert f'"n_datasets": {8 * N_FILES}' in ended.stdout
    ended = run("sql", bucket.address, "SELECT count(*) AS n FROM datasets", "--format", "csv")
    assert ended.stdout.split() == ["n", str(8 * N_FILES)]


def test_what_cannot_be_read_is_one_error_without_secrets(bucket: Bucket) -> None:
    with pytest.raises(errors.TableNotFoundError, match="there is no table"):
        polars_alf.scan_sessions("s3://bucket/nothing", storage_options=bucket.options)
    wrong = bucket.options | {"aws_secret_access_key": "another-secret"}
    for address in (bucket.address, "s3://bucket/404-not-found"):
        with pytest.raises(errors.TableError, match="give storage_options") as caught:
            polars_alf.scan_sessions(address, storage_options=wrong)
        assert "another-secret" not in str(caught.value)
    with pytest.raises(errors.OptionError, match="'max_retries': 'many'"):
        polars_alf.scan_sessions(
            bucket.address, storage_options=bucket.options | {"max_retries": "many"}
        )
    with pytest.raises(errors.OptionError, match="give each address"):
        polars_alf.scan_sessions("s3://bucket/*/tables", storage_options=bucket.options)
    with pytest.raises(errors.OptionError, match="of type str") as refused:
        polars_alf.scan_sessions(bucket.address, storage_options=SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(refused.value)


def test_what_needs_a_folder_says_so(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match="copy its tables into one"):
        polars_alf.merge_tables([bucket.address], tmp_path)
