"""The functions that must be fast: in C where that was built, else their twins in Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polars_alf.native import twin

if TYPE_CHECKING or os.environ.get("POLARS_ALF_NATIVE") == "0":
    _native: object = None
else:
    try:
        from polars_alf.native import _native
    except ImportError:
        _native = None

IMPLEMENTATION = "python" if _native is None else "native"
"""Which of the two it is; the environment variable ``POLARS_ALF_NATIVE=0`` wants the twins."""

list_directories = getattr(_native, "list_directories", twin.list_directories)
examine_files = getattr(_native, "examine_files", twin.examine_files)
