"""Tables of the archive that all tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

import polars_alf


@pytest.fixture
def tables(archive: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, hash_files=True, namespace="site")
    return folder
