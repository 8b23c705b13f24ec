"""Files of one object whose sizes do not fit together."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, make_sessions

import polars_alf

HEADERS = st.sampled_from([80, 96, 128])


def find(sizes: dict[str, int | None]) -> set[tuple[str, str]]:
    """Return the path and the one compared with of files in one session that do not fit."""
    rows = [("s", str(number), path, size) for number, (path, size) in enumerate(sizes.items())]
    found = polars_alf.check_tables((make_sessions([("s", "KS001")]), make_datasets(rows)))
    return set(found.findings.filter(kind="misfit_size").select("rel_path", "likely").rows())


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**7),
    HEADERS,
    st.lists(st.sampled_from([1, 2, 4, 8, 12, 16, 24, 32, 10_496]), min_size=2, max_size=5),
)
def test_files_with_the_same_rows_fit(n_rows: int, header: int, widths: list[int]) -> None:
    names = {f"alf/spikes.a{i}.npy": header + n_rows * w for i, w in enumerate([8, *widths])}
    assert find(names) == set()


@settings(max_examples=20, deadline=None)
@given(st.integers(500, 10**7), HEADERS, st.sampled_from([1, 2, 4, 8]))
def test_one_row_less_does_not_fit(n_rows: int, header: int, width: int) -> None:
    sizes = {
        "alf/spikes.times.npy": header + n_rows * width,
        "alf/spikes.amps.npy": header + n_rows * width,
        "alf/spikes.depths.npy": header + (n_rows - 1) * width,
    }
    [(path, likely)] = find(sizes)
    assert path == "alf/spikes.depths.npy"
    assert likely != path


@pytest.mark.parametrize("header", [80, 96, 128])
def test_an_empty_file_does_not_fit_one_that_is_not(header: int) -> None:
    sizes = {"alf/spikes.times.npy": header, "alf/spikes.amps.npy": header + 8000}
    assert find(sizes) == {("alf/spikes.times.npy", "alf/spikes.amps.npy")}
    assert find({"alf/spikes.times.npy": header, "alf/spikes.amps.npy": header}) == set()


@pytest.mark.parametrize(
    "other",
    [
        "alf/probe00/spikes.amps.npy",
        "alf/#2024-05-06#/spikes.amps.npy",
        "alf/_ks_spikes.amps.npy",
        "alf/clusters.amps.npy",
        "alf/spikes.amps_ephysClock.npy",
        "alf/spikes.amps.extra.npy",
        "alf/spikes.amps.csv",
        "alf/spikes.timestamps.npy",
    ],
)
def test_other_objects_need_not_fit(other: str) -> None:
    assert find({"alf/spikes.times.npy": 8128, "alf/spikes.amps.npy": 7992}) != set()
    assert find({"alf/spikes.times.npy": 8128, other: 7992}) == set()


def test_files_of_unknown_size_are_left_out() -> None:
    assert find({"alf/spikes.times.npy": 8128, "alf/spikes.amps.npy": None}) == set()


def test_a_finding_has_both_sizes() -> None:
    sessions = make_sessions([("s", "KS001")])
    datasets = make_datasets(
        [("s", "1", "spikes.times.npy", 8128), ("s", "2", "spikes.amps.npy", 7992)]
    )
    row = polars_alf.check_tables((sessions, datasets)).findings.row(0, named=True)
    assert {row["file_size"], row["other_size"]} == {8128, 7992}
    assert row["session"] == "lab/Subjects/KS001/2024-05-06/001"
    assert pl.DataFrame([row])["eid"].to_list() == ["s"]


@pytest.mark.parametrize("size", [0, 1, 79])
def test_a_file_that_is_too_short_for_its_header_is_found(size: int) -> None:
    sizes = {"alf/a.b.npy": size, "alf/a.c.npy": 8_128, "alf/a.d.npy": 8_128}
    assert find(sizes) == {("alf/a.b.npy", "alf/a.c.npy")}
    assert find({"alf/a.b.npy": size, "alf/a.c.npy": 8_128}) == {("alf/a.b.npy", "alf/a.c.npy")}
