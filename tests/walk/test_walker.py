"""The walker: the files and issues that it finds, wherever it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from trees import ODD, ODD_POSIX, TWO_LABS, Link, Tree, make_tree
from walks import list_found, list_issues, walk

from polars_alf.alf.root import open_root
from polars_alf.native import twin
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def test_finds_every_dataset_with_its_size(archive: Path) -> None:
    entries, issues, walker = walk(archive)
    expected = {
        path.relative_to(archive).as_posix(): path.stat().st_size
        for path in archive.rglob("*.*.*")
        if path.is_file()
    }
    assert len(expected) == 12
    assert dict(entries.iter_rows()) == expected
    assert walker.n_other_files == 4
    assert issues.is_empty()


@pytest.mark.parametrize(
    ("below", "n_datasets"),
    [
        ("", 12),
        ("cortexlab", 9),
        ("cortexlab/Subjects", 9),
        ("cortexlab/Subjects/KS001", 6),
        ("cortexlab/Subjects/KS001/2020-01-01", 6),
        ("cortexlab/Subjects/KS001/2020-01-01/001", 3),
        ("cortexlab/Subjects/KS001/2020-01-01/001/alf", 0),
    ],
)
def test_root_may_lie_anywhere_above_a_session(archive: Path, below: str, n_datasets: int) -> None:
    assert len(list_found(archive / below)) == n_datasets


def test_archive_in_a_folder_named_like_a_date(tmp_path: Path) -> None:
    # A snapshot, say. Its own name makes no session of the folders in it.
    root = make_tree(tmp_path / "2024-05-06", TWO_LABS)
    assert len(list_found(root)) == 12


def test_archive_below_a_session_is_an_archive(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "scratch/2024-05-06/001/archive", TWO_LABS)
    assert len(list_found(root)) == 12


def _params(cases: list[tuple[str, Tree, int, list[tuple[str, str]]]], marks: object = ()) -> list:
    return [pytest.param(*case[1:], id=case[0].replace(" ", "_"), marks=marks) for case in cases]


@pytest.mark.parametrize(
    ("tree", "n_datasets", "issues"), _params(ODD) + _params(ODD_POSIX, posix_only)
)
@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize("how", ["native", "by descriptor", "by path"])
def test_odd_trees(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tree: Tree,
    n_datasets: int,
    issues: list[tuple[str, str]],
    how: str,
    threads: int | None,
) -> None:
    if how != "native":
        request.getfixturevalue("twins")
        monkeypatch.setattr(twin, "BY_DESCRIPTOR", twin.BY_DESCRIPTOR and how == "by descriptor")
    root = make_tree(tmp_path / "archive", tree)
    entries, reported, _ = walk(root, threads=threads)
    assert sorted(reported.rows()) == sorted(issues)
    assert len(entries) == n_datasets


def test_a_session_as_root_sees_the_session_inside_it(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "S/2020-01-01/001", {"T/2020-01-01/002/a.b.npy": 1, "my coll/a.b.npy": 1}
    )
    assert list_issues(root) == [
        ("T/2020-01-01/002", "nested_session"),
        ("my coll", "invalid_collection"),
    ]


@posix_only
def test_following_links_enters_them_once(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            "KS001/2020-01-01/001": {"alf/a.b.npy": 1, "more": Link("alf"), "alf/up": Link("..")},
            "KS002": Link("KS001"),
        },
    )
    session = "2020-01-01/001"
    assert list_found(root, follow_links=True) == [
        f"KS001/{session}/alf/a.b.npy",
        f"KS001/{session}/more/a.b.npy",
        f"KS002/{session}/alf/a.b.npy",
        f"KS002/{session}/more/a.b.npy",
    ]
    assert {kind for _, kind in list_issues(root, follow_links=True)} == {"link_loop"}


@posix_only
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs user ids")
def test_unreadable_directories_are_reported(
    archive: Path, unprivileged: Callable[[], None]
) -> None:
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    (archive / session / "alf").chmod(0)
    (archive / "wittenlab/Subjects").chmod(0o300)
    unprivileged()
    assert list_issues(archive) == [
        (f"{session}/alf", "unreadable_directory"),
        ("wittenlab/Subjects", "unreadable_directory"),
    ]
    assert len(list_found(archive)) == 7


def test_what_vanishes_is_reported(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walker = Walker(open_root(archive), WalkOptions())
    folders = sorted(walker.survey())
    gone = archive / folders[0]
    gone.rename(archive / "elsewhere")
    entries = sum(len(batch) for batch in walker.walk(folders))
    assert pl.DataFrame(walker.issues()).select("path", "kind").rows() == [(folders[0], "vanished")]
    assert entries == 6


@posix_only
def test_descriptors_are_closed(tmp_path: Path) -> None:
    import resource

    make_tree(tmp_path, {f"S/2020-01-01/001/c{i}/a.b.npy": 1 for i in range(200)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        assert len(list_found(tmp_path)) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_deep_trees_do_not_exhaust_anything(tmp_path: Path) -> None:
    root = tmp_path / "S/2020-01-01/001"
    root.mkdir(parents=True)
    here = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(200):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.b.npy").touch()
    finally:
        os.chdir(here)
    assert list_found(tmp_path) == ["S/2020-01-01/001/" + "d/" * 200 + "a.b.npy"]


@posix_only
def test_a_giant_session_is_listed_alike_by_many_threads(tmp_path: Path) -> None:
    session = tmp_path / "S/2020-01-01/001"
    for folder, n_files in (("alf", 3000), ("raw", 1), *((f"alf/d{i}/e", 9) for i in range(150))):
        (session / folder).mkdir(parents=True, exist_ok=True)
        for i in range(n_files):
            (session / folder / f"o{i}.x.npy").write_bytes(bytes(i % 7))
    os.mkfifo(session / "alf/fifo.x.npy")
    (session / "alf/gone.x.npy").symlink_to("nowhere.x.npy")
    (session / "alf/note.txt").touch()
    root = open_root(tmp_path)
    found = []
    for options, n_threads in ((WalkOptions(threads=1), 1), (WalkOptions(threads=3), 1),
                               (WalkOptions(), 4)):  # fmt: skip
        walker = Walker(root, options, n_threads=n_threads)
        rows = [row for batch in walker.walk(walker.survey()) for row in batch.to_pylist()]
        assert len(rows) == 3000 + 1 + 150 * 9
        found.append((rows, walker.listings(), walker.issues().to_pylist(), walker.n_other_files))
    assert found[1:] == found[:1] * 2
    assert {row["kind"] for row in found[0][2]} == {"special_file", "broken_link"}
