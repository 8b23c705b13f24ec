"""Buckets on servers that are started for these tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import google_and_azure
import pytest
from buckets import ENVIRONMENT, Bucket, Mirror, serve_moto, serve_rclone
from google_and_azure import AzureContainer, GoogleBucket, serve_azure, serve_google


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give keys in the environment, and hide profiles that this machine may have."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    for name, value in {**ENVIRONMENT, **google_and_azure.ENVIRONMENT}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Return the address of a server that has all that S3 has."""
    with serve_moto() as url:
        yield url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Return a folder, and the address of the server that has its folders as buckets."""
    folder = tmp_path_factory.mktemp("served")
    with serve_rclone(folder) as url:
        yield Mirror(folder, url)


@pytest.fixture
def mirror(served: Mirror) -> Mirror:
    """Make an empty folder that is a bucket as well."""
    folder = served.folder / f"bucket-{uuid.uuid4().hex}"
    folder.mkdir()
    return Mirror(folder, served.endpoint_url)


@pytest.fixture
def bucket(moto: str) -> Bucket:
    """Make an empty bucket."""
    return Bucket.create(f"bucket-{uuid.uuid4().hex}", moto)


@pytest.fixture
def out_dirs(tmp_path: Path) -> tuple[Path, Path]:
    """Make folders for the tables of a bucket, and for those of a folder."""
    folders = tmp_path / "of_bucket", tmp_path / "of_folder"
    for folder in folders:
        folder.mkdir()
    return folders


@pytest.fixture(scope="session")
def google() -> Iterator[str]:
    """Return the address of a service like Google Cloud Storage."""
    with serve_google() as url:
        yield url


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an account of a service like Azure."""
    with serve_azure(tmp_path_factory.mktemp("azure")) as url:
        yield url


@pytest.fixture(params=["google", "azure"])
def elsewhere(request: pytest.FixtureRequest) -> GoogleBucket | AzureContainer:
    """Make an empty bucket that is not of S3."""
    kinds = {"google": GoogleBucket, "azure": AzureContainer}
    url = request.getfixturevalue(request.param)
    return kinds[request.param].create(f"bucket-{uuid.uuid4().hex}", url)
