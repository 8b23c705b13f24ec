"""An index of changed paths: it lists their directories alone, and finds what a full one finds."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import (
    LONG_AGO,
    age_files,
    assert_equal,
    index_quietly,
    index_undisturbed,
    read_tables,
)
from trees import SESSION, Link, check_state, make_tree
from tuning import tune

from polars_alf import IndexReport, errors, index_archive, scan_issues
from polars_alf.walk import known, lister
from polars_alf.walk.columns import Columns

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")

S1 = "cortexlab/Subjects/KS001/2020-01-01/001"


def _settle(root: Path) -> None:
    """Make files and folders old enough to be relied on."""
    age_files(root)
    for path in (root, *root.rglob("*")):
        if path.is_dir() and ".polars_alf" not in path.parts:
            os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def settled(archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Index an archive that nothing has changed in for long, by its own clock."""
    tune(monkeypatch, clock_ns=-(10**12), least_folders=1)
    _settle(archive)
    index_archive(archive, out_dir, namespace="test")
    return archive


class Looks:
    """The directories that a run lists, and those of which it asks for the fingerprint."""

    def __init__(self, archive: Path, patch: pytest.MonkeyPatch) -> None:
        self.listed: list[str] = []
        self.compared: list[str] = []
        read, fingerprint = lister.Lister.read, known.fingerprint_directory

        def note_read(lister: lister.Lister, directories: list[str], **options: Any) -> Columns:
            columns = read(lister, directories, **options)
            self.listed += columns.paths
            return columns

        def note_comparison(path: str) -> Any:
            self.compared.append(os.path.relpath(path, archive))
            return fingerprint(path)

        patch.setattr(lister.Lister, "read", note_read)
        patch.setattr(known, "fingerprint_directory", note_comparison)


def _index(
    archive: Path, out_dir: Path, changed: Iterable[str | Path], **options: Any
) -> tuple[Looks, IndexReport]:
    """Index changed paths, one a line, and return what was looked at, and the report."""
    feed = out_dir / "changed.txt"
    feed.write_text("".join(f"{path}\n" for path in changed), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        looks = Looks(archive, patch)
        options = {"executor": "serial", "namespace": "test", "max_removed": 1.0} | options
        report = index_archive(archive, out_dir, changed_from=feed, **options)
    return looks, report


def _assert_right(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    assert_equal(read_tables(out_dir), index_undisturbed(archive, tmp_path))
    issues = (scan_issues(folder).collect() for folder in (out_dir, tmp_path / "undisturbed"))
    found, expected = (frame.sort(frame.columns) for frame in issues)
    assert found.equals(expected)


def test_an_empty_list_looks_at_nothing(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    before = (out_dir / "datasets.pqt").stat().st_mtime_ns
    looks, report = _index(settled, out_dir, [])
    assert (looks.listed, looks.compared) == ([], [])
    assert (report.n_changed_paths, report.n_paths_outside, report.n_shards) == (0, 0, 0)
    assert (out_dir / "datasets.pqt").stat().st_mtime_ns == before
    _assert_right(settled, out_dir, tmp_path)
    check_state(out_dir)


def test_only_the_folders_of_changed_paths_are_listed(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    make_tree(settled, {f"{S1}/alf/new.file.npy": 5})
    (settled / S1 / "alf/spikes.times.npy").write_bytes(b"written in place")
    looks, report = _index(settled, out_dir, [f"{S1}/alf/new.file.npy"])
    assert looks.listed == [f"{S1}/alf"]
    assert looks.compared == [f"{S1}/alf/probe00"]
    assert report.changes is not None
    assert (report.changes["added"], report.changes["changed"]) == (1, 1)
    _assert_right(settled, out_dir, tmp_path)
    looks, _ = _index(settled, out_dir, [])
    assert looks.listed == []
    _assert_right(settled, out_dir, tmp_path)


def test_files_alone_tell_of_new_subjects_and_of_folders_that_are_gone(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    new = "wittenlab/Subjects/new/2021-01-01/001"
    make_tree(settled, {new: SESSION, "thirdlab/Subjects/S/2020-01-01/1": SESSION})
    gone = [*(settled / S1).rglob("*.npy"), settled / "cortexlab/Subjects/KS002/2020-02-29/001/x"]
    shutil.rmtree(settled / S1)
    shutil.rmtree(settled / "cortexlab/Subjects/KS002")
    changed = [f"{new}/alf/spikes.times.npy", "thirdlab/Subjects/S/2020-01-01/1/alf/notes.txt"]
    _, report = _index(settled, out_dir, [*changed, *gone])
    assert report.n_paths_outside == 0
    _assert_right(settled, out_dir, tmp_path)


def test_folders_are_renamed_and_replaced(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    # Neither folder's own time of modification changes, only that of what holds them.
    subjects = settled / "cortexlab/Subjects"
    (subjects / "KS001").rename(subjects / "old")
    (subjects / "KS002").rename(subjects / "KS001")
    (subjects / "old").rename(subjects / "KS002")
    make_tree(subjects / "KS002/2020-01-01/002/alf", {"late.file.npy": 3})
    (settled / "wittenlab/Subjects/KS001/2020-01-01/001/alf/probe00").rename(
        settled / "wittenlab/Subjects/KS001/2020-01-01/001/alf/probe01"
    )
    changed = ["cortexlab/Subjects", "wittenlab/Subjects/KS001/2020-01-01/001/alf"]
    _index(settled, out_dir, [*changed, "cortexlab/Subjects/KS002/2020-01-01/002/alf"])
    _assert_right(settled, out_dir, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("spell", ["absolute", "relative", "cwd", "link"])
def test_paths_may_be_spelled_in_many_ways(
    settled: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spell: str
) -> None:
    make_tree(settled, {f"{S1}/alf/a\u00e9 b.file.npy": 5})
    path = f"{S1}/alf/a\u00e9 b.file.npy"
    link = tmp_path / "link"
    link.symlink_to(settled)
    spelled = {
        "absolute": f"{settled}/./{path}",
        "relative": f"./{path}",
        "cwd": f"archive/{path}",
        "link": f"{link}/{path}",
    }[spell]
    monkeypatch.chdir(tmp_path)
    root = link if spell == "link" else settled
    looks, _ = _index(root, out_dir, [spelled, "", "/elsewhere/file", "../archive2/x"])
    assert f"{S1}/alf" in looks.listed
    assert f"{S1}" not in looks.listed
    _assert_right(settled, out_dir, tmp_path)


def test_paths_outside_are_counted(settled: Path, out_dir: Path) -> None:
    _, report = _index(settled, out_dir, [f"{S1}/alf", "/elsewhere", "../other", settled.parent])
    assert (report.n_changed_paths, report.n_paths_outside) == (4, 3)
    with pytest.raises(errors.OptionError, match=r"none of the 2 paths .* '/mnt/data/x' for one"):
        _index(settled, out_dir, ["/mnt/data/x", "/mnt/data/y"])


def test_a_list_may_be_divided_by_nul(
    settled: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(settled, {f"{S1}/alf/line\nfeed": {"new.file.npy": 5}})
    content = f"{settled}/{S1}/alf/line\nfeed\0{settled}/{S1}/alf\0".encode()
    stdin = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(sys, "stdin", stdin)
    report = index_archive(settled, out_dir, changed_from="-", namespace="test")
    assert (report.n_changed_paths, report.n_paths_outside) == (2, 0)
    _assert_right(settled, out_dir, tmp_path)


def test_without_an_index_before_all_is_listed(archive: Path, out_dir: Path) -> None:
    with pytest.warns(errors.TableWarning, match="was not used, and all was listed"):
        _, report = _index(archive, out_dir, [f"{S1}/alf"])
    assert report.n_datasets == 12


def test_other_options_list_all(settled: Path, out_dir: Path) -> None:
    with pytest.warns(errors.TableWarning, match="was not used"):
        _, report = _index(settled, out_dir, [f"{S1}/alf"], exclude="probe00")
    assert report.n_datasets == 8


def test_a_list_that_cannot_be_read_is_an_error(settled: Path, out_dir: Path) -> None:
    with pytest.raises(errors.OptionError, match="give a file with one path a line"):
        index_archive(settled, out_dir, changed_from=out_dir / "none.txt")
    with pytest.raises(errors.OptionError, match="give one of them"):
        index_archive(settled, out_dir, changed_from="-", quick=True)


@posix_only
def test_what_links_lead_to_is_listed_each_time(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    elsewhere = make_tree(tmp_path / "elsewhere", {"KS009/2020-01-01/001": SESSION})
    make_tree(settled, {"cortexlab/Subjects/KS009": Link(str(elsewhere / "KS009"))})
    options = {"follow_links": True, "namespace": "test", "max_removed": 1.0}
    index_archive(settled, out_dir, **options)  # type: ignore[arg-type]
    file = elsewhere / "KS009/2020-01-01/001/alf/probe00/#2024-05-06#/spikes.times.npy"
    file.write_bytes(b"written in place, and a list knows it by another path")
    _index(settled, out_dir, [], follow_links=True)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    index_archive(settled, fresh, **options)  # type: ignore[arg-type]
    assert_equal(read_tables(out_dir), read_tables(fresh))


@posix_only
def test_folders_with_issues_are_listed_each_time(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    make_tree(settled, {f"{S1}/alf/broken.link.npy": Link("nowhere"), "odd.file.npy": 3})
    looks, _ = _index(settled, out_dir, [f"{S1}/alf/broken.link.npy", "odd.file.npy"])
    for _ in range(2):
        looks, report = _index(settled, out_dir, [])
        assert sorted(looks.listed) == ["", f"{S1}/alf"]
        assert report.issues == {"broken_link": 1, "outside_session": 1}
        _assert_right(settled, out_dir, tmp_path)


def test_the_guard_holds(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(settled / "wittenlab")
    before = read_tables(out_dir)
    with pytest.raises(errors.MassRemovalError):
        _index(settled, out_dir, ["wittenlab"], max_removed=None)
    assert_equal(read_tables(out_dir), before)
    _index(settled, out_dir, ["wittenlab"])
    _assert_right(settled, out_dir, tmp_path)


def test_a_run_goes_on_only_with_the_same_list(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    class InterruptError(Exception):
        pass

    def index_until_merge(changed: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("polars_alf.index.write.check_sessions", _raise(InterruptError()))
            with pytest.raises(InterruptError):
                _index(settled, out_dir, changed)

    make_tree(settled, {f"{S1}/alf/new.file.npy": 5})
    index_until_merge([f"{S1}/alf"])
    _, report = _index(settled, out_dir, [f"{S1}/alf"])
    assert report.n_resumed == report.n_shards == 3
    make_tree(settled, {f"{S1}/alf/newer.file.npy": 6})
    index_until_merge([f"{S1}/alf/probe00"])
    _, report = _index(settled, out_dir, [f"{S1}/alf"])
    assert report.n_resumed == 0
    _assert_right(settled, out_dir, tmp_path)


def _raise(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


@posix_only
@pytest.mark.parametrize("test", ["-cnewer", "-newer"])
def test_a_list_of_find_is_complete(
    settled: Path, out_dir: Path, tmp_path: Path, test: str
) -> None:
    stamp = tmp_path / "stamp"
    stamp.touch()
    os.utime(stamp, (LONG_AGO + 1, LONG_AGO + 1) if test == "-newer" else None)
    make_tree(settled, {f"{S1}/alf/new.file.npy": 5, "thirdlab/Subjects/S/2020-01-01/1": SESSION})
    (settled / S1 / "_ibl_trials.intervals_bpod.csv").write_bytes(b"in place")
    shutil.rmtree(settled / "cortexlab/Subjects/KS002")
    (settled / "wittenlab/Subjects/KS001").rename(settled / "wittenlab/Subjects/KS005")
    find = subprocess.run(
        ["find", settled, test, stamp, "-print0"], capture_output=True, check=True
    )
    (out_dir / "list").write_bytes(find.stdout)
    index_archive(
        settled, out_dir, changed_from=out_dir / "list", namespace="test", max_removed=1.0
    )
    _assert_right(settled, out_dir, tmp_path)


def _find_block(page: str, word: str) -> str:
    """Return the block of code of a page in docs that has a word."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    return next(block for block in text.split("```sh\n")[1:] if word in block).partition("```")[0]


def _run_shell(script: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}:{folder}:{os.environ['PATH']}"
    command = ["sh", "-e", "-c", script]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, "PATH": path})


@pytest.mark.slow
@posix_only
def test_the_lines_of_the_docs_refresh_each_night(archive: Path, tmp_path: Path) -> None:
    script = _find_block("huge-archives.md", "-cnewer").replace("/data/archive", str(archive))
    index_archive(archive, namespace="test")
    (tmp_path / "last").touch()
    for name in ("first.file.npy", "second.file.npy"):
        make_tree(archive, {f"{S1}/alf/{name}": 1})
        _run_shell(script, tmp_path)
        _assert_right(archive, archive, tmp_path)
        last = (tmp_path / "last").stat().st_mtime
        assert 50 < time.time() - last < 600


@posix_only
def test_the_lines_of_the_docs_convert_what_file_systems_tell(tmp_path: Path) -> None:
    changelog = (
        "2 02MKDIR 20:15:37.113847214 2018.01.09 0x0 t=[0x200000402:0x1:0x0] ef=0xf u=500:500 "
        "nid=10.128.11.159@tcp p=[0x200000007:0x1:0x0] pics\n"
        "8 08RENME 20:16:35.0 2018.01.09 0x1 t=[0:0x0:0x0] p=[0x200000402:0x1:0x0] new "
        "s=[0x200000402:0x7:0x0] sp=[0x200000007:0x1:0x0] old\n"
    )
    diff = "M\t/data/archive/S1\n+\t/data/archive/S1/a b\nR\t/data/archive/x\t/data/archive/y\n"
    (tmp_path / "changelog.txt").write_text(changelog)
    (tmp_path / "diff.txt").write_text(diff)
    for name, code in {
        "lfs": 'if [ $1 = changelog ]; then cat changelog.txt; else echo "$2/$3"; fi',
        "zfs": "cat diff.txt",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    lustre, zfs = _find_block("huge-archives.md", "lfs changelog").splitlines()
    _run_shell(lustre, tmp_path)
    fids = ["[0:0x0:0x0]", "[0x200000007:0x1:0x0]", "[0x200000402:0x1:0x0]"]
    changed = (tmp_path / "changed").read_text().splitlines()
    assert sorted(changed) == [f"/data/archive/{fid}" for fid in fids]
    _run_shell(zfs, tmp_path)
    names = ["S1", "S1/a b", "x", "y"]
    changed = (tmp_path / "changed").read_text().splitlines()
    assert changed == [f"/data/archive/{name}" for name in names]


_PARTS = st.sampled_from(["alf", "raw", "a.b.npy", "c.d.npy", "notes.txt", "#r#", "001", "002"])
_DATED = st.sampled_from(
    [f"{lab}S{n}/2020-01-0{day}" for lab in ("", "l/Subjects/") for n in (1, 2) for day in (1, 2)]
)
_PATHS = st.builds(
    lambda dated, parts: "/".join([dated, *parts]),
    _DATED,
    st.lists(_PARTS, min_size=1, max_size=4),
)
_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), _PATHS, st.integers(0, 9)),
        st.tuples(st.just("remove"), st.one_of(_PATHS, _DATED), st.just("")),
        st.tuples(st.just("rename"), st.one_of(_PATHS, _DATED), st.one_of(_PATHS, _DATED)),
    ),
    max_size=8,
)


def _act(root: Path, verb: str, path: str, more: Any) -> None:
    """Change an archive, if that can be."""
    place = root / path
    with contextlib.suppress(OSError):
        match verb:
            case "write":
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"x" * more)
            case "remove" if place.is_dir():
                shutil.rmtree(place)
            case "remove":
                place.unlink()
            case _:
                (root / more).parent.mkdir(parents=True, exist_ok=True)
                place.rename(root / more)


def _describe(root: Path) -> dict[Path, tuple[int, ...]]:
    """Return what tells each path of an archive from what was there; of folders their inode."""
    found = {path: path.lstat() for path in root.rglob("*")}
    return {
        path: (s.st_ino, s.st_mode) + ((s.st_size, s.st_mtime_ns) if path.is_file() else ())
        for path, s in found.items()
    }


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(before=st.lists(_PATHS, max_size=10), rounds=st.lists(_ACTIONS, min_size=1, max_size=3))
def test_a_complete_list_finds_what_a_full_index_finds(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], rounds: list[Any]
) -> None:
    root, tmp_path = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("tables")
    out_dir = tmp_path / "tables"
    out_dir.mkdir()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NoSessionsWarning)
        tune(patch, least_folders=1)
        tune(patch, clock_ns=-(10**12))
        for path in before:
            _act(root, "write", path, 1)
        index_quietly(root, out_dir)
        for actions in rounds:
            old = _describe(root)
            for action in actions:
                _act(root, *action)
            new = _describe(root)
            # No folder is in the list for what changed in it.
            changed = [path for path in {*old, *new} if old.get(path) != new.get(path)]
            _index(root, out_dir, changed)
            _assert_right(root, out_dir, tmp_path)
