"""The functions that must be fast: in C where that was built, else their twins in Python.

With ``POLARS_ALF_NATIVE=0`` in the environment, the twins are taken.
"""

from __future__ import annotations

import os
from typing import Literal

from polars_alf.native import off_cpu
from polars_alf.native.twin import count_unchanged, examine_files, list_directories
from polars_alf.native.twin_md5 import (
    count_md5_lanes,
    finish_md5,
    format_uuids,
    make_uuids,
    start_md5,
    update_md5s,
)
from polars_alf.native.twin_pacer import book_calls


def _read_nothing() -> int:
    return 0


_read_off_cpu = _read_nothing

IMPLEMENTATION: Literal["native", "python"] = "python"
"""Whether the functions are those in C."""

if os.environ.get("POLARS_ALF_NATIVE") != "0":
    try:
        from polars_alf.native._native import (
            count_md5_lanes,
            finish_md5,
            format_uuids,
            make_uuids,
            start_md5,
            update_md5s,
        )

        IMPLEMENTATION = "native"
        from polars_alf.native._native import (
            book_calls,
            count_unchanged,
            examine_files,
            list_directories,
        )
        from polars_alf.native._native import read_off_cpu as _read_off_cpu
    except ImportError:  # there was no compiler, or the system is Windows, which lists otherwise
        pass


def read_off_cpu() -> int:
    """Return the nanoseconds that this thread was off the processor in calls to the storage."""
    return _read_off_cpu() + off_cpu.read_off_cpu()


__all__ = [
    "IMPLEMENTATION",
    "book_calls",
    "count_md5_lanes",
    "count_unchanged",
    "examine_files",
    "finish_md5",
    "format_uuids",
    "list_directories",
    "make_uuids",
    "read_off_cpu",
    "start_md5",
    "update_md5s",
]
