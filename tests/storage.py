"""File systems to measure, mounted for a test, and a quick measurement."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from polars_alf import StorageReport, bench_storage


def need_root() -> None:
    """Skip the test where nothing can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount file systems, on Linux")


@contextlib.contextmanager
def mount(point: Path, *arguments: str | Path) -> Iterator[Path]:
    """Mount something for a while; skip the test where this machine does not let us."""
    need_root()
    point.mkdir()
    result = subprocess.run(["mount", *arguments, point], capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"nothing can be mounted here: {result.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


@contextlib.contextmanager
def mount_tmpfs(point: Path, size: str = "400M") -> Iterator[Path]:
    """Mount an empty file system in memory."""
    with mount(point, "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as folder:
        yield folder


@contextlib.contextmanager
def mount_ext4(point: Path, image: Path) -> Iterator[Path]:
    """Mount an empty ext4 in a file."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("there is no mkfs.ext4: install e2fsprogs")
    with image.open("wb") as file:
        file.truncate(200_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    with mount(point, "-o", "loop,noatime", image) as folder:
        shutil.rmtree(folder / "lost+found")
        yield folder


def measure_quickly(path: Path, **options: object) -> StorageReport:
    """Measure in a moment."""
    quick: dict[str, object] = {"files": 80, "threads": [1], "duration": 0.02, "repeats": 1}
    return bench_storage(path, **(quick | options))  # type: ignore[arg-type]
