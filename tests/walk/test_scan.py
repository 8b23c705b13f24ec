"""The walk as a lazy frame: what it gives, and where it does not look."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from trees import SESSION, TWO_LABS, Tree, make_tree

from polars_alf import errors, index_archive, scan_archive
from polars_alf.parallel.executors import EXECUTORS, Executor
from polars_alf.schema import polars_schema
from polars_alf.walk.scan import FILES
from polars_alf.walk.walk import Walk

MIXED: Tree = {
    **TWO_LABS,
    "cortexlab/Subjects/KS001/2020-01-02/1": SESSION,
    "cortexlab/Subjects/KS001/2021-13-45/001": SESSION,
    "cortexlab/Subjects/KS001/2020-01-01/KS002/2020-03-01/001": SESSION,
    "my subject/2020-01-01/001": SESSION,
    "SWC_054/2020-10-10/001": SESSION,
    "group/SWC_054/2020-10-11/001": SESSION,
}
"""With and without labs, odd dates and subjects, and a session inside another one's date."""


@pytest.fixture
def listed(archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Give a function that tells which directories were listed since it was called last."""
    paths: set[str] = set()

    def note(function: Callable[..., object]) -> Callable[..., object]:
        def noting(path: str | Path | int, *args: object, **options: object) -> object:
            if not isinstance(path, int) and Path(path).is_relative_to(archive):
                paths.add(Path(path).relative_to(archive).as_posix())
            return function(path, *args, **options)

        return noting

    # A walk lists by descriptors where it can.
    monkeypatch.setattr(os, "scandir", note(os.scandir))
    monkeypatch.setattr(os, "open", note(os.open))

    def take() -> set[str]:
        taken = set(paths)
        paths.clear()
        return taken

    return take


def in_sessions(paths: set[str]) -> set[str]:
    """Return the subjects below whose dates something was listed."""
    return {"/".join(path.split("/")[:3]) for path in paths if path.count("/") > 2}


def test_scan_gives_the_files_of_the_index(archive: Path, tmp_path: Path) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION})
    frame = scan_archive(archive)
    assert isinstance(frame, pl.LazyFrame)
    assert frame.collect_schema() == polars_schema(FILES)
    files = frame.collect()
    report = index_archive(archive, tmp_path)
    sessions = pl.read_parquet(report.sessions_path)
    datasets = pl.read_parquet(report.datasets_path)
    columns = ["lab", "subject", "date", "number", "rel_path", "file_size"]
    rows = datasets.join(sessions, left_on="eid", right_on="id").select(columns)
    assert_frame_equal(files.select(columns), rows, check_row_order=False)
    paths = files.select(pl.concat_str("directory", "name", separator="/")).to_series()
    assert all((archive / path).is_file() for path in paths)


@pytest.mark.parametrize(
    ("below", "lab"), [("", "lab"), ("lab/Subjects/s", "lab"), ("lab/Subjects/s/2020-01-01", "lab")]
)
def test_what_is_above_the_root_counts(tmp_path: Path, below: str, lab: str) -> None:
    make_tree(tmp_path, {"lab/Subjects/s/2020-01-01/003": SESSION})
    known = scan_archive(tmp_path / below).select("lab", "subject", "date", "number").unique()
    assert known.collect().rows() == [(lab, "s", datetime.date(2020, 1, 1), 3)]


def test_a_session_as_root(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "s/2020-01-01/003", SESSION)
    files = scan_archive(root).filter(pl.col("subject") == "s").collect()
    assert sorted(files["rel_path"]) == [
        "_ibl_trials.intervals_bpod.csv",
        "alf/probe00/#2024-05-06#/spikes.times.npy",
        "alf/spikes.times.npy",
    ]
    assert files["lab"].unique().to_list() == [""]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_scan_is_lazy_and_equal_for_every_executor(archive: Path, executor: Executor) -> None:
    frame = scan_archive(archive, executor=executor, jobs=2)
    small = frame.filter(pl.col("file_size") < 15).select("name", "file_size").collect()
    assert small.rows() == [("_ibl_trials.intervals_bpod.csv", 11)] * 4
    assert frame.head(5).collect().height == 5
    assert_frame_equal(frame.collect(), scan_archive(archive, executor="serial").collect())


def test_a_filter_on_subject_lists_that_subject_alone(
    archive: Path, listed: Callable[[], set[str]]
) -> None:
    frame = scan_archive(archive)
    listed()
    assert frame.filter(pl.col("subject") == "KS002").collect().height == 3
    paths = listed()
    assert in_sessions(paths) == {"cortexlab/Subjects/KS002"}
    assert "cortexlab/Subjects/KS001/2020-01-01" not in paths


@pytest.mark.parametrize(
    ("predicate", "subjects"),
    [
        (pl.col("lab") == "wittenlab", ["wittenlab/Subjects/KS001"]),
        (pl.col("date") > datetime.date(2020, 2, 1), ["cortexlab/Subjects/KS002"]),
        (pl.col("date").dt.month() == 2, ["cortexlab/Subjects/KS002"]),
        (
            pl.col("subject").is_in(["KS001"]) & pl.col("lab").str.starts_with("c"),
            ["cortexlab/Subjects/KS001"],
        ),
        (
            (pl.col("file_size") > 11) & (pl.col("subject") == "KS002") & (pl.col("number") == 1),
            ["cortexlab/Subjects/KS002"],
        ),
        (
            (pl.col("lab") == "wittenlab") | (pl.col("subject") == "KS002"),
            ["cortexlab/Subjects/KS002", "wittenlab/Subjects/KS001"],
        ),
        (pl.col("subject") == "nobody", []),
    ],
)
def test_filters_say_what_is_walked(
    archive: Path, listed: Callable[[], set[str]], predicate: pl.Expr, subjects: list[str]
) -> None:
    frame = scan_archive(archive)
    every = frame.collect()
    listed()
    found = frame.filter(predicate).collect()
    assert sorted(in_sessions(listed())) == subjects
    assert_frame_equal(found, every.filter(predicate))


@pytest.mark.parametrize(
    "predicate",
    [
        pl.col("file_size") > 11,
        (pl.col("subject") == "KS002") | (pl.col("file_size") > 11),
        pl.col("subject") == pl.col("name"),
        pl.col("number") == 1,
        pl.col("subject") == pl.col("subject").max(),
        pl.col("subject").len() > 5,
        pl.lit(value=True),
    ],
    ids=str,
)
def test_other_filters_walk_everything(
    archive: Path, listed: Callable[[], set[str]], predicate: pl.Expr
) -> None:
    frame = scan_archive(archive)
    every = frame.collect()
    listed()
    found = frame.filter(predicate).collect()
    assert len(in_sessions(listed())) == 3
    assert_frame_equal(found, every.filter(predicate))


def test_a_filter_that_fails_fails_with_its_own_error(archive: Path) -> None:
    predicate = pl.col("subject").str.to_integer() == 1
    with pytest.raises(pl.exceptions.ComputeError, match="KS001"):
        scan_archive(archive).filter(predicate).collect()


_atoms = st.sampled_from(
    [
        pl.col("lab") == "",
        pl.col("lab") == "cortexlab",
        pl.col("lab").is_null(),
        pl.col("subject") == "KS001",
        pl.col("subject").is_in(["KS002", "SWC_054"]),
        pl.col("subject") < "S",
        pl.col("subject") + pl.col("lab") == "KS001wittenlab",
        pl.col("date") == datetime.date(2020, 1, 1),
        pl.col("date").is_between(datetime.date(2020, 1, 2), datetime.date(2020, 10, 10)),
        pl.col("date") > pl.lit(None, dtype=pl.Date),
        pl.col("number") == 1,
        pl.col("file_size") > 11,
        pl.lit(value=False),
    ]
)
_predicates = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds(pl.Expr.__and__, inner, inner),
        st.builds(pl.Expr.__or__, inner, inner),
        inner.map(pl.Expr.__invert__),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, pl.DataFrame]]:
    root = make_tree(tmp_path_factory.mktemp("mixed"), MIXED)
    nested = pl.col("directory").str.contains("KS001/2020-01-01/KS002")
    return root, scan_archive(root).collect().filter(~nested)


@given(_predicates)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_filter_finds_the_same_before_and_after_the_walk(
    mixed: tuple[Path, pl.DataFrame], predicate: pl.Expr
) -> None:
    root, every = mixed
    found = scan_archive(root, executor="serial", exclude="**/KS002/2020-03-01").filter(predicate)
    assert_frame_equal(found.collect(), every.filter(predicate))


def test_a_session_in_the_date_of_another_goes_with_it(tmp_path: Path) -> None:
    frame = scan_archive(make_tree(tmp_path, MIXED)).filter(
        pl.col("directory").str.contains("KS001/2020-01-01/KS002")
    )
    assert frame.select("subject").unique().collect().rows() == [("KS002",)]
    of_both = pl.col("subject").is_in(["KS001", "KS002"])
    assert frame.filter(of_both).collect().height == 3
    assert frame.filter(pl.col("subject") == "KS002").collect().is_empty()


def test_a_limit_ends_the_walk(archive: Path, listed: Callable[[], set[str]]) -> None:
    frame = scan_archive(archive)
    every = frame.collect()
    listed()
    assert_frame_equal(frame.head(7).collect(), every.head(7))
    assert in_sessions(listed()) == {"cortexlab/Subjects/KS001", "cortexlab/Subjects/KS002"}
    assert frame.head(0).collect().is_empty()
    assert in_sessions(listed()) == set()


def test_a_limit_after_a_filter_ends_the_walk(
    archive: Path, listed: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Walk.plan_shards.__kwdefaults__, "least", 1)
    make_tree(archive, {f"zlab/Subjects/z/2020-01-{day:02}/001": SESSION for day in range(1, 29)})
    frame = scan_archive(archive, executor="serial").filter(pl.col("file_size") > 11)
    listed()
    assert frame.head(2).collect(engine="streaming").height == 2
    assert "zlab/Subjects/z/2020-01-28/001" not in listed()


def test_an_archive_that_goes_away(archive: Path) -> None:
    frame = scan_archive(archive)
    archive.rename(archive.with_name("moved"))
    with pytest.raises(errors.ScanError, match="can no longer be listed"):
        frame.collect()


@pytest.mark.parametrize("root", [3, None, b"x"])
def test_what_is_no_path(root: object) -> None:
    with pytest.raises(errors.OptionError, match="is no path; give the path of a folder"):
        scan_archive(root)  # type: ignore[arg-type]


def test_scan_of_nothing(tmp_path: Path) -> None:
    assert scan_archive(tmp_path).collect().is_empty()
    assert scan_archive(tmp_path).filter(pl.col("subject") == "a").collect().is_empty()
    with pytest.raises(errors.ArchiveNotFoundError):
        scan_archive(tmp_path / "nowhere")
