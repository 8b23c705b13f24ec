"""Run the same function over many tasks: in turn, in threads, in processes, or on a cluster."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor as Pool
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args

from polars_alf.errors import OptionError, ScanError

# joblib and loky take their time to load, and a small archive needs nothing of them.
if TYPE_CHECKING:
    from polars_alf.parallel.cluster import Cluster


Executor = Literal["serial", "threads", "processes"]

EXECUTORS: tuple[Executor, ...] = get_args(Executor)

Place: TypeAlias = "Executor | Cluster"
"""Where tasks run: on this machine, or on a cluster that a client is connected to."""

_WATCH_SECONDS = 1

_ONE_THREAD = ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that limit threads in a worker: there is a worker for each processor already."""

Task = TypeVar("Task")

Result = TypeVar("Result")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of a run.

    Parameters
    ----------
    place
        Where they run. Of ``processes`` this one is the first.
    n_jobs
        How many they are; 1 for ``serial``.
    """

    place: Place
    n_jobs: int

    @property
    def is_local(self) -> bool:
        """Whether they share this machine's memory."""
        return isinstance(self.place, str)


def check_jobs(n_jobs: int | None) -> None:
    """Raise OptionError for a number of workers that is zero, or below -1."""
    if n_jobs is not None and n_jobs != -1 and n_jobs < 1:
        raise OptionError(f"n_jobs is {n_jobs}; give a number of workers from 1 on, or None")


def check_executor(executor: str | None) -> Executor | None:
    """Return the executor of a name; OptionError where there is none of it."""
    if executor is None or executor in EXECUTORS:
        return executor
    raise OptionError(f"there is no executor {executor!r}; give one of {', '.join(EXECUTORS)}")


def check_place(executor: str | None) -> None:
    """Raise OptionError for what is neither an executor nor the address of a cluster."""
    if executor is not None and "://" in executor:
        from polars_alf.parallel import cluster

        cluster.parse_address(executor)
    else:
        check_executor(executor)


def count_workers(n_jobs: int | None, place: Place | None = None) -> int:
    """Return a number of workers: None and -1 are one for each processor or cluster thread."""
    check_jobs(n_jobs)
    if n_jobs is not None and n_jobs != -1:
        return n_jobs
    if place is not None and not isinstance(place, str):
        return place.n_threads
    import loky

    return int(loky.cpu_count())


def choose_workers(
    place: Place | None, n_jobs: int | None, n_tasks: int, *, few: int = 1
) -> Workers:
    """Return the workers for some tasks.

    Parameters
    ----------
    place
        Where they run; None chooses what is fastest: this process alone for few tasks.
    n_jobs
        As for `count_workers`.
    n_tasks
        How many tasks there are.
    few
        Up to how many tasks are too few for processes to be started.
    """
    if place is not None and not isinstance(place, str):
        return Workers(place, count_workers(n_jobs, place))
    if place == "serial" or n_jobs == 1 or (place is None and n_tasks <= few):
        return Workers("serial", 1)
    n_jobs = min(count_workers(n_jobs), max(n_tasks, 1))
    return Workers(place or ("processes" if n_jobs > 1 else "serial"), n_jobs)


def open_workers(executor: str | None) -> AbstractContextManager[Place | None]:
    """Return a context that gives the place of workers; None where it is still to be chosen.

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
        from polars_alf.parallel import cluster

        return cluster.connect(cluster.parse_address(executor))
    return nullcontext(check_executor(executor))


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: Workers,
    *,
    ordered: bool = False,
) -> Iterator[Result]:
    """Run tasks and yield their results.

    Parameters
    ----------
    function
        A function that a worker can import.
    tasks
        Its arguments; for a cluster, each a `cluster.SharedTask`.
    workers
        Who runs them. See `cluster.run_tasks` for a cluster.
    ordered
        Whether results come in the order of the tasks; else in the order in which they are done.

    Raises
    ------
    ScanError
        A worker was killed, or the cluster failed. What `function` raises comes through as it is.
    """
    executor, n_jobs = workers.place, workers.n_jobs
    if not isinstance(executor, str):
        from polars_alf.parallel import cluster

        yield from cluster.run_tasks(executor, function, tasks, n_jobs=n_jobs, ordered=ordered)
        return
    n_jobs = min(n_jobs, len(tasks))
    if executor == "serial" or n_jobs <= 1:
        yield from map(function, tasks)
    elif executor == "threads":
        import joblib

        parallel = joblib.Parallel(
            n_jobs=n_jobs,
            backend="threading",
            return_as="generator" if ordered else "generator_unordered",
            batch_size=1,
        )
        yield from parallel(joblib.delayed(function)(task) for task in tasks)
    else:
        with open_processes(n_jobs - 1, function.__module__) as pool:
            results = _run_here_and_there(function, tasks, pool, n_jobs - 1)
            yield from _in_order(results) if ordered else (result for _, result in results)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items while a thread has the following one made; None ends them."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := wait_for(following)) is not None:
            following = pool.submit(next, items, None)
            yield item


@contextmanager
def open_processes(n_processes: int, module: str) -> Iterator[Pool]:
    """Yield a pool of processes, which start as they are needed; at the end they are killed.

    Parameters
    ----------
    n_processes
        How many at most.
    module
        What they load first, with all that it needs.

    Raises
    ------
    ScanError
        One of them was killed.
    """
    # joblib has a copy of this, which loads all of joblib into each process before it begins.
    from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

    pool = ProcessPoolExecutor(
        n_processes,
        timeout=20,
        initializer=_begin_worker,
        initargs=(os.getpid(), module),
        # loky passes no -X utf8 on.
        env={name: os.environ.get(name, "1") for name in _ONE_THREAD} | {"PYTHONUTF8": "1"},
    )
    try:
        yield pool
    except TerminatedWorkerError as error:
        raise ScanError(
            "a worker process was killed, perhaps for want of memory; the tables are as they "
            "were; run again with fewer jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _begin_worker(caller: int, module: str) -> None:
    _end_with(caller)
    # What is loaded stays: to look for garbage in it takes a sixth of the time.
    gc.disable()
    importlib.import_module(module)
    gc.freeze()
    gc.enable()


def _end_with(caller: int) -> None:
    """Have this process end when the one that started it is killed, whatever it is at."""

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    if sys.platform != "win32":  # where it stays the child of what is gone
        threading.Thread(target=watch, daemon=True).start()


def _run_here_and_there(
    function: Callable[[Task], Result], tasks: Sequence[Task], pool: Pool, n_processes: int
) -> Iterator[tuple[int, Result]]:
    """Run tasks in this thread and in a pool, and yield each result with its task's position."""
    left = deque(enumerate(tasks))
    lock = threading.Lock()
    n_given = 0
    done: queue.SimpleQueue[tuple[int, Future[Result]]] = queue.SimpleQueue()

    def take() -> tuple[int, Task] | None:
        with lock:
            return left.popleft() if left else None

    def take_for_pool() -> tuple[int, Task] | None:
        nonlocal n_given
        with lock:
            # One ahead, so that no process waits for this one; but none that waits for a process
            # at the end, when this one has nothing to do.
            n_each = 2 if len(left) > 2 * n_processes + 1 else 1
            if not left or n_given >= n_each * n_processes:
                return None
            n_given += 1
            return left.popleft()

    def feed() -> None:
        while (taken := take_for_pool()) is not None:
            position, task = taken
            try:
                future = pool.submit(function, task)
            except Exception as error:  # the pool's own thread calls this; nobody would learn of it
                future = Future()
                future.set_exception(error)
                finish(position, future)
                return
            future.add_done_callback(partial(finish, position))

    def finish(position: int, future: Future[Result]) -> None:
        nonlocal n_given
        with lock:
            n_given -= 1
        done.put((position, future))
        if not future.cancelled() and future.exception() is None:
            feed()

    feed()
    n_left = len(tasks)
    while n_left:
        if (taken := take()) is not None:
            position, task = taken
            yield position, function(task)
            n_left -= 1
        while n_left and (taken is None or not done.empty()):
            position, future = take_from(done)
            yield position, future.result()
            n_left -= 1


def _in_order(results: Iterator[tuple[int, Result]]) -> Iterator[Result]:
    early: dict[int, Result] = {}
    following = 0
    for position, result in results:
        early[position] = result
        while following in early:
            yield early.pop(following)
            following += 1


_MOMENT = 0.1


def wait_for(future: Future[Result]) -> Result:
    """Return the result of a future, or raise its error."""
    while not wait([future], _MOMENT).done:
        pass
    return future.result()


def take_from(items: queue.SimpleQueue[Result]) -> Result:
    """Return the next item of a queue."""
    while True:
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=_MOMENT)
