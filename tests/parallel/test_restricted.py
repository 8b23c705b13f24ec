"""Machines and programs in which no process can be started: threads do the work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trees import SESSION, make_tree

MANY = {
    f"S{subject}/2020-01-{day:02}/001": SESSION for subject in range(10) for day in range(1, 29)
}


IN_A_DAEMON = """
import multiprocessing, sys
import polars_alf as alf

def index(executor):
    try:
        return alf.index_archive(sys.argv[1], executor=executor, n_jobs=2).n_datasets
    except alf.errors.ScanError as error:
        return str(error)

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.map(index, [None, "threads", "serial", "processes"]), sep="\\n")
"""


def test_in_a_daemonic_process_threads_do_the_work(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", MANY)
    script = tmp_path / "in_a_daemon.py"
    script.write_text(IN_A_DAEMON)
    ended = subprocess.run(
        [sys.executable, str(script), str(root)], capture_output=True, text=True, timeout=120
    )
    *counts, refusal = ended.stdout.splitlines()
    assert counts == [str(3 * len(MANY))] * 3, ended.stderr
    assert refusal.startswith("no process can be started here: this is a daemonic process")
    assert "give the executor 'threads'" in refusal


@pytest.mark.parametrize("options", ["ro", "size=4k"], ids=["read-only", "full"])
def test_without_shared_memory_threads_do_the_work(tmp_path: Path, options: str) -> None:
    apart = ["unshare", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("needs unshare, and to be root")
    root = make_tree(tmp_path / "archive", MANY)
    fill = "" if options == "ro" else "head -c 4096 /dev/zero > /dev/shm/much;"
    mount = f'mount -t tmpfs -o {options} tmpfs /dev/shm; {fill} exec "$@"'
    command = [*apart, "sh", "-c", mount, "sh", sys.executable, "-m", "polars_alf", "index"]
    command += [str(root), "--progress", "none", "--jobs", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    refused = subprocess.run(
        [*command, "--executor", "processes"], capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 1
    assert "no process can be started here: a semaphore cannot be made in /dev/shm: " in (
        refused.stderr
    )
