"""Empty the system's caches, as far as it lets us."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from polars_alf.benching.operations import CHANGING, STREAMING, Operation

_DROP = Path("/proc/sys/vm/drop_caches")


class Cache(StrEnum):
    """Whether what is read was read just before, or is not in this machine's memory."""

    WARM = "warm"
    COLD = "cold"


class ColdMethod(StrEnum):
    """How caches are emptied."""

    DROP_CACHES = "drop_caches"
    FADVISE = "posix_fadvise"


def find_cold_method() -> ColdMethod | None:
    """Return the most thorough way that this process has, None where there is none."""
    try:
        # Nothing is written, and nothing is dropped.
        os.close(os.open(_DROP, os.O_WRONLY))
    except OSError:
        return ColdMethod.FADVISE if hasattr(os, "posix_fadvise") else None
    return ColdMethod.DROP_CACHES


def list_operations(cache: Cache, method: ColdMethod | None, *, writes: bool) -> list[Operation]:
    """Return the operations that can be measured with caches in a state."""
    if cache is Cache.WARM:
        return [operation for operation in Operation if writes or operation not in CHANGING]
    if method is ColdMethod.DROP_CACHES:
        return [operation for operation in Operation if operation not in CHANGING]
    # Names and attributes stay in memory, contents go.
    return [Operation.READ, *STREAMING] if method is ColdMethod.FADVISE else []


def empty_caches(method: ColdMethod, paths: Iterable[str]) -> None:
    """Empty the caches of the whole machine, or those of some files' contents.

    Raises
    ------
    OSError
        It cannot be done.
    """
    os.sync()  # what is yet to be written cannot leave memory
    if method is ColdMethod.DROP_CACHES:
        _DROP.write_text("3\n", encoding="ascii")
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
