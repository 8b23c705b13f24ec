"""Workers: the same results wherever they run, and a clear error when one is killed."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from polars_alf.errors import ScanError
from polars_alf.executors import EXECUTORS, Executor, count_workers, run_tasks


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> int:
    raise KeyError(number)


def name_process(number: int) -> int:
    return os.getpid()


def end_unless(caller: int) -> int:
    if os.getpid() != caller:
        os.kill(os.getpid(), signal.SIGKILL)
    return caller


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results(executor: Executor) -> None:
    tasks = range(20)
    results = run_tasks(double, tasks, executor=executor, n_jobs=2)
    assert sorted(results) == [2 * task for task in tasks]
    ordered = run_tasks(double, tasks, executor=executor, n_jobs=2, ordered=True)
    assert list(ordered) == [2 * task for task in tasks]
    assert list(run_tasks(double, [], executor=executor, n_jobs=2)) == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_errors_come_through(executor: Executor) -> None:
    with pytest.raises(KeyError):
        list(run_tasks(fail, [1, 2, 3], executor=executor, n_jobs=2))


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_killed_worker_is_an_error_with_a_cure() -> None:
    with pytest.raises(ScanError, match="fewer jobs"):
        list(run_tasks(end_unless, [os.getpid()] * 4, executor="processes", n_jobs=2))


def test_the_caller_is_the_first_of_its_workers() -> None:
    processes = set(run_tasks(name_process, range(20), executor="processes", n_jobs=2))
    assert os.getpid() in processes
    assert len(processes) == 2
    assert set(run_tasks(name_process, range(20), executor="processes", n_jobs=1)) == {os.getpid()}


def test_number_of_workers() -> None:
    assert count_workers(3) == 3
    assert count_workers(None) == count_workers(-1) >= 1
