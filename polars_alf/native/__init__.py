"""The functions that must be fast: in C where that was built, else their twins in Python.

With ``POLARS_ALF_NATIVE=0`` in the environment, the twins are taken.
"""

from __future__ import annotations

import os
from typing import Literal

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
    except ImportError:  # there was no compiler, or the system is Windows, which lists otherwise
        pass

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
    "start_md5",
    "update_md5s",
]
