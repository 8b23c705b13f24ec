"""The functions that must be fast: in C where that was built, else their twins in Python.

With ``POLARS_ALF_NATIVE=0`` in the environment, the twins are taken.
"""

from __future__ import annotations

import os
from typing import Literal

IMPLEMENTATION: Literal["native", "python"] = "python"
"""Whether the functions are those in C."""

if os.environ.get("POLARS_ALF_NATIVE") != "0":
    try:
        from polars_alf.native._native import make_uuids

        IMPLEMENTATION = "native"
    except ImportError:  # there was no compiler where the package was installed
        pass

if IMPLEMENTATION == "python":
    from polars_alf.native.twin_md5 import make_uuids

__all__ = ["IMPLEMENTATION", "make_uuids"]
