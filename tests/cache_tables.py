"""Generated tables, as frames and as the files that versions of ONE have left on disks."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from polars_alf.cache import DATASETS_COLUMNS, QC_TYPE, SESSIONS_COLUMNS

# Few ids, so that tables and records share them; two differ in their last digit only.
EIDS = [uuid.UUID(int=n << 64 | 8 << 60, version=4) for n in (3, 1, 2)]
IDS = [uuid.uuid5(uuid.NAMESPACE_URL, str(n)) for n in range(12)]
IDS.append(uuid.UUID(int=IDS[0].int ^ 1))

_texts = st.sampled_from(["", "a", "spikes.times.npy", "alf/probe00/spikes.times.npy", "é ü"])


def sessions_frames(ids: list[Any] = EIDS, min_size: int = 0) -> st.SearchStrategy[pd.DataFrame]:
    rows = st.tuples(
        st.sampled_from(ids),
        _texts,
        _texts,
        st.dates(datetime.date(2000, 1, 1), datetime.date(2030, 1, 1)),
        st.integers(0, 999),
        _texts,
        _texts,
    )
    unique = st.lists(rows, min_size=min_size, max_size=len(ids), unique_by=lambda row: row[0])
    return unique.map(make_sessions)


def datasets_frames(
    eids: list[Any] = EIDS, ids: list[Any] = IDS, min_size: int = 0
) -> st.SearchStrategy[pd.DataFrame]:
    rows = st.tuples(
        st.sampled_from(eids),
        st.sampled_from(ids),
        _texts,
        st.none() | st.integers(0, 2**50),
        _texts,
        st.booleans(),
        st.sampled_from(list(QC_TYPE.categories)),
    )
    unique = st.lists(rows, min_size=min_size, max_size=9, unique_by=lambda row: row[:2])
    return unique.map(make_datasets)


def make_sessions(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(SESSIONS_COLUMNS))
    return frame.astype(SESSIONS_COLUMNS).set_index("id")


def make_datasets(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(DATASETS_COLUMNS))
    frame["file_size"] = pd.array(frame["file_size"].tolist(), dtype="UInt64")
    return frame.astype(DATASETS_COLUMNS).set_index(["eid", "id"])


def spell_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its ids as strings, as they are in files."""
    names = frame.index.names
    flat = frame.reset_index()
    return flat.assign(**{name: flat[name].map(str) for name in names}).set_index(list(names))


def halve_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its ids as pairs of integers, as in ONE 1."""
    flat = frame.reset_index()
    for name in frame.index.names:
        octets = b"".join(uid.bytes for uid in flat.pop(name))
        flat[[f"{name}_0", f"{name}_1"]] = np.frombuffer(octets, "<i8").reshape(-1, 2)
    return flat.set_index([f"{name}_{half}" for name in frame.index.names for half in (0, 1)])


def write_table(
    path: Path, frame: pd.DataFrame, metadata: Any = None, *, pandas_metadata: bool = True
) -> Path:
    """Write a table as `iblutil.io.parquet.save` does, or without what pandas notes."""
    table = pa.Table.from_pandas(frame)
    noted = table.schema.metadata if pandas_metadata else {}
    given = {"date_created": "2024-01-02 03:04", "origin": "lab"} if metadata is None else metadata
    pq.write_table(
        table.replace_schema_metadata({"one_metadata": json.dumps(given), **noted}), path
    )
    return path


def break_columns(path: Path, is_broken: Callable[[int, str], bool]) -> None:
    """Overwrite columns of a table's row groups, so that who reads them fails."""
    metadata = pq.read_metadata(path)
    with path.open("r+b") as file:
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                column = metadata.row_group(group).column(index)
                if is_broken(group, column.path_in_schema):
                    file.seek(column.dictionary_page_offset or column.data_page_offset)
                    file.write(b"\xff" * column.total_compressed_size)


def assert_same_cache(
    theirs: dict[str, Any], ours: dict[str, Any], check_index_type: bool | str = "exact"
) -> None:
    """Compare caches, but for the times at which they were made."""
    assert set(ours) == set(theirs)
    for name in theirs.keys() - {"_meta"}:
        assert_frame_equal(ours[name], theirs[name], check_index_type=check_index_type)
    assert ours["_meta"].keys() == theirs["_meta"].keys()
    for name, raw in theirs["_meta"]["raw"].items():
        assert ours["_meta"]["raw"][name] == raw
    for time in ("created_time", "loaded_time", "modified_time", "saved_time"):
        assert type(ours["_meta"][time]) is type(theirs["_meta"][time]), time
