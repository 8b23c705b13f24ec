"""Folders that are gone when their work is done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_folder(where: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of this user alone; what cannot be removed of it at the end stays.

    Parameters
    ----------
    where
        Folder to make it in; by default the system's for temporary files.
    """
    # TemporaryDirectory of Python 3.11 ends in a RecursionError where permissions are missing.
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        yield folder
    finally:
        # Windows, too, keeps files that are mapped.
        shutil.rmtree(folder, ignore_errors=True)
