"""Workers: the same results wherever they run, and a clear error when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from polars_alf.errors import ScanError
from polars_alf.parallel.executors import (
    EXECUTORS,
    Executor,
    Workers,
    count_workers,
    map_ahead,
    run_tasks,
)
from polars_alf.parallel.threads import StoppedError


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> int:
    raise KeyError(number)


def name_process(number: int) -> int:
    return os.getpid()


def note_process(task: tuple[str, int]) -> int:
    """Leave this process's number in a folder, and stay; the caller is killed when three have."""
    folder, caller = task
    Path(folder, str(os.getpid())).touch()
    while os.getpid() != caller or len(os.listdir(folder)) < 3:
        time.sleep(0.1)
    os.kill(caller, signal.SIGKILL)
    return caller


def end_unless(caller: int) -> int:
    if os.getpid() != caller:
        os.kill(os.getpid(), signal.SIGKILL)
    return caller


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results(executor: Executor) -> None:
    tasks = range(20)
    results = run_tasks(double, tasks, Workers(executor, 2))
    assert sorted(results) == [2 * task for task in tasks]
    ordered = run_tasks(double, tasks, Workers(executor, 2), ordered=True)
    assert list(ordered) == [2 * task for task in tasks]
    assert list(run_tasks(double, [], Workers(executor, 2))) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_errors_come_through(executor: Executor) -> None:
    with pytest.raises(KeyError):
        list(run_tasks(fail, [1, 2, 3], Workers(executor, 2)))


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_killed_worker_is_an_error_with_a_cure() -> None:
    with pytest.raises(ScanError, match="fewer jobs"):
        list(run_tasks(end_unless, [os.getpid()] * 4, Workers("processes", 2)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_workers_end_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from polars_alf.parallel.executors import Workers, run_tasks
from test_executors import note_process
tasks = [({str(tmp_path)!r}, os.getpid())] * 8
list(run_tasks(note_process, tasks, Workers("processes", 3)))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    noted = [int(path.name) for path in tmp_path.iterdir()]
    assert len(noted) == 3
    deadline = time.monotonic() + 30
    while any(_is_running(process) for process in noted) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_is_running(process) for process in noted)


def _is_running(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_caller_is_the_first_of_its_workers() -> None:
    processes = set(run_tasks(name_process, range(20), Workers("processes", 2)))
    assert os.getpid() in processes
    assert len(processes) == 2
    assert set(run_tasks(name_process, range(20), Workers("processes", 1))) == {os.getpid()}


def test_number_of_workers() -> None:
    assert count_workers(3) == 3
    assert count_workers(None) == count_workers(-1) >= 1


def test_threads_are_told_to_stop_and_not_waited_for_for_ever() -> None:
    stop = threading.Event()
    ended = threading.Event()
    seen: list[str] = []

    def work(task: str) -> str:
        if task == "own":
            while len(seen) < 2:
                time.sleep(0.01)
            raise KeyError(task)
        seen.append(task)
        if task == "hangs":
            ended.wait()
        elif stop.wait(60):
            seen.append("stopped")
            raise StoppedError
        return task

    # The calling thread takes the first task that no other has taken ahead.
    tasks = ["hangs", "counts", "own", "own", "own", "own"]
    with pytest.raises(KeyError):
        list(run_tasks(work, tasks, Workers("threads", 3), stop=stop))
    assert seen[2:] == ["stopped"]
    assert not ended.is_set()
    ended.set()


def test_map_ahead_keeps_the_order_and_takes_few_tasks_ahead() -> None:
    taken: list[int] = []
    arrived = threading.Barrier(3, timeout=30)

    def take() -> Iterator[int]:
        for task in range(30):
            taken.append(task)
            yield task

    def work(task: int) -> int:
        arrived.wait()  # passes only where three run at a time
        return -task

    found = map_ahead(work, take(), 3)
    for n_used, result in enumerate(found, start=1):
        assert result == 1 - n_used
        assert len(taken) <= n_used + 2


def test_map_ahead_passes_on_what_a_task_raises() -> None:
    def refuse(task: int) -> int:
        if task == 2:
            raise ValueError("two")
        return task

    found = map_ahead(refuse, range(5), 2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)


def test_map_ahead_without_threads_works_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    here = threading.get_ident()
    found = [*map_ahead(lambda task: (task, threading.get_ident()), range(4), 3)]
    assert found == [(task, here) for task in range(4)]
