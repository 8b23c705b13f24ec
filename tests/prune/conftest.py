"""Archives with more than their tables have."""

from __future__ import annotations

from pathlib import Path

import pytest
from removals import KS001
from trees import make_tree

from polars_alf import index_archive
from polars_alf.prune import folders


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def by_descriptor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test as on systems that look names up in open folders, and as on those that do not."""
    if request.param and not folders.BY_DESCRIPTOR:
        pytest.skip("this system has no such descriptors")
    monkeypatch.setattr(folders, "BY_DESCRIPTOR", request.param)
    return bool(request.param)


@pytest.fixture
def strays(archive: Path) -> Path:
    """Make an archive with an index, three strays and an empty session."""
    index_archive(archive)
    make_tree(archive / KS001, {f"alf/stray{i}.times.npy": f"stray {i}" for i in range(3)})
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": {}})
    return archive
