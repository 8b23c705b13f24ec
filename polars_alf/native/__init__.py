"""The functions that must be fast: in C where that was built, else their twins in Python.

`POLARS_ALF_NATIVE=0` in the environment switches those in C off.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType


def _load_extension() -> ModuleType | None:
    """Return the functions in C, None where they are not built or switched off."""
    if os.environ.get("POLARS_ALF_NATIVE") == "0":
        return None
    try:
        return import_module("polars_alf.native._native")
    except ImportError:
        return None


IMPLEMENTATION: str = "native" if _load_extension() else "python"
"""What the functions are: ``native``, those in C, or ``python``, their twins."""
