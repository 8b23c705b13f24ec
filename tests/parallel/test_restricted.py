"""Machines that grant less than usual: the work is done with it, or an error names the cause."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from trees import SESSION, make_tree

from polars_alf import scan_datasets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts as on Linux")

MANY = {
    f"S{subject}/2020-01-{day:02}/001": SESSION for subject in range(10) for day in range(1, 29)
}


IN_A_DAEMON = """
import multiprocessing, sys
import polars_alf as alf

def index(executor):
    try:
        return alf.index_archive(sys.argv[1], executor=executor, jobs=2).n_datasets
    except alf.errors.ScanError as error:
        return str(error)

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.map(index, [None, "threads", "serial", "processes"]), sep="\\n")
"""


@pytest.mark.slow
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


IN_A_SHELL = 'exec "$@"'


def index(
    root: Path, *more: str, shell: str = "", before: Sequence[str] = (), **named: Any
) -> subprocess.CompletedProcess[str]:
    """Run an index of two workers in a shell, after what limits it."""
    command = [*before, "sh", "-c", f"{shell} {IN_A_SHELL}", "sh", sys.executable, "-m"]
    command += ["polars_alf", "index", str(root), "--progress", "none", "--jobs", "2", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **named)


def check_done(ended: subprocess.CompletedProcess[str], root: Path) -> None:
    assert (ended.returncode, ended.stderr) == (0, "")
    assert scan_datasets(root).collect().height == 3 * len(MANY)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive of so many folders that two workers share them."""
    return make_tree(tmp_path_factory.mktemp("restricted") / "archive", MANY)


@pytest.fixture
def root(many: Path) -> Path:
    """Remove the tables of the archive."""
    for path in many.glob("*.pqt"):
        path.unlink()
    shutil.rmtree(many / ".polars_alf", ignore_errors=True)
    return many


# Shared memory, and where no process can be started


def make_apart() -> list[str]:
    apart = ["unshare", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("needs unshare, and to be root")
    return apart


SHARED = {
    "read-only": "mount -t tmpfs -o ro tmpfs /dev/shm;",
    "full": "mount -t tmpfs -o size=4k tmpfs /dev/shm; head -c 4096 /dev/zero > /dev/shm/much;",
    "missing": "mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3;"
    " mknod -m 666 /dev/urandom c 1 9;",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", SHARED)
def test_without_shared_memory_threads_do_the_work(root: Path, how: str) -> None:
    apart = make_apart()
    check_done(index(root, shell=SHARED[how], before=apart), root)
    refused = index(root, "--executor", "processes", shell=SHARED[how], before=apart)
    assert refused.returncode == 1
    assert "no process can be started here: a semaphore cannot be made in /dev/shm: " in (
        refused.stderr
    )


@pytest.mark.slow
def test_without_any_device(root: Path) -> None:
    shell, apart = "mount -t tmpfs tmpfs /dev;", make_apart()
    check_done(index(root, shell=shell, before=apart), root)
    cut = [*apart, "sh", "-c", f"{shell} {sys.executable} -m polars_alf --help | head -c 1"]
    ended = subprocess.run(cut, capture_output=True, text=True, timeout=60)
    assert (len(ended.stdout), ended.stderr) == (1, "")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_system_without_semaphores(root: Path) -> None:
    # glibc makes a file for each in there, by a name that it links.
    traced = ["strace", "-f", "-qq", "-o", os.devnull, "--seccomp-bpf", "-e", "trace=link"]
    traced += ["-e", "inject=link:error=ENOSYS"]
    check_done(index(root, before=traced), root)
    refused = index(root, "--executor", "processes", before=traced)
    assert refused.returncode == 1
    assert "a semaphore cannot be made in /dev/shm: Function not implemented" in refused.stderr


def test_a_current_folder_that_was_removed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    gone = "rmdir ../gone;"
    check_done(index(root, shell=gone, cwd=tmp_path / "gone"), root)
    (tmp_path / "gone").mkdir()
    refused = index(root, "--executor", "processes", shell=gone, cwd=tmp_path / "gone")
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: no process can be started here: the current folder is not there any more; "
        "give the executor 'threads' or 'serial'\n"
    )


# Places that programs take for granted


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize(
    "shell",
    ["unset HOME;", "export HOME=/proc/none;", "export TMPDIR=/nowhere;", "export TMPDIR=/proc;"],
)
def test_neither_a_home_nor_a_folder_for_temporary_files(
    root: Path, executor: str, shell: str
) -> None:
    check_done(index(root, "--executor", executor, shell=shell), root)


def test_no_folder_for_temporary_files_anywhere(root: Path) -> None:
    here = "mount -t tmpfs -o ro tmpfs /var/tmp; mount -t tmpfs -o ro tmpfs /mnt; cd /mnt;"
    # The archive lies in /tmp, so that it cannot be closed as well.
    check_done(index(root, shell=f"{here} export TMPDIR=/mnt;", before=make_apart()), root)


# Limits


def in_group(kind: str, **values: int) -> Iterator[Path]:
    """Make a control group of version 1, the only one that a test can have everywhere."""
    folder = Path(f"/sys/fs/cgroup/{kind}/polars_alf_test_{os.getpid()}")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        for name, value in values.items():
            (folder / f"{kind}.{name}").write_text(str(value))
        yield folder
    finally:
        deadline = time.monotonic() + 10
        while folder.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # processes that end are still in it
                folder.rmdir()


@pytest.fixture
def few_threads() -> Iterator[Path]:
    """Make a control group of 30 threads, whoever uses the machine."""
    yield from in_group("pids", max=30)


@pytest.fixture
def half_a_processor() -> Iterator[Path]:
    """Make a control group with a quota of half a processor."""
    yield from in_group("cpu", cfs_period_us=100_000, cfs_quota_us=50_000)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes", "serial"])
@pytest.mark.parametrize("megabytes", [100, 400, 800, 1600])
def test_little_address_space(root: Path, executor: str, megabytes: int) -> None:
    ended = index(root, "--executor", executor, shell=f"ulimit -v {megabytes * 1024};")
    if megabytes < 700:
        assert ended.returncode == 1
        assert ended.stderr == (
            "error: this process cannot have 700 MB more of address space, which Polars and Arrow "
            "reserve; raise the limit (ulimit -v), or limit what memory is in use by a cgroup\n"
        )
    else:
        check_done(ended, root)


@pytest.mark.slow
def test_little_address_space_for_many_threads(root: Path) -> None:
    ended = index(root, "--threads", "512", shell=f"ulimit -v {1200 * 1024};")
    check_done(ended, root)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize("n_files", [8, 16, 27, 28, 30, 40])
def test_few_open_files(root: Path, executor: str, n_files: int) -> None:
    ended = index(root, "--executor", executor, shell=f"ulimit -n {n_files};")
    if ended.returncode:
        assert n_files < 40
        # Python says the first line itself where it cannot so much as load a module.
        assert "raise the limit" in ended.stderr or "Too many open files" in ended.stderr
        assert "Traceback" not in ended.stderr or n_files <= 8
        assert "make room" not in ended.stderr
    else:
        check_done(ended, root)


@pytest.mark.slow
def test_few_threads(root: Path, few_threads: Path) -> None:
    join = f"echo $$ > {few_threads}/cgroup.procs;"
    for more in ([], ["--executor", "threads"], ["--threads", "100"]):
        check_done(index(root, *more, shell=join), root)
    refused = index(root, "--executor", "processes", shell=join)
    assert refused.returncode == 1
    assert "with 1 more there are to be 48 threads, and only " in refused.stderr
    (few_threads / "pids.max").write_text("10")
    refused = index(root, shell=join)
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: this process can start only 9 more threads, and Polars and Arrow need 24; "
        "raise the limit (ulimit -u, or pids.max of the cgroup)\n"
    )


COUNT = """
from pathlib import Path
import polars
from polars_alf.alf.process_limits import count_processors
print(count_processors(), polars.thread_pool_size(), Path("/proc/self/cgroup").read_text())
"""


def count(*before: str) -> list[str]:
    """Return how many processors this package and Polars see in a new process, and its groups."""
    command = [*before, sys.executable, "-c", COUNT]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_workers_follow_the_quota_of_a_control_group(half_a_processor: Path) -> None:
    join = f"echo $$ > {half_a_processor}/cgroup.procs; {IN_A_SHELL}"
    for _ in range(10):
        ours, of_polars, *groups = count("sh", "-c", join, "sh")
        if any(group.endswith(half_a_processor.name) for group in groups):
            assert (ours, of_polars) == ("1", "1")
            return
    pytest.skip("what manages the groups of this machine moves processes out of this one")


@pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset")
def test_workers_follow_the_processors_that_are_given() -> None:
    one = str(min(os.sched_getaffinity(0)))
    assert count("taskset", "-c", one)[:2] == ["1", "1"]
