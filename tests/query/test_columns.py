"""What tables know of a dataset, as columns: its session, the parts of its path, its file."""

from __future__ import annotations

from datetime import date
from pathlib import Path, PurePosixPath

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import path as one_path
from one.api import One
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree

from polars_alf import (
    errors,
    full_path,
    index_archive,
    join_sessions,
    scan_archive,
    scan_datasets,
    scan_sessions,
    with_alf_parts,
)
from polars_alf.schema import DATASETS, SESSIONS

PARTS = [
    "collection",
    "revision",
    "namespace",
    "object",
    "attribute",
    "timescale",
    "extra",
    "extension",
]

UUID = "2622b17c-9408-4910-99cb-abf16d9225b9"
_words = st.text("abcXYZ019", min_size=1, max_size=4)
_rel_paths = st.builds(
    "{}{}{}{}.{}{}{}.{}".format,
    st.sampled_from(["", "", "alf/", "alf/probe00/", "raw data/", "a.b/c-d/", "/"]),
    st.sampled_from(["", "", "#2020-01-01#/", "#v.1#/", "#/"]),
    st.sampled_from(["", "_ibl_", "_", "__", "._"]),
    _words | st.sampled_from(["spikes", "left_camera", "é"]),
    _words | st.sampled_from(["times", "raw_intervals", "_phy_ids", ""]),
    st.sampled_from(["", "_bpod", "_times_x", "_"]),
    st.sampled_from(["", "", f".{UUID}", ".a.b", "..", ".-"]),
    st.sampled_from(["npy", "npy", "csv", "tar.gz", "npy (1)", ""]),
)


@pytest.fixture
def rows(archive: Path) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Give sessions and datasets of a clean archive."""
    index_archive(archive, default_revisions=False)
    return scan_sessions(archive), scan_datasets(archive)


# with_alf_parts


@given(st.lists(_rel_paths, max_size=20), st.sampled_from([1, 3]))
@settings(deadline=None)
def test_parts_are_those_of_one_row_by_row(rel_paths: list[str], times: int) -> None:
    frame = pl.DataFrame({"rel_path": rel_paths * times}, schema={"rel_path": pl.String})
    parts = with_alf_parts(frame).drop("rel_path")
    assert parts.columns == PARTS
    expected = [
        tuple(one_path.rel_path_parts(rel_path, assert_valid=False)) or (None,) * len(PARTS)
        for rel_path in rel_paths
    ]
    assert parts.rows() == expected * times
    for rel_path, row in zip(rel_paths, parts.rows(), strict=False):
        if row[3] is not None:
            assert one_path.filename_parts(PurePosixPath(rel_path).name) == row[2:]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_parts_of_many_paths_that_repeat_and_that_differ(engine: str) -> None:
    number = pl.int_range(300_000)
    frame = pl.select(
        rel_path=pl.concat_str(
            pl.lit("alf/probe0"), number % 7, pl.lit("/_ibl_spikes.times_"), number, pl.lit(".npy")
        )
    )
    parts = with_alf_parts(frame.lazy()).collect(engine=engine)
    expected = frame.with_columns(
        collection=pl.concat_str(pl.lit("alf/probe0"), number % 7), timescale=number.cast(pl.String)
    )
    assert_frame_equal(parts.select(expected.columns), expected)
    assert parts.select("namespace", "object", "attribute", "extension").unique().rows() == [
        ("ibl", "spikes", "times", "npy")
    ]


def test_parts_where_paths_repeat_here_and_differ_there() -> None:
    same = ["alf/spikes.times.npy"] * 20_000
    others = [f"alf/spikes.times.{number}.npy" for number in range(20_000)]
    for rel_paths in (same + others, others + same):
        parts = with_alf_parts(pl.DataFrame({"rel_path": rel_paths}))
        extras = [path.split(".")[2] if path.count(".") > 2 else None for path in rel_paths]
        assert parts["extra"].to_list() == extras
        assert parts["object"].unique().to_list() == ["spikes"]


def test_parts_of_whole_paths_as_one_has_them(
    archive: Path, rows: tuple[pl.LazyFrame, pl.LazyFrame]
) -> None:
    sessions, datasets = rows
    joined = with_alf_parts(join_sessions(datasets, sessions)).with_columns(full_path(archive))
    for row in joined.collect().iter_rows(named=True):
        expected = one_path.ALFPath(row["full_path"]).parse_alf_path()
        found = {part: row[part] for part in expected}
        found |= {"date": str(row["date"]), "number": f"{row['number']:03}"}
        assert found == expected


def test_parts_come_last_and_once(rows: tuple[pl.LazyFrame, pl.LazyFrame]) -> None:
    sessions, datasets = rows
    alone = with_alf_parts(datasets)
    assert isinstance(alone, pl.LazyFrame)
    assert alone.collect_schema().names() == [*DATASETS.names, "origin", *PARTS]
    assert with_alf_parts(alone).collect_schema() == alone.collect_schema()
    joined = with_alf_parts(join_sessions(datasets, sessions))
    assert joined.collect_schema().names() == [
        *DATASETS.names,
        "origin",
        *SESSIONS.names[1:],
        *PARTS,
    ]
    assert_frame_equal(with_alf_parts(datasets.collect()), alone.collect())


def test_rel_paths_of_any_type() -> None:
    frame = pl.DataFrame(
        {"rel_path": ["a.b.c", None, "a.b.c"]}, schema={"rel_path": pl.Categorical}
    )
    assert with_alf_parts(frame)["extension"].to_list() == ["c", None, "c"]


def test_parts_of_an_archive_that_is_walked(archive: Path) -> None:
    objects = with_alf_parts(scan_archive(archive)).group_by("object").len().sort("object")
    assert objects.collect().rows() == [("spikes", 8), ("trials", 4)]


def test_a_filter_goes_past_the_parts_to_the_file(
    rows: tuple[pl.LazyFrame, pl.LazyFrame],
) -> None:
    sessions, datasets = rows
    joined = with_alf_parts(join_sessions(datasets, sessions))
    plan = joined.filter(pl.col("eid") == "x", pl.col("subject") == "s").explain()
    selections = [line.strip() for line in plan.splitlines() if "SELECTION" in line]
    assert len(selections) == 2
    assert 'col("eid") == "x"' in selections[0]
    assert 'col("subject") == "s"' in selections[1]


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda: with_alf_parts(pl.DataFrame({"a": [1]})), "no column rel_path, only a; give"),
        (lambda: join_sessions(pl.DataFrame({"a": [1]}), pl.DataFrame({"id": []})), "column eid"),
        (lambda: join_sessions(pl.DataFrame({"eid": [1]}), pl.LazyFrame()), "column id"),
    ],
)
def test_missing_columns_are_named(function, match: str) -> None:
    with pytest.raises(errors.ColumnsError, match=match):
        function()


@pytest.mark.parametrize("value", [None, 3, {"rel_path": []}])
def test_what_is_no_frame(value: object) -> None:
    with pytest.raises(errors.OptionError, match="is no frame of Polars"):
        with_alf_parts(value)  # type: ignore[type-var]


# join_sessions


def test_every_dataset_gets_its_session_in_order(
    rows: tuple[pl.LazyFrame, pl.LazyFrame],
) -> None:
    sessions, datasets = rows
    known = sessions.filter(pl.col("lab") == "cortexlab")
    joined = join_sessions(datasets, known).collect()
    assert_frame_equal(joined.select(pl.exclude(SESSIONS.names[1:])), datasets.collect())
    assert joined["lab"].value_counts(sort=True).rows() == [("cortexlab", 9), (None, 3)]
    eager = join_sessions(datasets.collect(), known)
    assert_frame_equal(eager, joined)


def test_archives_with_the_same_ids_do_not_mix(archive: Path, tmp_path: Path) -> None:
    for name, lab in (("a", "lab_a"), ("b", "lab_b")):
        (tmp_path / name).mkdir()
        root = make_tree(tmp_path / f"archive_{name}", {"s/2020-01-01/001": SESSION})
        index_archive(root, tmp_path / name, lab=lab, namespace="same")
    folders = [tmp_path / "a", tmp_path / "b"]
    joined = join_sessions(scan_datasets(folders), scan_sessions(folders)).collect()
    assert joined["eid"].n_unique() == 1
    assert joined.select("origin", "lab").unique(maintain_order=True).rows() == [
        (str(folders[0]), "lab_a"),
        (str(folders[1]), "lab_b"),
    ]
    one = join_sessions(scan_datasets(folders), scan_sessions(folders[0]).drop("origin"))
    assert one.select("lab").unique().collect().rows() == [("lab_a",)]


def test_names_that_both_have_come_twice() -> None:
    datasets = pl.DataFrame({"eid": ["e"], "qc": ["PASS"]})
    sessions = pl.DataFrame({"id": ["e"], "qc": ["FAIL"]})
    assert join_sessions(datasets, sessions).to_dicts() == [
        {"eid": "e", "qc": "PASS", "qc_session": "FAIL"}
    ]


# full_path


@pytest.mark.parametrize("below", ["", "cortexlab", "cortexlab/Subjects"])
def test_full_paths_are_files_and_those_of_one(archive: Path, tmp_path: Path, below: str) -> None:
    report = index_archive(archive / below, tmp_path)
    joined = join_sessions(scan_datasets(tmp_path), scan_sessions(tmp_path))
    found = joined.select("eid", "rel_path", full_path(report.cache_dir)).collect()
    assert found.height == report.n_datasets
    one = One(cache_dir=report.cache_dir, tables_dir=tmp_path, mode="local")
    for eid, rel_path, path in found.rows():
        assert Path(path).is_file()
        assert path == f"{one.eid2path(eid).as_posix()}/{rel_path}"


def test_full_paths_without_labs(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", {"s/0999-01-01/012": SESSION})
    index_archive(root, lab="mine")
    joined = join_sessions(scan_datasets(root), scan_sessions(root))
    paths = joined.select(full_path(pl.col("origin"), lab_folders=False)).collect()["full_path"]
    assert all(Path(path).is_file() for path in paths)
    assert paths[0].startswith(f"{root}/s/0999-01-01/012/")
    as_one = joined.select(full_path(root)).collect()["full_path"]
    assert as_one[0].startswith(f"{root}/mine/Subjects/s/0999-01-01/012/")


ROW = {
    "lab": [None],
    "subject": ["s"],
    "date": [date(2020, 1, 1)],
    "number": [1],
    "rel_path": ["a.b.c"],
}


@pytest.mark.parametrize(
    ("root", "start"),
    [
        ("/data", "/data/"),
        ("/data/", "/data/"),
        ("/", "/"),
        ("", ""),
        ("s3://bucket/prefix", "s3://bucket/prefix/"),
        (PurePosixPath("data"), "data/"),
        (pl.lit("/data/"), "/data/"),
    ],
    ids=str,
)
def test_roots(root: object, start: str) -> None:
    found = pl.DataFrame(ROW).select(full_path(root))  # type: ignore[arg-type]
    assert found.rows() == [(f"{start}s/2020-01-01/001/a.b.c",)]
    assert found.columns == ["full_path"]


def test_the_path_of_an_unknown_session_is_unknown() -> None:
    frame = pl.DataFrame(ROW | {"subject": [None]}, schema_overrides={"subject": pl.String})
    assert frame.select(full_path("/data")).item() is None


def test_a_root_that_is_none() -> None:
    with pytest.raises(errors.OptionError, match="the root 3 is no path"):
        full_path(3)  # type: ignore[arg-type]
