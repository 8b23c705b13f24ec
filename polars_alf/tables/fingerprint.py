"""Fingerprints of files: they differ as soon as a file is replaced or written to."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from polars_alf.schema import GRAIN_NS, TABLES
from polars_alf.tables.files import table_path


class Fingerprint(NamedTuple):
    """The identity of a file, its size in bytes, and when it was modified."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def is_final(self) -> bool:
        """Whether any later change would give another one, as the clock has ticked since."""
        return time.time_ns() - self.mtime_ns > GRAIN_NS

    def is_same_file(self, other: Fingerprint) -> bool:
        """Whether both are of one file, whatever was written to it in between."""
        return (self.device, self.inode) == (other.device, other.inode)


def fingerprint_file(file: Path | int) -> Fingerprint:
    """Return the fingerprint of a file, given by its path or its descriptor."""
    status = os.stat(file)  # noqa: PTH116  may be a descriptor
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def fingerprint_each_table(folder: Path) -> dict[str, Fingerprint]:
    """Return the fingerprints of the tables of a folder by their names, for those it has."""
    found = {}
    for name in TABLES:
        with contextlib.suppress(OSError):
            found[name] = fingerprint_file(table_path(folder, name))
    return found


def fingerprint_tables(folder: Path) -> str:
    """Return a text that is another one as soon as a table of a folder is replaced."""
    found = fingerprint_each_table(folder)
    # Plans of removals keep this text. Devices get other numbers when a system starts again.
    return ", ".join(
        f"{name} {file.inode} {file.size} {file.mtime_ns}"
        if (file := found.get(name))
        else f"{name} missing"
        for name in TABLES
    )
