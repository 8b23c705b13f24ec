"""Run the same function over many tasks: in turn, in threads, or in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar, get_args

import joblib

from polars_alf.errors import OptionError, ScanError

Executor = Literal["serial", "threads", "processes"]
EXECUTORS: tuple[Executor, ...] = get_args(Executor)

_BACKENDS = {"serial": "sequential", "threads": "threading", "processes": "loky"}

Task = TypeVar("Task")
Result = TypeVar("Result")


def count_workers(n_jobs: int | None) -> int:
    """Return how many workers to run.

    Parameters
    ----------
    n_jobs
        A number of workers; None or -1 takes one for each processor that this process may use.

    Raises
    ------
    OptionError
        The number is zero, or below -1.
    """
    if n_jobs is None or n_jobs == -1:
        return int(joblib.cpu_count())
    if n_jobs < 1:
        raise OptionError(f"n_jobs is {n_jobs}; give a number of workers from 1 on, or None")
    return n_jobs


def check_executor(executor: str | None) -> Executor | None:
    """Return the executor, if there is one of that name.

    Raises
    ------
    OptionError
        There is none.
    """
    if executor is None or executor in EXECUTORS:
        return executor
    raise OptionError(f"there is no executor {executor!r}; give one of {', '.join(EXECUTORS)}")


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    executor: Executor,
    n_jobs: int,
    ordered: bool = False,
) -> Iterator[Result]:
    """Run tasks and yield their results.

    Parameters
    ----------
    function
        A function that a worker can import.
    tasks
        Its arguments.
    executor
        Where the workers run.
    n_jobs
        How many they are; ignored by ``serial``.
    ordered
        Whether results come in the order of the tasks; else in the order in which they are done.

    Raises
    ------
    ScanError
        A worker was killed. What `function` raises comes through as it is.
    """
    parallel = joblib.Parallel(
        n_jobs=1 if executor == "serial" else min(n_jobs, max(len(tasks), 1)),
        backend=_BACKENDS[executor],
        return_as="generator" if ordered or executor == "serial" else "generator_unordered",
        batch_size=1,
        # Should this process be killed, its workers must not outlive it for long.
        **({"idle_worker_timeout": 20} if executor == "processes" else {}),
    )
    try:
        yield from parallel(joblib.delayed(function)(task) for task in tasks)
    except joblib.externals.loky.process_executor.TerminatedWorkerError as error:
        raise ScanError(
            "a worker process was killed, perhaps for want of memory; the tables are as they "
            "were; run again with fewer jobs"
        ) from error
