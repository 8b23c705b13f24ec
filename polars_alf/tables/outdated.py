"""Manifests and bundles beside tables: whether they are of those that are there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from pathlib import Path

from polars_alf.display import warn_caller
from polars_alf.errors import TableWarning
from polars_alf.tables.files import BUNDLE, MANIFEST

_CHUNK = 1 << 20


def warn_of_manifest(folder: Path) -> None:
    """Warn where the manifest of a release is not of the files that are there now."""
    path = folder / MANIFEST
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        tables = json.loads(path.read_text(encoding="utf-8"))["tables"]
        wanted = {name: (table["bytes"], table["sha256"]) for name, table in tables.items()}
        if not all(_has_sha256(folder / name, *values) for name, values in wanted.items()):
            warn_caller(
                f"{path} is of other files than the tables that are there now; whether they say "
                f"the same, verify --manifest {path} tells; if not, make the release again with "
                "subset",
                TableWarning,
            )


def warn_of_bundle(folder: Path) -> None:
    """Warn where the bundle for a web server does not have the tables that are there now."""
    path = folder / BUNDLE
    try:
        with zipfile.ZipFile(path) as bundle:
            entries = [(info.filename, info.file_size, info.CRC) for info in bundle.infolist()]
        is_right = all(_has_crc(folder / name, size, crc) for name, size, crc in entries)
    except FileNotFoundError:
        return
    except (OSError, zipfile.BadZipFile):
        is_right = False
    if not is_right:
        warn_caller(
            f"{path} has not the tables that are there now; publish those in {folder}", TableWarning
        )


def _has_sha256(path: Path, size: int, digest: str) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _has_crc(path: Path, size: int, crc: int) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found = zlib.crc32(chunk, found)
    return found == crc
