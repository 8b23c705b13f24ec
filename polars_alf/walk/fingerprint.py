"""The fingerprints by which a changed file or directory is told from one that is as it was."""

from __future__ import annotations

import os

_MOST_NS = 2**63 - 1
_INODE_BITS = 2**64 - 1

Fingerprint = tuple[int, int, int]
"""``mtime_ns``, ``ctime_ns`` and ``inode`` of a directory, which change with its entries."""


def fingerprint_file(status: os.stat_result) -> tuple[int, int]:
    """Return the mtime_ns and the inode of a file, as far as 64 bits hold them.

    File systems have times beyond the year 2262, and inodes of 128 bits.
    """
    mtime_ns = status.st_mtime_ns
    if not -_MOST_NS <= mtime_ns <= _MOST_NS:
        mtime_ns = _MOST_NS if mtime_ns > 0 else -_MOST_NS
    return mtime_ns, status.st_ino & _INODE_BITS


def fingerprint_directory(directory: str | int) -> Fingerprint | None:
    """Return the fingerprint of a path or a descriptor, None where the system does not tell."""
    try:
        status = os.stat(directory)  # noqa: PTH116  may be a descriptor
    except OSError:
        return None
    exact = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    if max(exact) <= _MOST_NS and min(exact) >= -_MOST_NS:
        return exact
    mtime_ns, inode = fingerprint_file(status)
    return mtime_ns, max(min(exact[1], _MOST_NS), -_MOST_NS), inode
