"""Shards: the same rows however an archive is cut and whoever runs them; digests of files."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from indexes import NAMESPACE, read_tables
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import Progress, index_archive
from polars_alf.native import IMPLEMENTATION
from polars_alf.parallel.executors import EXECUTORS, Executor, Workers
from polars_alf.walk import walk

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.mark.slow
@pytest.mark.parametrize("hash_ids", [True, False])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_gives_the_same_tables(
    archive: Path,
    out_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: Executor,
    hash_ids: bool,
) -> None:
    make_tree(archive, {f"lab/Subjects/S{i}/2021-02-{i:02}/001": SESSION for i in range(1, 20)})
    tune(monkeypatch, least_folders=1)
    plain = tmp_path / "plain"
    plain.mkdir()
    reference = index_archive(
        archive, plain, namespace=NAMESPACE, hash_ids=hash_ids, executor="serial", jobs=1
    )
    # Row groups of a few rows, so that the merge has several of them to cut.
    tune(monkeypatch, rows_per_group=7)
    report = index_archive(
        archive, out_dir, namespace=NAMESPACE, hash_ids=hash_ids, executor=executor, jobs=2
    )
    for one, other in zip(read_tables(plain), read_tables(out_dir), strict=True):
        assert_frame_equal(one, other)
    assert report.n_datasets == reference.n_datasets == 12 + 3 * 19
    assert pq.read_metadata(out_dir / "datasets.pqt").num_row_groups > 5


@pytest.mark.parametrize("wanted", [1, 3, 1000])
def test_the_cut_into_shards_changes_nothing(
    archive: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int
) -> None:
    index_archive(archive, out_dir, namespace=NAMESPACE)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(walk, "SHARDS_WANTED", wanted)
    tune(monkeypatch, least_folders=1)
    index_archive(archive, other, namespace=NAMESPACE)
    for one, two in zip(read_tables(out_dir), read_tables(other), strict=True):
        assert_frame_equal(one, two)


@pytest.mark.slow
@pytest.mark.skipif(IMPLEMENTATION != "native", reason="Python's workers are always processes")
@pytest.mark.parametrize(
    ("jobs", "options", "backend"),
    [
        (4, {}, "processes"),
        (3, {}, "threads"),
        (4, {"executor": "threads"}, "threads"),
        (4, {"hash_files": True}, "threads"),
        (4, {"max_rate": 1e6}, "threads"),
    ],
)
def test_many_workers_are_processes_where_much_is_to_be_listed(
    archive: Path,
    out_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    options: dict[str, Any],
    backend: str,
) -> None:
    make_tree(archive, {f"lab/Subjects/S{i}/2021-02-{i:02}/001": SESSION for i in range(1, 9)})
    (tmp_path / "plain").mkdir()
    hash_files = options.get("hash_files", False)
    index_archive(archive, tmp_path / "plain", namespace=NAMESPACE, hash_files=hash_files, jobs=1)
    tune(monkeypatch, least_folders=1)
    monkeypatch.setattr(walk, "MANY_FOLDERS", 3)
    used: list[Workers] = []
    n_threads: set[int] = set()
    run_tasks = walk.run_tasks

    def spy(visit: Any, tasks: Any, workers: Workers, **more: Any) -> Any:
        used.append(workers)
        n_threads.update(task.n_threads for task in tasks)
        return run_tasks(visit, tasks, workers, **more)

    monkeypatch.setattr(walk, "run_tasks", spy)
    index_archive(archive, out_dir, namespace=NAMESPACE, jobs=jobs, **options)
    assert used == [Workers(backend, jobs)]  # type: ignore[arg-type]
    # The threads of the last shards are those of one process: others would multiply them.
    assert n_threads == ({1} if backend == "processes" else {1, jobs})
    for one, two in zip(read_tables(out_dir), read_tables(tmp_path / "plain"), strict=True):
        assert_frame_equal(one, two)


def test_hash_is_the_md5_of_the_content(tmp_path: Path) -> None:
    big = os.urandom(3_000_001)
    root = make_tree(
        tmp_path / "archive",
        {"S/2020-01-01/001": {"a.b.npy": big, "alf/c.d.npy": b"", "notes.txt": b"no"}},
    )
    seen: list[Progress] = []
    index_archive(root, hash_files=True, progress=seen.append)
    _, datasets = read_tables(root)
    assert dict(datasets.select("rel_path", "hash").iter_rows()) == {
        "a.b.npy": hashlib.md5(big).hexdigest(),
        "alf/c.d.npy": hashlib.md5(b"").hexdigest(),
    }
    assert seen[-1].n_bytes == len(big)
    assert (seen[-1].files, seen[-1].sessions) == (3, 1)


@posix_only
def test_content_that_cannot_be_read_is_an_issue(
    tmp_path: Path, unprivileged: Callable[[], None]
) -> None:
    root = make_tree(tmp_path / "archive", {"S/2020-01-01/001": {"a.b.npy": 1, "c.d.npy": 1}})
    (root / "S/2020-01-01/001/a.b.npy").chmod(0)
    root.chmod(0o777)
    unprivileged()
    report = index_archive(root, hash_files=True)
    hashes = dict(read_tables(root)[1].select("rel_path", "hash").iter_rows())
    assert hashes == {"a.b.npy": "", "c.d.npy": hashlib.md5(b"\0").hexdigest()}
    assert report.issues == {"unreadable_content": 1}


def test_no_data_file_is_opened_without_hash_files(
    archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            opened.append(arguments[0])

    sys.addaudithook(note)
    index_archive(archive, executor="serial")
    inside = [path for path in opened if path.startswith(str(archive / "cortexlab"))]
    assert inside, "the hook sees directories at least"
    assert [path for path in inside if not Path(path).is_dir()] == []
