"""How modules are loaded, of which most runs of the command spend most of their time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage within the context, nor ever among what is loaded in it: it stays.

    Such looks take a sixth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def load_arrow() -> None:
    """Load Arrow without NumPy, unless either is there: to walk, and write tables, needs none.

    Arrow can do without it, as its own documentation says (since version 18), and NumPy with its
    modules takes a third of the processor time of the start. Others can load it later, but what
    Arrow hands over to it fails in this process.
    """
    if "pyarrow" in sys.modules or "numpy" in sys.modules:
        return
    sys.modules["numpy"] = None  # type: ignore[assignment]
    try:
        import pyarrow.parquet  # noqa: F401
    finally:
        del sys.modules["numpy"]
