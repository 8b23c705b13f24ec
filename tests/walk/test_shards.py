"""The cut of an archive into shards."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.alf.paths import path_key
from polars_alf.alf.root import open_root
from polars_alf.walk import walk
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import Shard, plan_shards, shard_folder

DATES = st.sets(
    st.tuples(st.sampled_from(["S1", "S1.a", "S1-b", "lab/S2"]), st.integers(10, 30)).map(
        lambda parts: f"{parts[0]}/2020-01-{parts[1]}"
    )
)


@given(DATES, st.data(), st.integers(1, 9))
def test_each_folder_that_is_left_is_in_one_shard(
    folders: set[str], data: st.DataObject, least: int
) -> None:
    finished = data.draw(st.sets(st.sampled_from(sorted(folders)))) if folders else set()
    dated = pl.Series(sorted(folders), dtype=pl.String)
    planned = plan_shards(dated, least=least, finished=finished)
    walked = [folder for shard in planned for folder in shard.folders]
    assert walked == sorted(folders - finished, key=path_key)
    assert [shard.index for shard in planned] == list(range(len(planned)))
    assert len({shard.name for shard in planned}) == len(planned)
    assert plan_shards(dated.reverse(), least=least, finished=finished) == planned


@pytest.mark.parametrize("n_folders", [10, 700, 910, 1600, 5000, 20_000])
def test_slow_storage_gets_whole_rounds_of_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_folders: int
) -> None:
    monkeypatch.setattr(walk, "IMPLEMENTATION", "native")
    monkeypatch.setattr(walk, "is_slow", lambda _: True)
    folders = pl.Series([f"S/{n}" for n in range(n_folders)], dtype=pl.String)
    with walk.open_walk(open_root(tmp_path), WalkOptions()) as opened:
        n_shards = len(opened.plan_shards(folders))
        n_workers = opened.choose_workers(n_shards).n_jobs
    assert n_shards % n_workers == 0


SHARD = Shard.pack(0, ("S/2020-01-01",))


def test_a_shard_has_its_name_once_it_is_done(tmp_path: Path) -> None:
    with shard_folder(tmp_path, SHARD.name) as folder:
        (folder / "rows").write_text("first")
        assert not (tmp_path / SHARD.name).exists()
    with pytest.raises(KeyboardInterrupt), shard_folder(tmp_path, SHARD.name):
        raise KeyboardInterrupt
    with shard_folder(tmp_path, SHARD.name) as folder:
        (folder / "rows").write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == [SHARD.name]
    assert (tmp_path / SHARD.name / "rows").read_text() == "first"
