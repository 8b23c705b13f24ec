"""Reads while a commit is under way."""

from __future__ import annotations

from pathlib import Path

import pytest
from cut_commits import STAGES, kill_at
from trees import SESSION, make_tree

from polars_alf import index_archive


@pytest.mark.slow
@pytest.mark.pandas
@pytest.mark.parametrize("stage", STAGES)
def test_a_reader_never_sees_half_a_commit(archive: Path, stage: str) -> None:
    from polars_alf.cache import load_tables

    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    kill_at(stage, archive)
    tables = load_tables(archive)
    assert (len(tables.sessions), len(tables.datasets)) in {(4, 12), (5, 15)}
    assert set(tables.datasets.index.get_level_values("eid")) == set(tables.sessions.index)
