"""Plans of removals, and random archives with random tables."""

from __future__ import annotations

import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import hypothesis.strategies as st
import pytest
from amount import count_examples
from hypothesis import given, settings
from polars.testing import assert_frame_equal
from removals import DATASETS, KS001, datasets_table, files_of, list_names, sessions_table
from trees import SESSION, Tree, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ForeignTablesError,
    KeptWarning,
)
from polars_alf.prune.examine import OUTCOMES, REMOVALS
from polars_alf.schema import polars_schema

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.mark.slow
@pytest.mark.parametrize("hash_ids", [True, False])
@pytest.mark.parametrize("level", range(6))
def test_what_is_indexed_is_not_planned(
    archive: Path, tmp_path: Path, level: int, hash_ids: bool
) -> None:
    root = archive.joinpath(*KS001.split("/")[:level])
    tables = tmp_path / "tables"
    tables.mkdir()
    index_archive(archive, tables, hash_ids=hash_ids)
    plan = plan_removals(root, tables)
    assert plan.is_empty()
    assert plan.schema == polars_schema(REMOVALS)
    make_tree(root, {"stray.times.npy": 1})
    assert list_names(plan_removals(root, tables)) == (["stray.times.npy"] if level == 5 else [])


def test_strays_are_found_wherever_a_session_has_datasets(archive: Path) -> None:
    index_archive(archive)
    strays: Tree = {
        "stray.times.npy": 1,
        "alf/stray.times.npy": 2,
        "alf/probe00/#2024-05-06#/stray.times.npy": 3,
        "alf/probe00/#2025-01-01#/spikes.times.npy": 4,
        "my coll (1)/.hidden/stray.times.npy": 5,
    }
    not_alf: Tree = {"notes.txt": 1, "alf/._spikes.times.npy": 1, "README": 1, "a b.c.d": 1}
    make_tree(archive / KS001, strays | not_alf)
    make_tree(archive, {"loose.times.npy": 1, "cortexlab/loose.times.npy": 1, "x/y/z.a.b": 1})
    plan = plan_removals(archive)
    assert sorted(list_names(plan)) == sorted(f"{KS001}/{path}" for path in strays)
    assert plan["file_size"].sum() == 15
    assert plan["reason"].unique().to_list() == ["not in the datasets table"]
    before = files_of(archive)
    assert set(apply_removals(archive, plan)["result"]) == {"removed"}
    assert before - files_of(archive) == {f"{KS001}/{path}" for path in strays}
    assert plan_removals(archive).is_empty()


def test_sessions_that_have_no_row_go_with_their_folders(archive: Path) -> None:
    index_archive(archive)
    make_tree(
        archive,
        {
            "cortexlab/Subjects/KS009/2020-01-01/001": SESSION,
            "cortexlab/Subjects/KS010/2020-01-01/001/alf/probe00/x.y.npy": 1,
            "cortexlab/Subjects/KS010/2020-01-02/001": {},
            "cortexlab/Subjects/KS001/2020-01-01/003": {},
            "cortexlab/Subjects/KS001/2020-01-02/001/alf": {},
        },
    )
    plan = plan_removals(archive)
    subjects = "cortexlab/Subjects"
    assert list_names(plan) == [
        *(f"{subjects}/KS009/2020-01-01/001/{path}" for path in DATASETS),
        f"{subjects}/KS010/2020-01-01/001/alf/probe00/x.y.npy",
    ]
    assert set(plan.filter(kind="dataset")["reason"]) == {"its session is not in the tables"}
    # KS009 has notes.txt, so its folders stay.
    assert list_names(plan, "session") == [
        f"{subjects}/KS001/2020-01-01/003",
        f"{subjects}/KS001/2020-01-02/001",
        f"{subjects}/KS010/2020-01-01/001",
        f"{subjects}/KS010/2020-01-02/001",
    ]
    assert set(list_names(plan, "folder")) == {
        f"{subjects}/KS001/2020-01-02/001/alf",
        f"{subjects}/KS001/2020-01-02",
        f"{subjects}/KS010/2020-01-01/001/alf/probe00",
        f"{subjects}/KS010/2020-01-01/001/alf",
        f"{subjects}/KS010/2020-01-01",
        f"{subjects}/KS010/2020-01-02",
        f"{subjects}/KS010",
    }
    outcomes = apply_removals(archive, plan.sample(fraction=1, shuffle=True, seed=0))
    assert set(outcomes["result"]) == {"removed"}
    assert outcomes.schema == polars_schema(OUTCOMES)
    assert not (archive / subjects / "KS010").exists()
    assert (archive / subjects / "KS009/2020-01-01/001/alf/notes.txt").exists()
    assert plan_removals(archive).is_empty()


def test_what_the_index_leaves_out_can_be_kept(archive: Path) -> None:
    make_tree(archive / KS001, {"raw_video_data/_iblrig_leftCamera.raw.mp4": 9, "a.b.c": 1})
    index_archive(archive, exclude=["raw_video_data/", "a.b.c"])
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": {}})
    assert len(list_names(plan_removals(archive))) == 2
    assert len(list_names(plan_removals(archive), "session")) == 1
    plan = plan_removals(archive, exclude=["raw_video_data/", "KS009/"])
    assert plan["path"].to_list() == [f"{KS001}/a.b.c"]


def test_workers_change_nothing(archive: Path) -> None:
    make_tree(archive, {f"lab/Subjects/S/2021-{i // 28 + 1:02}-{i % 28 + 1:02}/001": SESSION
                        for i in range(160)})  # fmt: skip
    index_archive(archive)
    make_tree(archive, {f"lab/Subjects/S/2021-01-{i:02}/001/a.b.c": i for i in range(1, 20)})
    seen = []
    one = plan_removals(archive, jobs=1, progress=seen.append)
    assert len(one) == 19
    assert seen[-1].files == 164 * 4 + 19
    assert_frame_equal(one, plan_removals(archive, jobs=2))


# Random archives, random tables


LABS = ["", "lab", "my-lab", "other"]
FILES = ["a.b.c", "alf/a.b.c", "alf/#2020#/a.b.c", "my coll/a.b.c", "notes.txt", "alf/log.txt"]
LINKS = ["", "file", "folder", "session"]


@st.composite
def sessions_on_disk(draw: st.DrawFn) -> dict[str, object]:
    """Draw a session, and what the tables say of it."""
    lab = draw(st.sampled_from(LABS))
    number = draw(st.sampled_from(["1", "01", "001", "2", "002"]))
    day = date(2020, 1, draw(st.integers(1, 2)))
    subject = draw(st.sampled_from(["S1", "S2"]))
    chosen = draw(st.sets(st.sampled_from(FILES)))
    row_lab = {"my-lab": ["my-lab", "lab", ""], "": ["", "lab", "filled"]}.get(lab, [lab, ""])
    return {
        "path": f"{lab}/Subjects/{subject}/{day}/{number}" if lab else f"{subject}/{day}/{number}",
        "files": chosen,
        "has_row": draw(st.booleans()),
        "row": (draw(st.sampled_from(row_lab)), subject, day, int(number)),
        "eid": draw(st.sampled_from(["uuid", "path"])),
        "rows": {name for name in chosen if draw(st.booleans())},
        "link": draw(st.sampled_from(LINKS)),
    }


def plain_files(root: Path) -> Iterator[str]:
    """Yield the regular files that no link leads to."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                yield path.relative_to(root).as_posix()


@pytest.mark.slow
@posix_only
@settings(deadline=None, max_examples=count_examples(150))
@given(
    drawn=st.lists(sessions_on_disk(), min_size=1, max_size=7, unique_by=lambda s: s["path"]),
    foreign=st.booleans(),
    odd=st.sampled_from(["", "../a.b.c", "/a.b.c", "a\0b"]),
    force=st.booleans(),
)
def test_a_plan_is_done_and_no_more(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[dict[str, object]],
    foreign: bool,
    odd: str,
    force: bool,
) -> None:
    top = tmp_path_factory.mktemp("random")
    root, outside = top / "archive", top / "outside"
    make_tree(outside, {"S1/2020-01-01/001": {"a.b.c": 3, "alf/a.b.c": 4}})
    sessions, datasets, indexed = [], [], set()
    for at, session in enumerate(drawn):
        folder = root / str(session["path"])
        folder.mkdir(parents=True, exist_ok=True)
        make_tree(folder, dict.fromkeys(session["files"], at + 1))  # type: ignore[call-overload]
        # Links into the session drawn before, or out of the archive.
        target = root / str(drawn[at - 1]["path"]) if at else outside / "S1/2020-01-01/001"
        names_of = {"file": ("linked.b.c", "a.b.c"), "folder": ("linked", "alf")}
        rel_paths = set(session["rows"])  # type: ignore[call-overload]
        if session["link"] in names_of:
            name, what = names_of[str(session["link"])]
            (folder / name).symlink_to(target / what)
            rel_paths |= {name, f"{name}/a.b.c"}
        elif session["link"] == "session":
            linked = folder.with_name(f"{90 + at:03}")
            linked.symlink_to(target)
            eid = f"linked {at}"
            sessions.append((eid, *session["row"][:3], 90 + at))  # type: ignore[index]
            datasets += [(eid, "a.b.c"), (eid, "alf/a.b.c")]
            indexed |= {(linked / "a.b.c").resolve(), (linked / "alf/a.b.c").resolve()}
        if session["has_row"]:
            lab, subject, day, number = session["row"]  # type: ignore[misc]
            spelt = "/".join(filter(None, (lab, subject, str(day), folder.name)))
            eid = spelt if session["eid"] == "path" else str(uuid.uuid4())
            sessions.append((eid, lab, subject, day, number))
            datasets += [(eid, rel_path) for rel_path in sorted(rel_paths)]
            indexed |= {(folder / rel_path).resolve() for rel_path in rel_paths}
    if foreign:
        sessions.append((str(uuid.uuid4()), "far", "X", date(2000, 1, 1), 1))
        datasets.append((sessions[-1][0], "z.z.z"))
    if odd and datasets:
        datasets.append((datasets[0][0], odd))
    tables = {"sessions": sessions_table(*sessions), "datasets": datasets_table(*datasets)}
    kept = {path for path in indexed if path.is_file()}
    before = files_of(top)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeptWarning)
        try:
            plan = plan_removals(root, **tables, force=force, jobs=1)
        except ForeignTablesError:
            assert not force
            return
    planned = set(list_names(plan))
    real = {path for path in plain_files(root) if not path.endswith(".txt")}
    assert planned <= real
    outcomes = apply_removals(root, plan, max_removed=1.0)
    assert set(outcomes["result"]) <= {"removed"}
    assert all(path.is_file() for path in kept)
    assert before - files_of(top) == {f"archive/{path}" for path in planned}
    for folder in (*list_names(plan, "session"), *list_names(plan, "folder")):
        assert not (root / folder).exists()
    for session in drawn:
        exists = (root / str(session["path"])).exists()
        assert exists or str(session["path"]) in list_names(plan, "session")
    # What no row could mean is planned: no row of the subject's day and number, no link, no path
    # that keeps what has its name.
    meant = {row[2:] for row in sessions}
    if not any(session["link"] for session in drawn) and not odd:
        for session in drawn:
            if session["row"][1:] not in meant:  # type: ignore[index]
                for name in session["files"]:  # type: ignore[attr-defined]
                    assert name.endswith(".txt") or f"{session['path']}/{name}" in planned


@pytest.mark.parametrize(
    "patterns", [["skip", "!*.npy"], ["skip/", "!keep.x.npy"], ["*.npy"], ["/lab"], ["**/001/"]]
)
def test_what_the_index_left_out_stays(tmp_path: Path, patterns: list[str]) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            "lab/Subjects/S/2020-01-01/001": {"skip/keep.x.npy": 1, "a.b.csv": 1, "c.d.npy": 1},
            "lab/Subjects/S/2020-01-02/002": {"skip/keep.x.npy": 1, "a.b.csv": 1, "c.d.npy": 1},
            "T/2020-01-02/002": {"a.b.csv": 1},
        },
    )
    index_archive(root, exclude=patterns)
    plan = plan_removals(root, exclude=patterns)
    assert plan.is_empty(), plan
