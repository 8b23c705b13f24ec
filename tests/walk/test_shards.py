"""The cut of an archive into shards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polars_alf.walk.shards import path_key, plan_shards

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
    planned = plan_shards(sorted(folders), least, finished)
    walked = [folder for shard in planned for folder in shard.units]
    assert walked == sorted(folders - finished, key=path_key)
    assert [shard.index for shard in planned] == list(range(len(planned)))
    assert len({shard.name for shard in planned}) == len(planned)
    assert plan_shards(sorted(folders, reverse=True), least, finished) == planned
