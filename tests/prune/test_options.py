"""Options of the walk mean the same in a plan of removals as in an index."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import slow_storage
from polars.testing import assert_frame_equal
from removals import DATASETS, KS001, STRAY, files_of, list_names
from trees import SESSION, Link, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import KeptWarning, OptionError
from polars_alf.walk.walk import Walk

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")

KS009 = "cortexlab/Subjects/KS009/2020-01-01/001"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"executor": "threads"}, {"executor": "processes"}, {"threads": 4}, {"op_timeout": 60}],
    ids=str,
)
def test_the_plan_is_that_of_a_serial_walk(
    strays: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Walk.plan_shards.__kwdefaults__, "least", 1)
    counted = []
    plan = plan_removals(strays, jobs=2, progress=counted.append, **options)  # type: ignore[arg-type]
    assert list_names(plan) == [f"{KS001}/alf/stray{i}.times.npy" for i in range(3)]
    assert list_names(plan, "session") == [KS009]
    assert counted[-1].shards == 4
    assert_frame_equal(plan, plan_removals(strays, executor="serial", threads=1))


@pytest.mark.parametrize(
    "options", [{"executor": "gpu"}, {"threads": 0}, {"op_timeout": -1}, {"op_timeout": 0}], ids=str
)
def test_options_are_checked(strays: Path, options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        plan_removals(strays, **options)  # type: ignore[arg-type]


# Links


@posix_only
def test_what_an_index_found_behind_links_is_kept(archive: Path, tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"alf": SESSION, "S/2020-01-01/001": SESSION})
    links = {
        f"{KS001}/outer": Link(str(outside / "alf")),
        f"{KS001}/inner": Link("../002/alf"),
        f"{KS001}/up": Link("."),
        "cortexlab/Subjects/S": Link(str(outside / "S")),
    }
    make_tree(archive, links)
    report = index_archive(archive, follow_links=True)
    assert report.n_datasets == 12 + 3 + 2 + 3
    before = files_of(tmp_path)
    for follow_links in (True, False):
        plan = plan_removals(archive, follow_links=follow_links)
        assert plan.is_empty()
        apply_removals(archive, plan)
    assert files_of(tmp_path) == before


@posix_only
def test_nothing_goes_through_a_link_that_is_followed(archive: Path, tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"alf/a.b.c": 1, "S/2020-01-01/001": SESSION})
    make_tree(outside, {"empty/2020-01-01/001": {}})
    index_archive(archive, follow_links=True)
    make_tree(
        archive,
        {
            STRAY: 1,
            f"{KS001}/linked": Link(str(outside / "alf")),
            f"{KS001}/linked.file.npy": Link(str(outside / "alf/a.b.c")),
            "cortexlab/Subjects/S": Link(str(outside / "S")),
            "cortexlab/Subjects/empty": Link(str(outside / "empty")),
        },
    )
    before = files_of(tmp_path)
    plan = plan_removals(archive, follow_links=True)
    assert plan["path"].to_list() == [STRAY]
    apply_removals(archive, plan)
    assert before - files_of(tmp_path) == {f"archive/{STRAY}"}
    assert (outside / "empty/2020-01-01/001").is_dir()


@posix_only
def test_files_that_only_the_rows_of_a_followed_link_have_are_kept(archive: Path) -> None:
    # The real files lie in a session that the tables do not have.
    make_tree(archive, {f"{KS009}/alf": {"a.b.c": 1, "d.e.f": 2}})
    make_tree(archive, {f"{KS001}/linked": Link("../../../KS009/2020-01-01/001/alf")})
    index_archive(archive, follow_links=True)
    sessions, datasets = (pl.read_parquet(archive / f"{n}.pqt") for n in ("sessions", "datasets"))
    sessions = sessions.filter(pl.col("subject") != "KS009")
    datasets = datasets.filter(
        pl.col("eid").is_in(sessions["id"].implode()), pl.col("rel_path") != "linked/d.e.f"
    )
    frames = {"sessions": sessions, "datasets": datasets}
    assert list_names(plan_removals(archive, **frames, follow_links=True)) == [f"{KS009}/alf/d.e.f"]
    with pytest.warns(KeptWarning, match="linked"):
        assert plan_removals(archive, **frames).is_empty()


# Storage that hangs


@pytest.fixture
def hanging(twins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let directories called ``hangs`` hang until the end of the test."""
    end = threading.Event()
    real = os.open

    def hold(path: str, *args: int, **options: int) -> int:
        if os.path.basename(path) == "hangs":
            end.wait()
        return real(path, *args, **options)

    monkeypatch.setattr("polars_alf.native.twin.os.open", hold)
    yield
    end.set()


@posix_only
@pytest.mark.usefixtures("hanging")
def test_what_does_not_answer_is_kept(strays: Path) -> None:
    subject = "cortexlab/Subjects/KS010"
    make_tree(
        strays,
        {
            f"{subject}/2020-01-01/001/hangs/a.b.c": 1,
            f"{subject}/2020-01-01/002": {},
            f"{subject}/2020-01-02/001/a.b.c": 1,
        },
    )
    plan = plan_removals(strays, op_timeout=0.3)
    stray = f"{subject}/2020-01-02/001/a.b.c"
    assert list_names(plan) == [*(f"{KS001}/alf/stray{i}.times.npy" for i in range(3)), stray]
    assert list_names(plan, "session") == [
        KS009,
        f"{subject}/2020-01-01/002",
        f"{subject}/2020-01-02/001",
    ]
    assert set(list_names(plan, "folder")) == {
        "cortexlab/Subjects/KS009",
        "cortexlab/Subjects/KS009/2020-01-01",
        f"{subject}/2020-01-02",
    }


PLAN = """
import sys
from polars_alf import plan_removals
plan = plan_removals(sys.argv[1], op_timeout=1, executor=sys.argv[2], jobs=2)
print(*plan["path"], sep="\\n")
"""


@pytest.mark.thorough
@pytest.mark.skipif(
    slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
)
@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_session_that_hangs_in_all_calls_is_kept(
    strays: Path, tmp_path: Path, executor: str
) -> None:
    day = "cortexlab/Subjects/KS010/2020-01-01"
    make_tree(strays, {f"{day}/001": SESSION, f"{day}/002": {}, f"{day}/003": SESSION})
    library = slow_storage.build_library(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", PLAN, str(strays), executor],
        env=os.environ | slow_storage.hang(library, strays / day / "001"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    # The files of 003 go, but not its folder: there are notes in it.
    assert [path for path in result.stdout.splitlines() if "KS010" in path] == [
        *(f"{day}/003/{path}" for path in DATASETS),
        f"{day}/002",
    ]
