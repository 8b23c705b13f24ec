"""One writer at a time: on storage without locks of the system, and among machines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage import mount_tmpfs
from trees import SESSION, check_state, make_tree

from polars_alf import index_archive, scan_datasets, scan_sessions
from polars_alf.errors import ArchiveBusyError, TakeoverWarning
from polars_alf.tables import files, undo, writer_lock
from polars_alf.tables.transaction import locked_state

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes as on Linux")

NEW = "cortexlab/Subjects/KS003/2020-01-01/001"

COMMAND = (sys.executable, "-m", "polars_alf", "index", "--quiet", "--progress", "none")

QUICK = {"BEAT_SECONDS": 0.2, "SILENT_SECONDS": 2.0, "WATCH_SECONDS": 1.0}

HOLD = f"""
import pathlib, sys, time
from polars_alf import index_archive
from polars_alf.index import run, write
from polars_alf.tables import writer_lock
for name, value in {QUICK}.items(): setattr(writer_lock, name, value)
module = write if hasattr(write, sys.argv[2]) else run
step = getattr(module, sys.argv[2])
def wait(*arguments, **options):
    print("held", flush=True)
    sys.stdin.readline()
    return step(*arguments, **options)
setattr(module, sys.argv[2], wait)
index_archive(sys.argv[1], executor="serial")
"""
"""An index that waits at one of its steps, under the lock, until it is told to go on."""

APART = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
"""As on another machine: with a name and with processes of its own."""


@contextlib.contextmanager
def holding(
    archive: Path, *before: str, step: str = "check_found"
) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds the lock, its death at the end."""
    command = [*before, sys.executable, "-c", HOLD, str(archive), step]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n", process.communicate()[1]
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def elsewhere() -> tuple[str, ...]:
    """Return the start of a command that runs as on the machine ``otherhost``."""
    command = (*APART, "sh", "-c", 'hostname otherhost; exec "$@"', "sh")
    if not shutil.which("unshare") or subprocess.run([*command, "true"]).returncode:
        pytest.skip("needs unshare, and to be root")
    return command


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(writer_lock, name, value)


def list_locks(archive: Path) -> list[str]:
    return sorted(path.name for path in (archive / files.STATE_DIR).glob("lock*"))


# Storage


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("error", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_storage_without_locks_of_the_system(archive: Path, tmp_path: Path, error: str) -> None:
    index_archive(archive)
    make_tree(archive, {NEW: SESSION})
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=flock,fcntl"]
    fault = ["-e", f"inject=flock:error={error}"]
    ended = subprocess.run([*trace, *fault, *COMMAND, str(archive)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "F_SETLK" not in (tmp_path / "trace").read_text(), "nor is a lock of another kind asked"
    assert scan_datasets(archive).collect().height == 15
    check_state(archive)


def test_a_disk_that_is_full_can_be_pruned(tmp_path: Path) -> None:
    with mount_tmpfs(tmp_path / "disk", "1M") as disk:
        (disk / files.STATE_DIR).mkdir()
        with contextlib.suppress(OSError), (disk / "much").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with locked_state(disk), pytest.raises(ArchiveBusyError, match="unknown name"):
            index_archive(make_tree(tmp_path / "archive", {NEW: SESSION}), disk)
        with locked_state(disk):
            pass


def test_what_earlier_versions_left_locks_nobody_out(archive: Path) -> None:
    index_archive(archive)
    (archive / files.STATE_DIR / "lock").write_text("")
    with locked_state(archive):
        pass


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)
def test_a_lock_that_another_user_may_not_read_is_kept(
    archive: Path, unprivileged: Callable[[], None]
) -> None:
    with holding(archive):
        for path in (archive, archive / files.STATE_DIR):
            path.chmod(0o777)
        (lock,) = (archive / files.STATE_DIR).glob("lock-*")
        lock.chmod(0o600)
        unprivileged()
        with pytest.raises(ArchiveBusyError, match="process of unknown name, last sign of life"):
            index_archive(archive)


# The same machine


def test_a_second_writer_is_refused_and_the_first_is_named(archive: Path) -> None:
    with holding(archive) as process:
        with pytest.raises(ArchiveBusyError) as refused:
            index_archive(archive)
        assert process.stdin is not None
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    assert re.fullmatch(
        rf"another run is writing the tables of {archive}: process {process.pid} on \S+, begun "
        r"\d+ seconds ago, last sign of life \d seconds ago; wait for its end, .*",
        str(refused.value),
    )
    assert len(list_locks(archive)) == 1
    check_state(archive)


@pytest.mark.slow
@pytest.mark.parametrize("is_reaped", [False, True], ids=["zombie", "gone"])
def test_a_writer_that_was_killed_is_named_and_followed(archive: Path, is_reaped: bool) -> None:
    with holding(archive) as process:
        process.send_signal(signal.SIGKILL)
        if is_reaped:
            process.wait()
        else:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.warns(TakeoverWarning, match=f"cut off: process {process.pid} on "):
            index_archive(archive)
    check_state(archive)
    assert len(list_locks(archive)) == 1


def test_a_process_of_the_same_number_is_not_the_writer(archive: Path) -> None:
    with holding(archive) as process:
        process.kill()
        process.wait()
        (lock,) = (archive / files.STATE_DIR).glob("lock-*")
        # As if the system had given the number to this process's parent, which is alive.
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": os.getppid()}))
        with pytest.warns(TakeoverWarning):
            index_archive(archive)


@pytest.mark.thorough
def test_a_writer_that_is_stopped_is_waited_for_on_its_machine(archive: Path, quick: None) -> None:
    with holding(archive) as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        with pytest.raises(ArchiveBusyError, match=r"last sign of life [2-9] seconds ago"):
            index_archive(archive)


# Another machine


@pytest.mark.slow
def test_a_writer_of_another_machine_is_named(
    archive: Path, elsewhere: tuple[str, ...], quick: None
) -> None:
    with holding(archive, *elsewhere) as process:
        time.sleep(3)  # longer than one that is silent is believed
        with pytest.raises(ArchiveBusyError, match=r"process \d+ on otherhost, begun \d seconds"):
            index_archive(archive)
        process.communicate("\n", timeout=60)
        assert process.returncode == 0


@pytest.mark.slow
def test_a_writer_of_another_machine_that_died_is_followed(
    archive: Path, elsewhere: tuple[str, ...], quick: None
) -> None:
    with holding(archive, *elsewhere) as process:
        process.kill()
        process.wait()
        with pytest.raises(ArchiveBusyError, match="if it was killed, run again after 2 seconds"):
            index_archive(archive)
        time.sleep(2.5)  # as the message says
        with pytest.warns(TakeoverWarning, match=r"cut off: process \d+ on otherhost"):
            index_archive(archive)
    check_state(archive)


@pytest.mark.thorough
@pytest.mark.parametrize("step", ["check_found", "check_sessions", "make_run_record"])
def test_a_writer_that_was_taken_for_dead_commits_nothing(
    archive: Path, elsewhere: tuple[str, ...], quick: None, step: str
) -> None:
    index_archive(archive)
    with holding(archive, *elsewhere, step=step) as process:
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGSTOP)  # as a laptop that is closed
        time.sleep(2.5)
        make_tree(archive, {NEW: SESSION})
        with pytest.warns(TakeoverWarning):
            index_archive(archive)
        before = {path: path.read_bytes() for path in archive.glob("*.pqt")}
        shutil.rmtree(archive / NEW)
        os.kill(int(child), signal.SIGCONT)
        _, said = process.communicate("\n", timeout=60)
        assert process.returncode != 0
    assert "ArchiveBusyError: this run gave no sign of life for a while" in said
    assert {path: path.read_bytes() for path in archive.glob("*.pqt")} == before
    assert scan_sessions(archive).collect().height == 5
    index_archive(archive)
    check_state(archive)


def test_a_restore_that_was_taken_for_dead_commits_nothing(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive)
    make_tree(archive, {NEW: SESSION})
    index_archive(archive)
    before = {path: path.read_bytes() for path in archive.glob("*.pqt")}
    keep_current = undo.keep_current

    def sleep(folder: Path) -> object:
        (archive / files.STATE_DIR / "lock-99").touch()  # as the run that took its place
        return keep_current(folder)

    monkeypatch.setattr(undo, "keep_current", sleep)
    with pytest.raises(ArchiveBusyError, match="gave no sign of life"):
        undo.restore_tables(archive)
    assert {path: path.read_bytes() for path in archive.glob("*.pqt")} == before
    assert not (archive / files.STATE_DIR / "commit.json").exists()


def test_one_reader_does_not_wait_for_a_writer_that_may_be_dead(
    archive: Path, elsewhere: tuple[str, ...]
) -> None:
    index_archive(archive)
    with holding(archive, *elsewhere) as process:
        process.kill()
        process.wait()
        begun = time.monotonic()
        assert scan_datasets(archive).collect().height == 12
        assert time.monotonic() - begun < 5


# Many

RACE = """
import os, pathlib, random, sys, time
from polars_alf.errors import ArchiveBusyError
from polars_alf.tables.transaction import locked_state
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
end = time.monotonic() + 4
inside, count = folder / "inside", 0
while time.monotonic() < end:
    try:
        with locked_state(folder):
            mark = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(mark, b"x")
            time.sleep(chance.random() / 500)
            inside.unlink()
            count += 1
            if seed % 2 and chance.random() < 0.1: os._exit(9)  # under the lock
    except ArchiveBusyError:
        time.sleep(chance.random() / 500)
print(count)
"""


@pytest.mark.thorough
def test_of_many_one_at_a_time_gets_the_lock_though_some_die(tmp_path: Path) -> None:
    def start(seed: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", "-c", RACE, str(tmp_path), str(seed)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    processes = [start(seed) for seed in range(12)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert {code for _, code in ended} <= {0, 9}, ended
    assert sum(code == 9 for _, code in ended) > 1, "some died"
    n_held = sum(int(out) for (out, _), code in ended if code == 0)
    assert n_held > 20, "others went on"
    with locked_state(tmp_path):
        pass
    assert len(list_locks(tmp_path)) == 1
