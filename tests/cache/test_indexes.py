"""Indexes of UUID objects beside the original."""

import uuid

import one.alf.cache as theirs
import pandas as pd
import pytest
from cache_tables import (
    EIDS,
    IDS,
    datasets_frames,
    make_datasets,
    sessions_frames,
    spell_ids,
)
from hypothesis import given, settings
from pandas.testing import assert_frame_equal

from polars_alf import cache as ours

pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("error:::polars_alf"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning:one"),
]


DATASET = (EIDS[0], IDS[0], "alf/spikes.times.npy", 12, "", True, "PASS")


def assert_same_frame(left, right):
    assert_frame_equal(left, right, check_index_type="exact")


@settings(deadline=None, max_examples=40)
@given(table=sessions_frames() | datasets_frames())
def test_cast_index_object(table):
    for original, dtype in (
        (spell_ids(table), uuid.UUID),
        (table, str),
        (table, lambda uid: uid.hex[:1]),
        (table, lambda uid: uid.int % 7),
    ):
        if len(original):
            expected = theirs.cast_index_object(original.copy(), dtype)
            found = original.copy()
            assert ours.cast_index_object(found, dtype) is found
            assert_same_frame(found, expected)


def test_cast_of_missing_and_mixed_ids():
    index = pd.MultiIndex.from_tuples(
        [(None, str(IDS[0])), (str(EIDS[0]), str(IDS[1]))], names=["eid", "id"]
    )
    table = make_datasets([DATASET] * 2).set_index(index)
    assert_same_frame(ours.cast_index_object(table.copy()), theirs.cast_index_object(table.copy()))
    mixed = pd.Index([EIDS[0], EIDS[1].hex], dtype=object)
    table = ours.cast_index_object(pd.DataFrame({"a": [1, 2]}, index=mixed))
    assert list(table.index) == EIDS[:2]
    with pytest.raises(ValueError, match="'x' is not a UUID"):
        ours.cast_index_object(pd.DataFrame({"a": [1]}, index=["x"]))
