"""Storage that fails: parts of an archive that cannot be read, full disks, limits, other users."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from amount import IS_FULL
from injecting import OPERATIONS, Ended, needs_strace, run_traced, run_worker
from scenes import SCENES, Scene, bench_scene, index_scene, make_scene, merge_scene
from trees import SESSION as SESSION_FILES
from trees import make_tree

import polars_alf
from polars_alf import schema
from polars_alf.errors import BenchError, KeptWarning
from polars_alf.tables import files

resource = pytest.importorskip("resource")

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="limits and file systems as on Linux"),
]

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount, and be another"
)

SESSION = "a/Subjects/S1/2020-01-01/001"
PLACES = [SESSION, f"{SESSION}/alf", "a/Subjects/S2/2020-01-02", "b/Subjects/S1", "b/Subjects"]

WORKERS = {
    "serial": ["--executor", "serial"],
    "threads": ["--executor", "threads", "--jobs", "2"],
    "ahead": ["--executor", "serial", "--threads", "8"],
    "processes": ["--executor", "processes", "--jobs", "2"],
}


def check_ended(scene: Scene, ended: Ended) -> None:
    assert "Traceback" not in ended.stderr, ended
    assert "panicked" not in ended.stderr, ended
    scene.check(ended.code)
    scene.again()


# A part of the archive that fails for good


def list_parts() -> list[tuple[str, str, str, str]]:
    errors = ["EIO", "EACCES", "ESTALE", "ELOOP", "ENAMETOOLONG", "EMFILE"]
    return [
        (workers, operation, error, place)
        for i, workers in enumerate(WORKERS)
        for j, operation in enumerate(("open", "readdir", "stat"))
        for k, error in enumerate(errors)
        # Of folders nobody asks for more than their names.
        for n, place in enumerate(PLACES[:2] if operation == "stat" else PLACES)
        # What lies in a session is opened from there, which strace does not know the path of.
        if not (operation == "open" and place.endswith("/alf"))
        if IS_FULL or (k == (i + 4 * j) % 6 and n == (i + j) % (2 if operation == "stat" else 5))
    ]


@needs_strace
@pytest.mark.parametrize(("workers", "operation", "error", "place"), list_parts())
def test_a_part_of_the_archive_fails(
    tmp_path: Path, workers: str, operation: str, error: str, place: str
) -> None:
    scene = index_scene(tmp_path, *WORKERS[workers], old=True)
    paths = [tmp_path / "archive" / place]
    # The first is of the folder itself, for its times.
    fault = f"error={error}" + ":when=2+" * (operation == "stat")
    ended = run_traced(scene.arguments, tmp_path / "logs", OPERATIONS[operation], fault, paths)
    assert ended.injected
    check_ended(scene, ended)
    if place == "b/Subjects":
        # A lab of which nothing can be read may be one that is not mounted.
        assert ended.code == 1
        assert "all sessions of the lab b" in ended.stderr
        return
    assert ended.code == 0
    assert '"issues": {}' not in ended.stdout


@needs_strace
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("operation", ["open", "read"])
def test_contents_that_cannot_be_read(tmp_path: Path, workers: str, operation: str) -> None:
    scene = index_scene(tmp_path, *WORKERS[workers], "--hash-files", old=True)
    files = sorted((tmp_path / "archive" / SESSION).rglob("*.npy"))
    ended = run_traced(
        scene.arguments, tmp_path / "logs", OPERATIONS[operation], "error=EIO", files
    )
    assert ended.injected
    check_ended(scene, ended)
    assert ended.code == 0
    assert "unreadable_content" in ended.stdout


@needs_strace
@pytest.mark.parametrize("operation", ["open", "stat", "read"])
@pytest.mark.parametrize("error", ["EIO", "EACCES", "ESTALE"] if IS_FULL else ["EIO"])
@pytest.mark.parametrize("name", ["sessions", "datasets"])
def test_tables_that_cannot_be_read(tmp_path: Path, operation: str, error: str, name: str) -> None:
    scene = merge_scene(tmp_path)
    paths = [files.table_path(tmp_path / "b", name)]
    calls = OPERATIONS[operation]
    ended = run_traced(scene.arguments, tmp_path / "logs", calls, f"error={error}", paths)
    assert ended.injected
    check_ended(scene, ended)


@needs_strace
@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize(
    "error", ["EIO", "EACCES", "ESTALE", "EMFILE"] if IS_FULL else ["EIO", "EMFILE"]
)
def test_ids_are_kept_though_what_names_them_cannot_be_read(
    tmp_path: Path, operation: str, error: str
) -> None:
    scene = index_scene(tmp_path, *WORKERS["serial"], old=True)
    tables = tmp_path / "tables"
    names = (*(files.table_path(tables, name) for name in schema.TABLES),)
    paths = [*names, files.namespace_path(tables)]
    calls = OPERATIONS[operation]
    ended = run_traced(scene.arguments, tmp_path / "logs", calls, f"error={error}", paths)
    assert ended.injected
    assert ended.code == 1
    check_ended(scene, ended)


# A disk that is full


@contextmanager
def mounted(folder: Path, n_bytes: int) -> Iterator[Callable[[], None]]:
    """Mount a small disk over a folder, and yield a function that makes it large."""
    kind = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "polars_alf_test", str(folder)]
    if subprocess.run(kind, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    more = ["mount", "-o", "remount,size=64m", str(folder)]
    try:
        yield lambda: subprocess.run(more, check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@needs_root
@pytest.mark.parametrize("n_pages", range(2, 104, 3 if IS_FULL else 17))
@pytest.mark.parametrize("workers", ["serial", "processes"])
def test_a_disk_that_fills_up(tmp_path: Path, workers: str, n_pages: int) -> None:
    (tmp_path / "tables").mkdir()
    with mounted(tmp_path / "tables", n_pages * 4096) as grow:
        scene = index_scene(tmp_path, *WORKERS[workers], "--hash-files")
        ended = run_worker(scene.arguments)
        check = scene.check
        assert "Traceback" not in ended.stderr, ended
        assert "panicked" not in ended.stderr, ended
        check(ended.code)
        assert ended.code == 0 or "make room" in ended.stderr or "No space" in ended.stderr, ended
        grow()
        scene.again()


@needs_root
def test_what_was_scanned_before_the_disk_was_full_is_not_scanned_again(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    with mounted(tmp_path / "tables", 50 * 4096) as grow:
        scene = index_scene(tmp_path, *WORKERS["serial"], "--hash-files")
        more = {f"c/Subjects/S{n}/2020-01-01/001": SESSION_FILES for n in range(100)}
        make_tree(tmp_path / "archive", more)
        ended = run_worker(scene.arguments)
        assert ended.code == 1, ended
        grow()
        report = polars_alf.index_archive(
            tmp_path / "archive", tmp_path / "tables", hash_files=True, namespace="test"
        )
        assert 0 < report.n_resumed < report.n_shards
        assert report.n_sessions == 108
        assert polars_alf.verify_archive(
            tmp_path / "archive", tmp_path / "tables", digest=True
        ).findings.is_empty()


@needs_root
@pytest.mark.parametrize("n_pages", range(20, 70, 3 if IS_FULL else 10))
def test_a_disk_that_fills_up_during_a_merge(tmp_path: Path, n_pages: int) -> None:
    (tmp_path / "tables").mkdir()
    with mounted(tmp_path / "tables", 200 * 4096) as grow:
        scene = merge_scene(tmp_path)
        subprocess.run(
            ["mount", "-o", f"remount,size={n_pages * 4096}", str(tmp_path / "tables")], check=True
        )
        ended = run_worker(scene.arguments)
        assert "Traceback" not in ended.stderr, ended
        assert "panicked" not in ended.stderr, ended
        scene.check(ended.code)
        grow()
        scene.again()


# Limits of the process


@pytest.mark.parametrize(
    "n_bytes", [0, 100, 1_000, 3_000, 8_000, 20_000] if IS_FULL else [100, 5_000]
)
@pytest.mark.parametrize("name", SCENES)
def test_files_that_must_not_grow(tmp_path: Path, name: str, n_bytes: int) -> None:
    scene = make_scene(name, tmp_path / "scene")
    check_ended(scene, run_worker(scene.arguments, {resource.RLIMIT_FSIZE: n_bytes}))


@pytest.mark.parametrize("n_files", [0, 3, 5, 8, 12] if IS_FULL else [0, 5])
@pytest.mark.parametrize("name", SCENES)
def test_few_open_files(tmp_path: Path, name: str, n_files: int) -> None:
    scene = make_scene(name, tmp_path / "scene")
    check_ended(scene, run_worker(scene.arguments, {resource.RLIMIT_NOFILE: n_files}, more=True))


@pytest.mark.parametrize("n_files", [2, 6, 20])
def test_few_open_files_for_many_threads(tmp_path: Path, n_files: int) -> None:
    scene = index_scene(tmp_path, "--executor", "serial", "--threads", "64")
    check_ended(scene, run_worker(scene.arguments, {resource.RLIMIT_NOFILE: n_files}, more=True))


# Another user

CLOSED = {
    "a folder of a session": (f"archive/{SESSION}/alf", 0),
    "a session": (f"archive/{SESSION}", 0),
    "a date that can be listed only": ("archive/a/Subjects/S2/2020-01-02", 0o444),
    "a folder that can be entered only": (f"archive/{SESSION}/alf", 0o111),
    "the subjects of a lab": ("archive/b/Subjects", 0),
    "the archive": ("archive", 0),
    "the folder of the tables": ("tables", 0o555),
    "the state": ("tables/.polars_alf", 0o555),
    "the state, wholly": ("tables/.polars_alf", 0),
    "the report": ("tables/.polars_alf/report.json", 0),
    "a table": ("tables/sessions.pqt", 0),
}


@needs_root
@pytest.mark.parametrize("name", ["refresh", "prune"])
@pytest.mark.parametrize("closed", CLOSED)
def test_another_user(
    tmp_path: Path, unprivileged: Callable[[], None], name: str, closed: str
) -> None:
    place, mode = CLOSED[closed]
    scene = make_scene(name, tmp_path / "scene")
    for path in (scene.base, *scene.base.rglob("*")):
        os.chown(path, 65534, 65534)
    path = scene.base / place
    was = path.stat().st_mode & 0o7777
    path.chmod(mode)
    ended = run_worker(scene.arguments, uid=65534)
    path.chmod(was)
    for path in scene.base.rglob("*"):
        os.chown(path, 0, 0)
    check_ended(scene, ended)


@needs_root
def test_content_of_another_user(tmp_path: Path, unprivileged: Callable[[], None]) -> None:
    scene = make_scene("hash", tmp_path / "scene")
    for path in (scene.base, *scene.base.rglob("*")):
        os.chown(path, 65534, 65534)
    closed = next((scene.base / "archive" / SESSION).rglob("*.csv"))
    os.utime(closed)
    closed.chmod(0)
    ended = run_worker(scene.arguments, uid=65534)
    assert ended.code == 0, ended
    assert "unreadable_content" in ended.stdout
    closed.chmod(0o644)
    check_ended(scene, ended)


# What measures storage


@needs_root
@pytest.mark.parametrize("n_pages", [4, 40])
def test_bench_on_a_full_disk(tmp_path: Path, n_pages: int) -> None:
    (tmp_path / "target").mkdir()
    with mounted(tmp_path / "target", n_pages * 4096) as grow:
        scene = bench_scene(tmp_path)
        ended = run_worker(scene.arguments)
        assert ended.code == 1, ended
        scene.check(1)
        grow()
        check_ended(scene, run_worker(scene.arguments))


@needs_root
@pytest.mark.parametrize("n_pages", [2, 6, 20] if IS_FULL else [6])
def test_no_room_for_a_report(tmp_path: Path, n_pages: int) -> None:
    (tmp_path / "report").mkdir()
    with mounted(tmp_path / "report", n_pages * 4096) as grow:
        scene = bench_scene(tmp_path)
        ended = run_worker(scene.arguments)
        assert ended.code == 1, ended
        assert "No space" in ended.stderr
        scene.check(1)
        grow()
        check_ended(scene, run_worker(scene.arguments))


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "EACCES", "ENOSPC"] if IS_FULL else ["EIO"])
@pytest.mark.parametrize("operation", ["open", "stat", "write", "unlink"])
def test_bench_of_storage_that_fails_in_all_threads(
    tmp_path: Path, operation: str, error: str
) -> None:
    scene = bench_scene(tmp_path)
    scene.arguments += ["--threads", "1,2"]
    calls, paths = OPERATIONS[operation], [tmp_path / "target", tmp_path / "report/result.json"]
    ended = run_traced(scene.arguments, tmp_path / "logs", calls, f"error={error}", paths)
    check_ended(scene, ended)


@needs_root
@pytest.mark.parametrize(
    ("is_busy", "cause"), [(False, "Read-only file system"), (True, "Device or resource busy")]
)
def test_what_bench_cannot_remove_is_named(tmp_path: Path, is_busy: bool, cause: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    options: dict[str, Any] = {"files": 40, "threads": [1], "duration": 0.01, "repeats": 1}
    with mounted(target, 64 << 20), ExitStack() as spoilt:

        def spoil(done: int, total: int, text: str) -> None:
            if not text.startswith("removing"):
                return
            if is_busy:
                (folder,) = target.iterdir()
                spoilt.enter_context(mounted(folder / "scratch", 1 << 20))
            else:
                subprocess.run(["mount", "-o", "remount,ro", str(target)], check=True)

        with pytest.raises(BenchError, match=f"cannot be removed: {cause}; remove it yourself"):
            polars_alf.bench_storage(target, **options, operations=["stat"], progress=spoil)
        spoilt.close()
        subprocess.run(["mount", "-o", "remount,rw", str(target)], check=True)
        (left,) = target.iterdir()
        with pytest.warns(KeptWarning, match=left.name):
            polars_alf.bench_storage(target, **options, operations=["stat"])
        assert [*target.iterdir()] == [left]
