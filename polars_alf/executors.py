"""Run the same function over many tasks: in turn, in threads, in processes, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, TypeAlias, TypeVar, get_args

import joblib

from polars_alf import cluster
from polars_alf.cluster import Cluster
from polars_alf.errors import OptionError, ScanError

Executor = Literal["serial", "threads", "processes"]
EXECUTORS: tuple[Executor, ...] = get_args(Executor)
Workers: TypeAlias = Executor | Cluster

_BACKENDS = {"serial": "sequential", "threads": "threading", "processes": "loky"}

Task = TypeVar("Task")
Result = TypeVar("Result")


def count_workers(n_jobs: int | None, workers: Workers | None = None) -> int:
    """Return how many workers to run.

    Parameters
    ----------
    n_jobs
        A number of workers; None or -1 takes one for each processor that this process may use, or
        for each thread of a cluster.
    workers
        Where they run.

    Raises
    ------
    OptionError
        The number is zero, or below -1.
    """
    if n_jobs is None or n_jobs == -1:
        return workers.n_threads if isinstance(workers, Cluster) else int(joblib.cpu_count())
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


def open_workers(executor: str | None) -> AbstractContextManager[Workers | None]:
    """Return a context that gives `run_tasks` its workers; None where they are still to be chosen.

    Parameters
    ----------
    executor
        One of `EXECUTORS`, or the address of a cluster. It is checked at once; to a cluster, the
        context connects.

    Raises
    ------
    OptionError
        It is neither.
    """
    if executor is not None and "://" in executor:
        return cluster.connect(cluster.parse_address(executor))
    return nullcontext(check_executor(executor))


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    executor: Workers,
    n_jobs: int,
    ordered: bool = False,
) -> Iterator[Result]:
    """Run tasks and yield their results.

    Parameters
    ----------
    function
        A function that a worker can import.
    tasks
        Its arguments; for a cluster, each a `polars_alf.cluster.SharedTask`.
    executor
        Where the workers run.
    n_jobs
        How many they are; ignored by ``serial``. See `polars_alf.cluster.run_tasks` for a cluster.
    ordered
        Whether results come in the order of the tasks; else in the order in which they are done.

    Raises
    ------
    ScanError
        A worker was killed, or the cluster failed. What `function` raises comes through as it is.
    """
    if isinstance(executor, Cluster):
        yield from cluster.run_tasks(executor, function, tasks, n_jobs=n_jobs, ordered=ordered)
        return
    parallel = joblib.Parallel(
        n_jobs=1 if executor == "serial" else min(n_jobs, max(len(tasks), 1)),
        backend=_BACKENDS[executor],
        return_as="generator" if ordered or executor == "serial" else "generator_unordered",
        batch_size=1,
        # Should this process be killed, its workers must not outlive it for long.
        **({"idle_worker_timeout": 20} if executor == "processes" else {}),
    )
    try:
        with _one_polars_thread_each() if executor == "processes" else nullcontext():
            yield from parallel(joblib.delayed(function)(task) for task in tasks)
    except joblib.externals.loky.process_executor.TerminatedWorkerError as error:
        raise ScanError(
            "a worker process was killed, perhaps for want of memory; the tables are as they "
            "were; run again with fewer jobs"
        ) from error


@contextmanager
def _one_polars_thread_each() -> Iterator[None]:
    """Have worker processes that are started meanwhile use one thread of Polars.

    There is a worker for each processor already, and Polars learns this from the environment, when
    it is loaded.
    """
    name = "POLARS_MAX_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)
