"""A cluster whose workers are killed and replaced all the time, over storage that is slow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import slow_storage
from clusters import PATIENCE, TestCluster, check_repeats, kill_now_and_then
from indexes import assert_equal, read_tables
from slow_storage import Load
from trees import SESSION, check_state, make_tree
from tuning import SMALL_SHARDS

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
    ),
]

N_SHARDS = 48
N_KILLS = 4
OFTEN_KILLED = {
    # As the page on clusters says.
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
}
COMMAND = f"""
{SMALL_SHARDS}
import sys
from polars_alf.__main__ import main
sys.argv[0] = "polars-alf"
main()
"""


def start_index(
    root: Path, out: Path, variables: dict[str, str], *arguments: str
) -> subprocess.Popen[bytes]:
    out.mkdir()
    command = [sys.executable, "-c", COMMAND, "index", str(root), "--out", str(out), "--quiet"]
    command += ["--namespace", "test", "--threads", "1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | variables)


def test_workers_that_come_and_go_lose_nothing_and_repeat_little(tmp_path: Path) -> None:
    sessions = {f"lab/Subjects/S{i}/2021-02-01/001": SESSION for i in range(N_SHARDS)}
    root = make_tree(tmp_path / "archive", sessions)
    slow = slow_storage.slow_down(slow_storage.build_library(tmp_path), root, 20, "buffer")

    alone = Load(tmp_path / "alone")
    run = start_index(root, tmp_path / "plain", slow | alone.environment, "--executor", "serial")
    assert run.wait(PATIENCE) == 0

    load = Load(tmp_path / "load")
    workers = TestCluster(
        tmp_path / "cluster",
        3,
        nanny=False,
        variables=slow | load.environment,
        scheduler_variables=OFTEN_KILLED,
    )

    def is_due(n_killed: int) -> bool:
        n_finished = len(workers.marks("finished"))
        return n_killed < N_KILLS and n_finished > (n_killed + 1) * N_SHARDS // (N_KILLS + 2)

    try:
        run = start_index(root, tmp_path / "tables", {}, "--cluster", workers.address)
        killed = kill_now_and_then(workers, is_due, lambda: run.poll() is not None)
        assert (run.wait(), len(killed)) == (0, N_KILLS)
        n_repeats = check_repeats(workers, killed)
        assert len(workers.marks("begun")) == N_SHARDS + n_repeats
    finally:
        run.kill()
        workers.stop()
    # Each shard takes one call more on a cluster, by which a worker sees that it is there.
    n_each = alone.n_calls // N_SHARDS + 1
    assert load.n_calls <= alone.n_calls + N_SHARDS + n_repeats * n_each
    assert_equal(read_tables(tmp_path / "tables"), read_tables(tmp_path / "plain"))
    check_state(tmp_path / "tables")
