"""Services that have buckets, each a process of its own on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from indexes import read_tables

from polars_alf import IndexReport, index_archive

ACCESS_KEY = "ACCESSKEY0123456"
SECRET_KEY = "SECRETKEY0123456789"

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

LIST_SERVER = Path(__file__).parents[1] / "benchmarks" / "list_server.py"


def find_program(name: str) -> str:
    """Return the path of a program that a package for the tests has."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    assert found, f"{name} is not installed: pip install '.[test]'"
    return found


def choose_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def run_server(*command: object, port: int) -> Iterator[str]:
    """Run a server until the context ends; yield its address as soon as it answers there."""
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, f"{command} ended"
                assert time.monotonic() < deadline, f"{command} does not answer"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def serve_moto() -> Iterator[str]:
    port = choose_port()
    with run_server(find_program("moto_server"), "-H", "127.0.0.1", "-p", port, port=port) as url:
        yield url


@contextmanager
def serve_rclone(folder: Path) -> Iterator[str]:
    """Serve folders as buckets, to who has the keys."""
    port = choose_port()
    options = ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--dir-cache-time", "0s"]
    rclone = [find_program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--config", ""]
    with run_server(*rclone, *options, folder, port=port) as url:
        yield url


@contextmanager
def serve_hadro(folder: Path, *options: object) -> Iterator[str]:
    """Serve folders as buckets."""
    port = choose_port()
    with run_server(find_program("hadro"), folder, "--port", port, *options, port=port) as url:
        yield url


@contextmanager
def serve_lists(*options: object) -> Iterator[str]:
    """Serve lists of made-up keys, with faults."""
    port = choose_port()
    command = [sys.executable, LIST_SERVER, "--port", port, *options]
    with run_server(*command, port=port) as url:
        yield url


@dataclass
class Mirror:
    """A folder that a server has as a bucket, or as its buckets."""

    folder: Path
    endpoint_url: str

    @property
    def address(self) -> str:
        return f"s3://{self.folder.name}"


class Writable:
    """A bucket that can be written to."""

    address: str
    endpoint_url: str

    def put(self, key: str, body: bytes = b"x") -> None:
        raise NotImplementedError

    def put_tree(self, root: Path, folder: str = "") -> None:
        """Write all files of a folder."""
        for path in sorted(root.rglob("*")):
            if path.is_file():
                name = path.relative_to(root).as_posix()
                self.put(f"{folder}/{name}" if folder else name, path.read_bytes())


@dataclass
class Bucket(Writable):
    """A bucket of S3."""

    name: str
    endpoint_url: str
    client: Any

    @classmethod
    def create(cls, name: str, endpoint_url: str) -> Bucket:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)
        return cls(name, endpoint_url, client)

    @property
    def address(self) -> str:  # type: ignore[override]
        return f"s3://{self.name}"

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def put_parts(self, key: str, *parts: bytes) -> None:
        """Write an object in several parts, so that its ETag is no MD5."""
        where = {"Bucket": self.name, "Key": key}
        upload = self.client.create_multipart_upload(**where)["UploadId"]
        done = []
        for number, part in enumerate(parts, start=1):
            sent = self.client.upload_part(**where, UploadId=upload, PartNumber=number, Body=part)
            done.append({"PartNumber": number, "ETag": sent["ETag"]})
        self.client.complete_multipart_upload(
            **where, UploadId=upload, MultipartUpload={"Parts": done}
        )

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


def check_same(
    bucket: str, endpoint_url: str, root: Path, out_dirs: tuple[Path, Path], **options: object
) -> IndexReport:
    """Index a bucket and a folder; check that all is the same that can be."""
    ours, theirs = out_dirs
    report = index_archive(
        bucket,
        ours,
        namespace="test",
        endpoint_url=endpoint_url,
        **options,  # type: ignore[arg-type]
    )
    other = index_archive(root, theirs, namespace="test", **options)  # type: ignore[arg-type]
    for one, two in zip(read_tables(ours), read_tables(theirs), strict=True):
        assert one.equals(two)
    found = [r.scan_issues().select("path", "kind").collect() for r in (report, other)]
    assert sorted(found[0].rows()) == sorted(found[1].rows())
    assert report.n_other_files == other.n_other_files
    return report
