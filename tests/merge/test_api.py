"""Tables of several archives, or of parts of one, become one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from merges import NAMESPACE, index
from polars.testing import assert_frame_equal
from trees import make_tree

import polars_alf
import polars_alf.cache
from polars_alf import merge_tables, schema
from polars_alf.errors import (
    TableWarning,
)
from polars_alf.tables import contract, files, journal, transaction


def test_parts_of_an_archive_become_what_the_whole_is(archive: Path, tmp_path: Path) -> None:
    parts = [index(archive / lab, tmp_path / lab) for lab in ("cortexlab", "wittenlab")]
    whole = index(archive, tmp_path / "whole")
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    merged = merge_tables(parts, out_dir)
    assert (merged.n_duplicates, merged.n_conflicts) == (0, 0)
    for name in schema.TABLES:
        assert_frame_equal(
            pl.read_parquet(out_dir / f"{name}.pqt"), pl.read_parquet(whole / f"{name}.pqt")
        )
    headers = contract.read_headers(out_dir)
    assert headers["datasets"].origins == tuple(str(archive / part.name) for part in parts)
    assert headers["datasets"].namespace == contract.read_headers(whole)["datasets"].namespace


@pytest.mark.slow
@pytest.mark.pandas
@pytest.mark.parametrize("hash_ids", [True, False])
def test_one_opens_merged_tables(archive: Path, tmp_path: Path, hash_ids: bool) -> None:
    from one.api import One

    folders = []
    for lab in ("cortexlab", "wittenlab"):
        folders.append(tmp_path / lab)
        folders[-1].mkdir()
        polars_alf.index_archive(archive / lab, folders[-1], hash_ids=hash_ids, namespace=NAMESPACE)
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    merge_tables(folders, out_dir)
    one = One(cache_dir=archive, tables_dir=out_dir, mode="local")
    found = one.search(lab="wittenlab")
    assert len(found) == 1
    assert len(one.search()) == 4
    assert len(one._cache.datasets) == 12
    if not hash_ids:
        return  # ONE finds sessions by such ids, but none of their datasets
    assert "alf/spikes.times.npy" in one.list_datasets(found[0])
    path = one.load_dataset(found[0], "_ibl_trials.intervals_bpod.csv", download_only=True)
    assert path == archive / "wittenlab/Subjects/KS001/2020-01-01/001" / path.name


def test_merging_into_one_of_the_inputs_is_right(archive: Path, tmp_path: Path) -> None:
    cortex = index(archive / "cortexlab", tmp_path / "cortex")
    witten = index(archive / "wittenlab", tmp_path / "witten")
    assert merge_tables([cortex, witten], cortex).n_sessions == 4
    again = merge_tables([cortex, witten], cortex)
    assert (again.n_sessions, again.n_datasets, again.n_duplicates) == (4, 12, 4)
    with pytest.warns(TableWarning, match=r"cortexlab, .*wittenlab; they will be replaced"):
        assert merge_tables([witten], cortex).n_sessions == 1


def test_conflicts_go_with_the_tables_that_had_them(archive: Path, tmp_path: Path) -> None:
    first, second = (index(archive, tmp_path / name) for name in ("first", "second"))
    merge_tables([first, second], first)
    assert files.conflicts_path(first).exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "_remove_old", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index(archive, first)
    assert files.conflicts_path(first).exists()
    with transaction.locked_state(first):
        assert not files.conflicts_path(first).exists(), "the commit was finished"
    merge_tables([first, second], first)
    assert files.conflicts_path(first).exists()
    index(archive, first)
    assert not files.conflicts_path(first).exists()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_issues_come_along(archive: Path, tmp_path: Path) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": {}})
    parts = [index(archive / lab, tmp_path / lab) for lab in ("cortexlab", "wittenlab")]
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    merge_tables(parts, out_dir)
    issues = files.scan_issues(out_dir).collect()
    assert issues["path"].to_list() == [f"{archive}/cortexlab/Subjects/KS001/2021-13-45"]
