"""The fingerprints by which a changed file or directory is told from one that is as it was."""

from __future__ import annotations

import os

from polars_alf.native.twin import clamp

_BITS_64 = 2**64 - 1

Fingerprint = tuple[int, int, int]
"""``mtime_ns``, ``ctime_ns`` and ``inode`` of a directory, which change with its entries."""


def fingerprint_file(status: os.stat_result) -> tuple[int, int]:
    """Return the mtime_ns and the inode of a file, as far as 64 bits hold them.

    File systems have times beyond the year 2262, and inodes of 128 bits.
    """
    return clamp(status.st_mtime_ns), status.st_ino & _BITS_64


def fingerprint_directory(path: str) -> Fingerprint | None:
    """Return the fingerprint of a directory, None where the system does not tell."""
    try:
        status = os.stat(path)  # noqa: PTH116  a quick refresh does little else
    except OSError:
        return None
    mtime_ns, inode = fingerprint_file(status)
    return mtime_ns, clamp(status.st_ctime_ns), inode
