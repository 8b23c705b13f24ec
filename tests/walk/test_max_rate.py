"""Runs that keep to a rate of calls, and that back off: the tables are those of any other run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest
import slow_storage
from clusters import TestCluster
from inventories import list_by_find
from polars.testing import assert_frame_equal
from slow_storage import Load
from trees import SESSION, Tree, make_tree
from tuning import SMALL_SHARDS

from polars_alf import IndexReport, index_archive
from polars_alf.alf.root import open_root
from polars_alf.parallel.pacer import BURST_SECONDS, Pacer
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import Shard
from polars_alf.walk.sources import AnyWalker
from polars_alf.walk.walk import _Task, _visit_shard

pytestmark = pytest.mark.skipif(
    slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
)

PATIENCE = 300
"""Seconds after which a run that was to end has not."""

COMMAND = f"""
{SMALL_SHARDS}
import sys
from polars_alf.__main__ import main
sys.argv[0] = "polars-alf"
main()
"""
"""The command, for which few folders are worth a shard."""

MOST_AT_ONCE = 4
"""Calls that are booked together: those of one worker may come a moment early."""

CALLS_TO_SEE = 1
"""Calls by which a worker of a cluster finds that it sees the folders of a shard, at no rate."""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_storage.build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    tree: Tree = {f"lab/Subjects/S{i}/2021-02-{i % 28 + 1:02}/001": SESSION for i in range(60)}
    return make_tree(tmp_path / "archive", tree)


def start(
    root: Path, folder: Path, environment: dict[str, str], *arguments: str
) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", COMMAND, "index", str(root), "--out", str(folder), "--json"]
    return subprocess.Popen(
        [*command, "--quiet", "--namespace", "site", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def index(
    root: Path, folder: Path, environment: dict[str, str], *arguments: str
) -> dict[str, object]:
    """Index in a process of its own; return the report."""
    stdout, stderr = start(root, folder, environment, *arguments).communicate(timeout=PATIENCE)
    assert stdout, stderr
    report: dict[str, object] = json.loads(stdout)
    return report


def index_here(root: Path, folder: Path, *, hash_files: bool = False) -> IndexReport:
    """Index on storage that is not slow, without a limit."""
    folder.mkdir()
    return index_archive(root, folder, namespace="site", hash_files=hash_files, jobs=1)


def assert_same_tables(folder: Path, other: Path) -> None:
    for table in ("sessions", "datasets"):
        found, expected = (pl.read_parquet(f / f"{table}.pqt") for f in (folder, other))
        assert_frame_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "arguments"),
    [
        ("1", ()),
        ("1", ("--executor", "threads", "--jobs", "3", "--threads", "4", "--hash-files")),
        ("1", ("--executor", "processes", "--jobs", "2")),
        ("0", ("--executor", "serial", "--op-timeout", "0.5")),
    ],
    ids=["default", "threads", "processes", "python"],
)
def test_all_workers_keep_to_the_rate(
    many: Path, tmp_path: Path, library: Path, core: str, arguments: tuple[str, ...]
) -> None:
    rate = 300
    hash_files = "--hash-files" in arguments
    plain = index_here(many, tmp_path / "plain", hash_files=hash_files)
    load = Load(tmp_path / "load")
    environment = slow_storage.slow_down(library, many, 0, "buffer") | load.environment
    environment["POLARS_ALF_NATIVE"] = core
    paced = index(many, tmp_path / "paced", environment, "--max-rate", str(rate), *arguments)
    n_calls = load.n_calls
    # Of each session: two or more folders to open and to read, and the files.
    assert n_calls > 60 * 7
    n_workers = 3
    most_early = n_workers * MOST_AT_ONCE + BURST_SECONDS * rate
    assert float(str(paced["seconds"])) >= (n_calls - most_early) / rate
    assert paced["issues"] == plain.issues
    assert_same_tables(tmp_path / "paced", tmp_path / "plain")


@pytest.mark.slow
def test_a_refresh_keeps_to_the_rate(many: Path, tmp_path: Path, library: Path) -> None:
    folder, rate = tmp_path / "tables", 200
    index_here(many, folder)
    load = Load(tmp_path / "load")
    environment = slow_storage.slow_down(library, many, 0, "buffer") | load.environment
    report = index(many, folder, environment, "--quick", "--max-rate", str(rate))
    assert load.n_calls > 60 * 3
    most_early = 3 * MOST_AT_ONCE + BURST_SECONDS * rate
    assert float(str(report["seconds"])) >= (load.n_calls - most_early) / rate


@pytest.mark.slow
def test_files_of_an_inventory_are_read_at_the_rate(many: Path, tmp_path: Path) -> None:
    folder, rate = tmp_path / "tables", 200
    folder.mkdir()
    inventory = tmp_path / "inventory"
    inventory.write_bytes(list_by_find(many))
    report = index_archive(
        many, folder, inventory=inventory, hash_files=True, max_rate=rate, executor="serial"
    )
    # Each file is opened and read, in at least two calls; the list itself takes none.
    assert report.n_datasets == 180
    assert report.seconds >= (2 * 180 - MOST_AT_ONCE) / rate - BURST_SECONDS


def visit_once(walker: AnyWalker, shard: Shard) -> int:
    """Make one call to the storage."""
    walker.pacer.wait()
    return shard.index


def test_shards_with_pacers_of_their_own_keep_to_the_rate(many: Path, tmp_path: Path) -> None:
    rate, n_shards = 40, 20
    begin = time.monotonic()
    for index in range(n_shards):
        # As another process or machine gets it.
        task = _Task(
            open_root(many),
            WalkOptions(max_rate=rate),
            Shard.pack(index, ("lab",)),
            visit_once,
            tmp_path,
            None,
            pacer=Pacer(rate),
        )
        assert _visit_shard(task)[0] == index
    assert time.monotonic() - begin >= n_shards / rate - BURST_SECONDS


@pytest.mark.slow
def test_a_cluster_keeps_to_the_rate(many: Path, tmp_path: Path, library: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    rate, n_workers = 300, 3
    index_here(many, tmp_path / "plain")
    load = Load(tmp_path / "load")
    environment = slow_storage.slow_down(library, many, 0, "buffer") | load.environment
    workers = TestCluster(tmp_path / "cluster", n_workers, nanny=False, variables=environment)
    try:
        arguments = ("--cluster", workers.address, "--max-rate", str(rate))
        report = index(many, tmp_path / "paced", environment, *arguments)
        visited = workers.marks("finished")
    finally:
        workers.stop()
    assert (report["n_jobs"], len(visited)) == (n_workers, 60)
    assert len({pid for _, pid in visited}) > 1
    assert load.n_calls > 60 * (7 + CALLS_TO_SEE)
    n_unpaced = 60 * CALLS_TO_SEE
    most_early = n_workers * MOST_AT_ONCE + BURST_SECONDS * rate + n_unpaced
    assert float(str(report["seconds"])) >= (load.n_calls - most_early) / rate
    assert_same_tables(tmp_path / "paced", tmp_path / "plain")


@pytest.mark.slow
def test_each_part_of_an_array_keeps_to_its_part_of_the_rate(
    many: Path, tmp_path: Path, library: Path
) -> None:
    rate, n_parts, paced = 300, 2, tmp_path / "paced"
    index_here(many, tmp_path / "plain")
    slow = slow_storage.slow_down(library, many, 0, "buffer")
    for part in range(1, n_parts + 1):
        load = Load(tmp_path / f"load-{part}")
        arguments = ("--shard", f"{part}/{n_parts}", "--max-rate", str(rate))
        report = index(many, paced, slow | load.environment, *arguments)
        assert load.n_calls > 30 * 7
        most_early = 3 * MOST_AT_ONCE + BURST_SECONDS * rate
        assert float(str(report["seconds"])) >= (load.n_calls - most_early) / (rate / n_parts)
    load = Load(tmp_path / "load")
    # The same option for all; nothing of the sessions is looked at again.
    index(many, paced, slow | load.environment, "--assemble", "--max-rate", str(rate))
    assert load.n_calls < 60
    assert_same_tables(paced, tmp_path / "plain")


@pytest.fixture
def running(many: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        started.append(start(many, tmp_path / "tables", {}, *arguments))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def read_nice_values(process: psutil.Process) -> set[int]:
    """Return the nice values of all threads of a process."""
    fields = [
        path.read_text().rpartition(")")[2].split()
        for path in Path(f"/proc/{process.pid}/task").glob("*/stat")
    ]
    return {int(values[16]) for values in fields}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_a_nice_run_and_its_workers_give_way(
    running: Callable[..., subprocess.Popen[str]], executor: str
) -> None:
    # So slow that it is still there when it is looked at.
    process = running("--nice", "--max-rate", "20", "--executor", executor, "--jobs", "2")
    run = psutil.Process(process.pid)
    deadline = time.monotonic() + PATIENCE
    wanted = 1 if executor == "processes" else 0
    seen: list[psutil.Process] = []
    while time.monotonic() < deadline and process.poll() is None:
        seen = [p for p in run.children(recursive=True) if "loky" in " ".join(p.cmdline())]
        is_slow = len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 3
        if len(seen) >= wanted and is_slow and read_nice_values(run) == {19}:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    assert len(seen) >= wanted
    for each in (run, *seen):
        assert read_nice_values(each) == {19}


@pytest.mark.slow
def test_a_crowded_storage_changes_no_table(tmp_path: Path, library: Path) -> None:
    files = {f"object{i}.times.npy": 1 for i in range(100)}
    tree: Tree = {f"lab/Subjects/S{i}/2021-02-01/001/alf": files for i in range(40)}
    root = make_tree(tmp_path / "archive", tree)
    plain = index_here(root, tmp_path / "plain")
    load = Load(tmp_path / "load", at_a_time=4)
    environment = slow_storage.slow_down(library, root, 2, "buffer") | load.environment
    report = index(root, tmp_path / "crowded", environment)
    # Whether it has the time to back off depends on the machine: see test_backoff.
    assert (report["n_backoffs"] != 0) == (report["least_share"] != 1)
    assert (plain.n_backoffs, plain.least_share) == (0, 1)
    assert_same_tables(tmp_path / "crowded", tmp_path / "plain")
