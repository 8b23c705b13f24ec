"""The archives that other tests, the demonstration and the benchmarks are made of."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import make_archive
import numpy as np
import pytest
from make_archive import ODD_CASES, OddCase
from one.alf.io import load_object
from one.alf.path import ALFPath
from one.alf.spec import is_session_path, is_valid


def list_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def describe_tree(root: Path, *, with_content: bool = True) -> dict[str, bytes | int | None]:
    """Every path with its content, or its size, or None for a folder."""
    return {
        path.relative_to(root).as_posix(): (
            None if path.is_dir() else path.read_bytes() if with_content else path.stat().st_size
        )
        for path in root.rglob("*")
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archives") / "small"
    make_archive.make_archive(root, labs=2, subjects=3, sessions=4, content="small")
    return root


@pytest.mark.parametrize("files", [0, 1, 17, 18, 72, 200])
def test_counts_are_those_on_disk(tmp_path: Path, files: int) -> None:
    summary = make_archive.make_archive(tmp_path, labs=2, subjects=3, sessions=2, files=files)
    on_disk = list_files(tmp_path)
    datasets = [path for path in on_disk if is_valid(path.name)]
    sessions = [path for path in tmp_path.glob("*/Subjects/*/*/*") if is_session_path(path)]
    assert len(sessions) == summary.sessions == 6
    assert len(on_disk) == summary.files == 6 * files
    assert len(datasets) == summary.datasets
    assert len(on_disk) - len(datasets) == summary.other_files
    assert sum(path.stat().st_size for path in on_disk) == summary.bytes


def test_a_session_of_the_reference_size_has_few_distinct_names(small: Path) -> None:
    names = {path.name for path in list_files(small)}
    assert 68 <= len(names) <= 72


def test_names_that_are_not_alf_have_fewer_than_two_dots(small: Path) -> None:
    others = [path.name for path in list_files(small) if not is_valid(path.name)]
    assert others
    assert all(name.count(".") < 2 for name in others)


@pytest.mark.parametrize("content", ["none", "small"])
def test_the_same_arguments_make_the_same_tree_in_any_number_of_processes(
    tmp_path: Path, content: make_archive.Content
) -> None:
    trees = []
    for folder, jobs in [("serial", 1), ("parallel", 2)]:
        root = tmp_path / folder
        make_archive.make_archive(
            root, labs=2, subjects=3, sessions=3, files=20, content=content, jobs=jobs
        )
        trees.append(describe_tree(root, with_content=content == "small"))
    assert trees[0] == trees[1]


def test_another_seed_makes_another_tree(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_archive.make_archive(tmp_path / str(seed), subjects=2, sessions=3, files=5, seed=seed)
    trees = [describe_tree(tmp_path / seed, with_content=False) for seed in "01"]
    assert trees[0] != trees[1]


@pytest.mark.skipif(os.name == "nt", reason="sizes are kept small where files are not sparse")
def test_sizes_go_from_nothing_to_gigabytes_and_occupy_nothing(tmp_path: Path) -> None:
    make_archive.make_archive(tmp_path, subjects=2, sessions=20)
    found = [path.stat() for path in list_files(tmp_path)]
    sizes = [status.st_size for status in found]
    assert min(sizes) == 0
    assert max(sizes) > 2**32
    assert sum(status.st_blocks for status in found) * 512 < 1_000_000


def test_small_content_is_of_its_own_and_readable(small: Path) -> None:
    contents = [path.read_bytes() for path in list_files(small)]
    assert len(set(contents)) == len(contents)
    for path in small.rglob("*.npy"):
        array = np.load(path)
        assert np.isfinite(array).all()
        assert array.ndim == (2 if ".intervals" in path.name else 1)
    for path in small.rglob("*.json"):
        assert json.loads(path.read_text())


def test_one_loads_every_object_that_has_columns(small: Path) -> None:
    session = next(small.glob("*/Subjects/*/*/*"))
    objects = defaultdict(set)
    for path in list_files(session):
        if is_valid(path.name):
            objects[path.parent, ALFPath(path).object].add(path.suffix)
    readable = {".npy", ".csv", ".tsv", ".ssv", ".json", ".jsonable"}
    loaded = 0
    for (folder, name), extensions in objects.items():
        if extensions <= readable:
            assert load_object(folder, name).check_dimensions == 0
            loaded += 1
    assert loaded > 20


def test_revisions_have_the_rows_of_what_they_revise(small: Path) -> None:
    for revised in small.rglob("#*#/*.npy"):
        assert len(np.load(revised)) == len(np.load(revised.parent.parent / revised.name))


def test_flat_has_subjects_in_the_root(tmp_path: Path) -> None:
    summary = make_archive.make_archive(
        tmp_path, subjects=30, labs=12, sessions=2, files=3, flat=True
    )
    sessions = [path for path in tmp_path.glob("*/*/*") if is_session_path(path)]
    assert len(sessions) == summary.sessions == 60


def test_many_sessions_keep_to_a_few_years(tmp_path: Path) -> None:
    summary = make_archive.make_archive(tmp_path, subjects=1, sessions=3000, files=0)
    sessions = sorted(path.parts[-2:] for path in tmp_path.glob("*/Subjects/*/*/*"))
    assert len(sessions) == summary.sessions == 3000
    assert sessions[-1][0] < "2024"
    assert {len(number) for _, number in sessions} == {3}


@pytest.mark.parametrize("flat", [False, True])
def test_odd_cases_listed_are_those_on_disk(
    tmp_path: Path, flat: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = make_archive.make_archive(tmp_path, subjects=0, odd=True, flat=flat)
    assert summary.files == summary.sessions == 0
    skipped = capsys.readouterr().err.count("not possible here")
    assert len(summary.odd) + skipped == len(ODD_CASES)

    holds = {
        "file": stat.S_ISREG,
        "folder": stat.S_ISDIR,
        "link": stat.S_ISLNK,
        "fifo": stat.S_ISFIFO,
        "socket": stat.S_ISSOCK,
    }
    for case in summary.odd:
        path = tmp_path / case.path
        assert holds[case.type](path.lstat().st_mode), case
        if case.type == "link":
            assert os.readlink(path) == case.target
    leaves = {
        os.path.relpath(os.path.join(folder, name), tmp_path)
        for folder, folders, names in os.walk(tmp_path)
        for name in names + [name for name in folders if os.path.islink(f"{folder}/{name}")]
    }
    assert {Path(leaf).as_posix() for leaf in leaves} == {
        case.path for case in summary.odd if case.type != "folder"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot make every odd case")
def test_linux_makes_every_odd_case(tmp_path: Path) -> None:
    assert make_archive.make_archive(tmp_path, subjects=0, odd=True).odd == list(ODD_CASES)


def test_odd_kinds_and_paths_are_distinct() -> None:
    assert len({case.kind for case in ODD_CASES}) == len(ODD_CASES)
    assert len({case.path for case in ODD_CASES}) == len(ODD_CASES)


def test_a_root_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("precious.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty: give a folder that is empty"):
        make_archive.make_archive(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("counts", [{"files": -1}, {"labs": 0}])
def test_impossible_counts_are_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give counts"):
        make_archive.make_archive(tmp_path / "archive", **counts)
    assert not tmp_path.joinpath("archive").exists()


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, make_archive.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_prints_its_summary(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    done = run_command(root, "--subjects", "2", "--sessions", "1", "--files", "36", "--odd")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    counts = {name: summary[name] for name in ("sessions", "files", "datasets", "other_files")}
    assert counts == {"sessions": 2, "files": 72, "datasets": 68, "other_files": 4}
    cases = [OddCase(**case) for case in summary["odd"]]
    assert set(cases) <= set(ODD_CASES)
    assert all(os.path.lexists(root / case.path) for case in cases)


def test_the_command_refuses_a_root_that_is_not_empty(tmp_path: Path) -> None:
    tmp_path.joinpath("precious.txt").touch()
    done = run_command(tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"{tmp_path} is not empty" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody may write to")
def test_the_command_says_in_a_line_where_it_cannot_write() -> None:
    done = run_command("/proc/archive")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "/proc/archive; give a folder that can be written" in line
