"""An archive that was indexed twice, with issues, changes and duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import SESSION, make_tree

import polars_alf


@pytest.fixture
def changed(archive: Path) -> Path:
    """Index an archive, change it, and index it again."""
    polars_alf.index_archive(archive, hash_files=True)
    make_tree(
        archive,
        {
            "cortexlab/Subjects/KS001/2021-13-45/001": SESSION,
            "wittenlab/Subjects/KS001/2020-05-01/001/alf/new.data.npy": 2_000_000,
        },
    )
    (archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy").unlink()
    polars_alf.index_archive(archive, hash_files=True)
    return archive
