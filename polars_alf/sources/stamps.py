"""What tells a file or a directory that has changed from one that has not."""

from __future__ import annotations

import os

_MOST_NS = 2**63 - 1
_INODE_BITS = 2**64 - 1

Stamp = tuple[int, int, int]
"""``mtime_ns``, ``ctime_ns`` and ``inode`` of a directory, which change with its entries."""


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a changed file: mtime_ns and inode, as far as 64 bits hold them.

    File systems have times beyond the year 2262, and inodes of 128 bits.
    """
    mtime_ns = status.st_mtime_ns
    if not -_MOST_NS <= mtime_ns <= _MOST_NS:
        mtime_ns = _MOST_NS if mtime_ns > 0 else -_MOST_NS
    return mtime_ns, status.st_ino & _INODE_BITS


def read_stamp(directory: str | int) -> Stamp | None:
    """Return the stamp of a directory, None where the system does not tell."""
    try:
        status = os.stat(directory)  # noqa: PTH116  may be a descriptor
    except OSError:
        return None
    exact = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    if max(exact) <= _MOST_NS and min(exact) >= -_MOST_NS:
        return exact
    mtime_ns, inode = stamp(status)
    return mtime_ns, max(min(exact[1], _MOST_NS), -_MOST_NS), inode
