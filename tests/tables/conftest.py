"""Tables of a small archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from polars_alf import index_archive


@pytest.fixture
def path(archive: Path) -> Path:
    """Make a table."""
    index_archive(archive)
    return archive / "datasets.pqt"


@pytest.fixture
def tables(archive: Path) -> Path:
    index_archive(archive)
    return archive
