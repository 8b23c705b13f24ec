"""Walks on a Dask cluster, with real workers and a real scheduler, some of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clusters import PATIENCE, TestCluster, limit_waits, wait_for
from locales import ASCII
from polars.testing import assert_frame_equal
from trees import SESSION, TWO_LABS, check_state, make_tree
from tuning import tune

from polars_alf import (
    IndexReport,
    index_archive,
    plan_removals,
    scan_archive,
    verify_archive,
)
from polars_alf.alf.root import open_root
from polars_alf.errors import OptionError, ScanError
from polars_alf.parallel import cluster, cluster_tasks
from polars_alf.parallel.executors import Workers, open_workers, run_tasks
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import Shard
from polars_alf.walk.walk import _Task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals there")

NAMESPACE = uuid.UUID("12345678-1234-5678-1234-567812345678")
DATED_FOLDER = "lab/Subjects/S07/2021-02-05"


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """Start a cluster once; its workers are started again when they are killed."""
    started = TestCluster(tmp_path_factory.mktemp("cluster") / "two")
    yield started
    started.stop()


@pytest.fixture
def workers(two_workers: TestCluster) -> TestCluster:
    two_workers.clear()
    return two_workers


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[Callable[..., TestCluster]]:
    """Give a function that starts a cluster for one test."""
    started: list[TestCluster] = []

    def start(*arguments: object, **options: object) -> TestCluster:
        folder = tmp_path / f"cluster-{len(started)}"
        started.append(TestCluster(folder, *arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an archive of twenty shards."""
    tune(monkeypatch, least_folders=16)
    sessions = [f"S{i:02}/2021-02-{day:02}/001" for i in range(20) for day in range(1, 17)]
    return make_tree(tmp_path / "archive", {f"lab/Subjects/{path}": SESSION for path in sessions})


def read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_parquet(folder / "sessions.pqt"), pl.read_parquet(folder / "datasets.pqt")


def check_tables(archive: Path, tmp_path: Path) -> None:
    """Check that tables are those of an undisturbed run on this machine."""
    plain = tmp_path / "plain"
    plain.mkdir()
    index_archive(archive, plain, namespace=NAMESPACE, executor="serial")
    for table, expected in zip(read(archive), read(plain), strict=True):
        assert_frame_equal(table, expected)
    check_state(archive)


def resume(archive: Path) -> IndexReport:
    assert not (archive / "sessions.pqt").exists()
    return index_archive(archive, namespace=NAMESPACE, executor="serial")


@contextmanager
def indexing(archive: Path, address: str) -> Iterator[Future[IndexReport]]:
    """Index on a cluster, in a thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(index_archive, archive, namespace=NAMESPACE, executor=address)


@pytest.mark.slow
def test_tables_are_those_of_a_serial_run(
    workers: TestCluster, archive: Path, tmp_path: Path
) -> None:
    counted = []
    report = index_archive(
        archive, namespace=NAMESPACE, executor=workers.address, progress=counted.append
    )
    assert (report.n_jobs, report.n_shards, report.issues) == (2, 20, {})
    assert len(workers.marks("finished")) == 20
    assert os.getpid() not in {pid for _, pid in workers.marks("begun")}
    assert (counted[-1].files, counted[-1].sessions, counted[-1].shards) == (4 * 320, 320, 20)
    check_tables(archive, tmp_path)
    again = index_archive(archive, executor=workers.address, hash_files=True, jobs=1)
    assert again.changes is not None
    assert {kind: n for kind, n in again.changes.items() if n} == {"unchanged": 960}
    assert (read(archive)[1]["hash"].str.len_bytes() == 32).all()


def check_workers_walked(workers: TestCluster, n_shards: int) -> None:
    """Check that the workers of a cluster, and not this process, visited so many shards."""
    finished = workers.marks("finished")
    assert len(finished) == n_shards
    assert os.getpid() not in {pid for _, pid in finished}


def test_a_scan_is_that_of_a_serial_run(workers: TestCluster, archive: Path) -> None:
    files = scan_archive(archive, executor=workers.address).sort("directory", "name").collect()
    assert len(files) == 960
    check_workers_walked(workers, 7)
    serial = scan_archive(archive, executor="serial").sort("directory", "name")
    assert_frame_equal(files, serial.collect())


@pytest.mark.slow
def test_scans_that_are_left_disturb_no_later_run(
    workers: TestCluster, archive: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        assert len(scan_archive(archive, executor=workers.address).head(1).collect()) == 1
    with indexing(archive, workers.address) as run:
        assert run.result(PATIENCE).n_datasets == 960
    check_tables(archive, tmp_path)


@pytest.mark.slow
def test_findings_are_those_of_a_serial_run(workers: TestCluster, archive: Path) -> None:
    index_archive(archive, hash_files=True, executor="serial")
    session = archive / "lab/Subjects/S07/2021-02-05/001"
    (session / "alf/spikes.times.npy").unlink()
    (session / "_ibl_trials.intervals_bpod.csv").write_bytes(b"x" * 11)
    found = verify_archive(archive, digest=True, executor=workers.address)
    assert [kind for kind, n in found.counts.items() if n] == ["missing", "digest_changed"]
    assert found.n_digested == 959
    check_workers_walked(workers, 7 + 1)
    serial = verify_archive(archive, digest=True, executor="serial")
    assert_frame_equal(found.findings, serial.findings)


def test_a_plan_is_that_of_a_serial_run(workers: TestCluster, archive: Path) -> None:
    index_archive(archive, executor="serial")
    make_tree(archive, {f"lab/Subjects/S{i:02}/2021-02-05/001/a.b.c": i for i in range(20)})
    make_tree(archive, {"lab/Subjects/S20/2021-02-05/001": {}})
    plan = plan_removals(archive, executor=workers.address)
    assert plan["kind"].value_counts(name="n").sort("kind").rows() == [
        ("dataset", 20),
        ("folder", 2),
        ("session", 1),
    ]
    check_workers_walked(workers, 7)
    assert_frame_equal(plan, plan_removals(archive, executor="serial"))


def test_no_more_tasks_at_a_time_than_wanted(workers: TestCluster, archive: Path) -> None:
    workers.hold()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(index_archive, archive, executor=workers.address, jobs=1)
        wait_for(lambda: workers.marks("held"), "a shard")
        with cluster.connect(workers.tcp) as connected:
            processing = connected.client.processing()
        assert sum(len(tasks) for tasks in processing.values()) == 1
        workers.release()
        assert run.result(PATIENCE).n_jobs == 1


@pytest.mark.thorough
def test_a_worker_that_is_killed_loses_nothing(
    workers: TestCluster, archive: Path, tmp_path: Path
) -> None:
    workers.hold(after=4)
    with indexing(archive, workers.address) as run:
        wait_for(lambda: len({pid for _, pid in workers.marks("held")}) == 2, "both workers")
        shard, pid = workers.marks("held")[0]
        os.kill(pid, signal.SIGKILL)
        workers.release()
        assert run.result(PATIENCE).n_shards == 20
    assert shard in {name for name, other in workers.marks("finished") if other != pid}
    check_tables(archive, tmp_path)


@pytest.mark.thorough
def test_a_task_that_kills_its_workers_ends_the_run(
    workers: TestCluster, archive: Path, tmp_path: Path
) -> None:
    workers.kill_at(DATED_FOLDER)
    with (
        indexing(archive, workers.address) as run,
        pytest.raises(ScanError, match=r"the shard from lab/.* each of the 2 workers"),
    ):
        run.result(PATIENCE)
    assert resume(archive).n_resumed > 0
    check_tables(archive, tmp_path)


@pytest.mark.thorough
def test_a_scheduler_that_is_lost_ends_the_run(
    start_cluster: Callable[..., TestCluster], archive: Path, tmp_path: Path
) -> None:
    workers = start_cluster(1, nanny=False)
    workers.hold(after=4)
    with indexing(archive, workers.address) as run:
        wait_for(lambda: workers.marks("held"), "the worker")
        workers.scheduler.kill()
        with pytest.raises(ScanError, match=r"the scheduler .* went away; .* goes on from there"):
            run.result(PATIENCE)
    assert resume(archive).n_resumed >= 4
    workers.release()
    check_tables(archive, tmp_path)


@pytest.mark.thorough
def test_workers_that_are_all_lost_end_the_run(
    start_cluster: Callable[..., TestCluster],
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_waits(monkeypatch, workers_seconds=3)
    workers = start_cluster(1, nanny=False)
    workers.hold(after=4)
    with indexing(archive, workers.address) as run:
        wait_for(lambda: workers.marks("held"), "the worker")
        workers.workers[0].kill()
        with pytest.raises(ScanError, match="has had no workers for 3 seconds"):
            run.result(PATIENCE)
    with pytest.raises(ScanError, match="had no workers for 3 seconds; start some"):
        index_archive(archive, executor=workers.address)
    assert resume(archive).n_resumed == 4
    check_tables(archive, tmp_path)


@pytest.mark.thorough
def test_an_interrupt_cancels_what_is_left(
    workers: TestCluster, archive: Path, tmp_path: Path
) -> None:
    workers.hold(after=4)
    command = [sys.executable, "-m", "polars_alf", "index", str(archive)]
    process = subprocess.Popen(
        [*command, "--cluster", workers.address, "--namespace", str(NAMESPACE)],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(workers.marks("held")) == 2, "both workers")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "goes on from here" in stderr
    n_begun = len(workers.marks("begun"))
    # Two workers are still at it, and finish while the next run does, or later.
    report = resume(archive)
    assert report.n_resumed >= 4
    workers.release()
    with cluster.connect(workers.tcp) as connected:
        wait_for(lambda: not any(connected.client.processing().values()), "the last tasks")
    assert len(workers.marks("begun")) == n_begun
    check_tables(archive, tmp_path)
    again = index_archive(archive)
    assert again.changes is not None
    assert {kind: n for kind, n in again.changes.items() if n} == {"unchanged": 960}


@pytest.mark.slow
def test_a_worker_without_the_package(
    start_cluster: Callable[..., TestCluster], archive: Path
) -> None:
    workers = start_cluster(1, nanny=False, blocked="polars_alf")
    with pytest.raises(ScanError, match=r"cannot load its task: .* install polars-alf"):
        index_archive(archive, executor=workers.address)


@pytest.mark.slow
def test_a_worker_that_decodes_names_otherwise_is_told_of(
    start_cluster: Callable[..., TestCluster], archive: Path
) -> None:
    workers = start_cluster(1, nanny=False, variables=ASCII)
    with pytest.raises(ScanError, match=r"worker tcp://.* as ascii; start it with PYTHONUTF8=1"):
        index_archive(archive, executor=workers.address)
    assert not (archive / "sessions.pqt").exists()
    workers = start_cluster(1, nanny=False, variables=ASCII | {"PYTHONUTF8": "1"})
    assert index_archive(archive, executor=workers.address).n_shards == 20


@dataclass(frozen=True)
class Unseeing:
    """A task on a machine that lacks a folder."""

    path: str | None

    def find_unseen(self) -> str | None:
        return self.path


def tell(task: Unseeing) -> str:
    return str(task.path)


def recurse(task: Unseeing) -> str:
    return recurse(task)


def test_errors_come_through(workers: TestCluster) -> None:
    # Dask's own client waits for ever for one with so long a traceback.
    with open_workers(workers.address) as opened:
        assert opened is not None
        with pytest.raises(RuntimeError, match="maximum recursion depth"):
            list(run_tasks(recurse, [Unseeing(None)] * 5, Workers(opened, 2)))


@pytest.mark.slow
def test_the_scheduler_keeps_no_note_of_each_task(workers: TestCluster) -> None:
    """What it keeps of each graph lasts as long as it runs."""

    def count_notes(dask_scheduler: Any) -> int:
        spans = dask_scheduler.extensions["spans"].spans.values()
        return sum(len(span.metadata["collections"]) for span in spans)

    n_tasks = 1_500
    with cluster.connect(workers.tcp) as connected:
        before = connected.client.run_on_scheduler(count_notes)
        found = cluster_tasks.run_tasks(connected, tell, [Unseeing(None)] * n_tasks, n_jobs=2)
        assert [*found] == ["None"] * n_tasks
        assert connected.client.run_on_scheduler(count_notes) - before < n_tasks / 2


def test_results_that_are_slow_to_come_are_waited_for(
    workers: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "_RESULT_SECONDS", 1e-5)
    with cluster.connect(workers.tcp) as connected:
        found = cluster_tasks.run_tasks(connected, tell, [Unseeing(None)] * 100, n_jobs=2)
        assert [*found] == ["None"] * 100


def test_a_worker_that_does_not_see_the_files(workers: TestCluster) -> None:
    with open_workers(workers.address) as opened:
        assert opened is not None
        assert list(run_tasks(tell, [Unseeing(None)] * 3, Workers(opened, 2))) == ["None"] * 3
        message = r"worker tcp://.* does not see /data, .*; mount it there .* for the same user$"
        with pytest.raises(ScanError, match=message):
            list(run_tasks(tell, [Unseeing(None), Unseeing("/data")], Workers(opened, 2)))


def test_a_worker_that_does_not_see_temporary_files(workers: TestCluster) -> None:
    folder = str(Path(tempfile.gettempdir(), "frames"))
    with open_workers(workers.address) as opened:
        assert opened is not None
        with pytest.raises(ScanError, match=f"does not see {folder}, .* set TMPDIR to a folder"):
            list(run_tasks(tell, [Unseeing(folder)] * 2, Workers(opened, 2)))


def test_what_a_worker_needs_to_see(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    dated = ("lab/Subjects/S01/2021-02-01", "lab/Subjects/S01/2021-02-02")
    shard = Shard.pack(0, dated)
    task = _Task(open_root(archive), WalkOptions(), shard, lambda *_: None, folder, None)
    assert task.find_unseen() == str(folder)
    folder.mkdir()
    assert task.find_unseen() is None
    (archive / dated[0]).rename(tmp_path / "moved")
    assert task.find_unseen() is None
    (archive / dated[1]).rename(tmp_path / "moved too")
    assert task.find_unseen() == str(archive / dated[0])


def test_an_address_without_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_waits(monkeypatch, connect_seconds=1)
    with pytest.raises(ScanError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9: "):
        index_archive(make_tree(tmp_path, TWO_LABS), executor="dask://127.0.0.1:9")
    assert not (tmp_path / "sessions.pqt").exists()


@pytest.mark.parametrize(
    "address",
    [
        "dask://",
        "dask://host",
        "dask://host:0",
        "dask://host:99999",
        "dask://host:8786/x",
        "dask://me@host:8786",
        "dask://host:8786\n",
        "http://host:8786",
        "DASK://host:8786",
        "dask://[::1:8786",
    ],
)
def test_addresses_that_are_none(tmp_path: Path, address: str) -> None:
    with pytest.raises(OptionError, match="give that of its scheduler, as dask://HOST:PORT"):
        index_archive(tmp_path, executor=address)


@pytest.mark.parametrize(
    ("address", "of_dask"),
    [
        ("dask://login-1.hpc.org:8786", "tcp://login-1.hpc.org:8786"),
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
        ("tls://10.0.0.1:8786", "tls://10.0.0.1:8786"),
        ("dask://[::1]:8786", "tcp://[::1]:8786"),
    ],
)
def test_addresses(address: str, of_dask: str) -> None:
    assert cluster.parse_address(address) == of_dask


def run_cli(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{code}; from polars_alf.cli.app import main; main()"]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.slow
def test_a_cluster_without_dask_names_the_cure(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['distributed'] = None"
    result = run_cli("index", tmp_path, "--cluster", "dask://127.0.0.1:9", code=blocked)
    assert (result.returncode, result.stdout) == (1, "")
    assert 'pip install "polars-alf[dask]"' in result.stderr


@pytest.mark.slow
def test_a_cluster_is_no_other_executor(tmp_path: Path) -> None:
    arguments = ("--cluster", "dask://127.0.0.1:9", "--executor", "serial")
    result = run_cli("index", tmp_path, *arguments, code="pass")
    assert result.returncode == 2
    assert "either" in result.stderr
