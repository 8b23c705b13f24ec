"""Run the same function over many tasks: in turn, in threads, in processes, or on a cluster."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import queue
import re
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, wait
from concurrent.futures import Executor as Pool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

from polars_alf.alf.process_limits import (
    LEAST_THREADS,
    count_processors,
    start_threads,
    try_threads,
)
from polars_alf.errors import LimitError, OptionError, ScanError
from polars_alf.native import IMPLEMENTATION
from polars_alf.parallel.threads import open_threads

# joblib and loky take their time to load, and a small archive needs nothing of them.
if TYPE_CHECKING:
    from polars_alf.parallel.cluster import Cluster

Executor = Literal["serial", "threads", "processes"]

EXECUTORS: tuple[Executor, ...] = get_args(Executor)

Backend: TypeAlias = "Executor | Cluster"
"""Where tasks run: on this machine, or on a cluster that a client is connected to."""

Task = TypeVar("Task")

Result = TypeVar("Result")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of a run: `n_jobs` of them, 1 for ``serial``.

    The calling thread or process is the first of them.
    """

    backend: Backend
    n_jobs: int

    @property
    def is_local(self) -> bool:
        """Whether they share this machine's memory."""
        return isinstance(self.backend, str)


def check_jobs(n_jobs: int | None) -> None:
    """Raise OptionError for a number of workers that is zero, or below -1."""
    if n_jobs is not None and n_jobs != -1 and n_jobs < 1:
        raise OptionError(f"jobs is {n_jobs}; give a number of workers from 1 on, or None")


def check_executor(executor: str | None) -> Executor | None:
    """Return the executor of a name; OptionError for any other text."""
    if executor is None or executor in EXECUTORS:
        return executor
    cure = f"give one of {', '.join(EXECUTORS)}, or of a cluster its scheduler as dask://HOST:PORT"
    if isinstance(executor, str) and re.fullmatch(r"[^/\s]+:\d+", executor):
        cure = f"if that is the scheduler of a cluster, give dask://{executor}"
    raise OptionError(f"there is no executor {executor!r}; {cure}")


def check_backend(executor: str | None) -> None:
    """Raise OptionError for a text that is neither an executor nor the address of a cluster."""
    if executor is not None and "://" in executor:
        from polars_alf.parallel import cluster

        cluster.parse_address(executor)
    else:
        check_executor(executor)


def open_workers(executor: str | None) -> AbstractContextManager[Backend | None]:
    """Return a context that gives the backend of an executor, None where it is still to be chosen.

    For the address of a cluster, the context connects to it: see `cluster.connect`.
    """
    if executor is not None and "://" in executor:
        from polars_alf.parallel import cluster

        return cluster.connect(executor)
    return nullcontext(check_executor(executor))


def count_workers(n_jobs: int | None, backend: Backend | None = None) -> int:
    """Return a number of workers: None and -1 are one for each processor or cluster thread."""
    check_jobs(n_jobs)
    if n_jobs is not None and n_jobs != -1:
        return n_jobs
    if backend is not None and not isinstance(backend, str):
        return backend.n_threads
    return count_processors()


def choose_workers(
    backend: Backend | None, n_jobs: int | None, n_tasks: int, *, few: int = 1
) -> Workers:
    """Return the workers for some tasks; a backend of None becomes the fastest one.

    Without the native functions that is processes, as Python runs in one thread at a time, and up
    to `few` tasks are too few to start some. Where none can be started, it is threads. `n_jobs` is
    as for `count_workers`.
    """
    if backend is not None and not isinstance(backend, str):
        return Workers(backend, count_workers(n_jobs, backend))
    fastest: Executor = "threads" if IMPLEMENTATION == "native" else "processes"
    is_few = backend is None and fastest == "processes" and n_tasks <= few
    if backend == "serial" or n_jobs == 1 or is_few:
        return Workers("serial", 1)
    n_jobs = min(count_workers(n_jobs), max(n_tasks, 1))
    if fastest == "processes" and backend is None and n_jobs > 1 and find_obstacle(n_jobs - 1):
        fastest = "threads"
    return Workers(backend or (fastest if n_jobs > 1 else "serial"), n_jobs)


def find_obstacle(n_processes: int = 1) -> str | None:
    """Return why this process can start no others to share tasks with, None where it can."""
    import multiprocessing

    if multiprocessing.current_process().daemon:
        return "this is a daemonic process, as of multiprocessing.Pool or Celery"
    try:
        Path.cwd()  # which each process is given
    except OSError:
        return "the current folder is not there any more"
    try:
        # As the queues of the processes will need.
        semaphore = importlib.import_module("_multiprocessing").SemLock
        semaphore(0, 1, 1, f"/polars_alf-{uuid.uuid4().hex[:16]}", True)
    except (ImportError, AttributeError):
        return "this Python has no semaphores"
    except OSError as error:
        return f"a semaphore cannot be made in /dev/shm: {error.strerror}"
    n_wanted = LEAST_THREADS * (n_processes + 1)
    n_threads = try_threads(n_wanted)
    if n_threads < n_wanted:  # Polars would wait for ever in one of them
        return (
            f"with {n_processes} more there are to be {n_wanted} threads, and only {n_threads} can "
            "be started (see ulimit -u, or pids.max of the cgroup)"
        )
    return None


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: Workers,
    *,
    ordered: bool = False,
    stop: threading.Event | None = None,
    is_limited: bool = False,
) -> Iterator[Result]:
    """Run tasks and yield their results, in the order of the tasks or as they are done.

    A worker must be able to import the function; for a cluster, see `cluster_tasks.run_tasks`, too.
    An error of the function comes through as it is; a killed worker is a ScanError. When the
    iterator ends, tasks that run in threads are told so by `stop`: see `threads.open_threads`.
    `is_limited` tells that more tasks at a time than `n_jobs` would do harm.
    """
    backend, n_jobs = workers.backend, workers.n_jobs
    if not isinstance(backend, str):
        from polars_alf.parallel import cluster_tasks

        yield from cluster_tasks.run_tasks(
            backend, function, tasks, n_jobs=n_jobs, ordered=ordered, is_limited=is_limited
        )
        return
    n_jobs = min(n_jobs, len(tasks))
    if backend == "serial" or n_jobs <= 1:
        yield from map(function, tasks)
    else:
        pools = {
            "threads": lambda: open_threads(n_jobs - 1, stop or threading.Event()),
            "processes": lambda: open_processes(n_jobs - 1, function.__module__),
        }
        with pools[backend]() as pool:
            results = _share_tasks(function, tasks, pool, n_jobs - 1)
            yield from _in_order(results) if ordered else (result for _, result in results)


def _share_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], pool: Pool, n_others: int
) -> Iterator[tuple[int, Result]]:
    """Run tasks in this thread and in a pool, and yield each result with its task's position."""
    # joblib has no share for who calls it. With a process more in its stead, an index of 136,000
    # files by two workers takes a fifth to a third longer: this one works while the others load.
    waiting = deque(enumerate(tasks))
    n_submitted = 0
    lock = threading.RLock()
    done: queue.SimpleQueue[tuple[int, Future[Result]]] = queue.SimpleQueue()

    def submit_tasks() -> None:
        nonlocal n_others, n_submitted
        with lock:
            while waiting and n_others:
                # One ahead, so that no worker waits for this one; but none that waits for a worker
                # at the end, when this one has nothing to do.
                n_each = 2 if len(waiting) > 2 * n_others + 1 else 1
                if n_submitted >= n_each * n_others:
                    return
                n_submitted += 1
                position, task = waiting.popleft()
                try:
                    future = pool.submit(function, task)
                except LimitError:  # then this thread does all
                    n_submitted -= 1
                    n_others = 0
                    waiting.appendleft((position, task))
                    return
                except Exception as error:  # in the pool's own thread, nobody would learn of it
                    future = Future()
                    future.set_exception(error)
                future.add_done_callback(partial(finish_task, position))

    def finish_task(position: int, future: Future[Result]) -> None:
        nonlocal n_submitted
        with lock:
            n_submitted -= 1
            done.put((position, future))
            if not future.cancelled() and future.exception() is None:
                submit_tasks()

    submit_tasks()
    for _ in tasks:
        with lock:
            own = waiting.popleft() if waiting and done.empty() else None
        if own is None:
            position, future = _take_from(done)
            yield position, future.result()
        else:
            position, task = own
            yield position, function(task)


def _in_order(results: Iterator[tuple[int, Result]]) -> Iterator[Result]:
    early: dict[int, Result] = {}
    following = 0
    for position, result in results:
        early[position] = result
        while following in early:
            yield early.pop(following)
            following += 1


@contextmanager
def open_processes(n_processes: int, module: str) -> Iterator[Pool]:
    """Yield a pool of processes, which start as they are needed; at the end they are killed.

    Each loads `module` first, with all that it needs. ScanError where one of them was killed, or
    none can be started.
    """
    if obstacle := find_obstacle(n_processes):
        raise ScanError(
            f"no process can be started here: {obstacle}; give the executor 'threads' or 'serial'"
        )
    # joblib's copy of loky, and each of joblib's tasks, would load all of joblib in the process
    # that unpickles it: 0.1 s each.
    from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

    class Processes(ProcessPoolExecutor):  # type: ignore[misc]
        def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
            try:
                future: Future[Any] = super().submit(*arguments, **named)
            except BrokenExecutor:
                raise
            except Exception as error:  # of the system, or of loky that did not expect it
                raise ScanError(
                    f"no process can be started here: {error}; raise the limits of open files and "
                    "processes (ulimit -n, ulimit -u), or give the executor 'threads' or 'serial'"
                ) from error
            return future

    # There is a worker for each processor already.
    one_thread = ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS")
    pool = Processes(
        n_processes,
        timeout=20,
        initializer=_begin_worker,
        initargs=(os.getpid(), module),
        # loky passes no -X utf8 on.
        env={name: os.environ.get(name, "1") for name in one_thread} | {"PYTHONUTF8": "1"},
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
    """Load a module, and end this process when the one that started it is killed."""

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(1)
        os._exit(1)

    if sys.platform != "win32":  # where a process keeps the number of a parent that is gone
        start_threads([threading.Thread(target=watch, daemon=True)])
    # What is loaded stays: to look for garbage in it takes a sixth of the time.
    gc.disable()
    importlib.import_module(module)
    gc.freeze()
    gc.enable()


def map_ahead(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    n_threads: int,
    *,
    n_ahead: int | None = None,
) -> Iterator[Result]:
    """Yield the result of each task in turn, while threads make some of the following ones.

    The calling thread takes the tasks, one at a time, as the results are used. `n_ahead` is how
    many it takes before it needs a result, by default as many as there are threads; with more, no
    thread waits while it uses one. Where one thread is wanted, or none can be started, it does all.
    """
    if n_threads == 1:
        yield from map(function, tasks)
        return
    with open_threads(n_threads, threading.Event()) as pool:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            try:
                waiting.append(pool.submit(function, task))
            except LimitError:
                yield function(task)
            if len(waiting) == (n_ahead or n_threads):
                yield wait_for(waiting.popleft())
        while waiting:
            yield wait_for(waiting.popleft())


# Once Polars has run, its handler of SIGINT lets the system resume a wait, so that Python would
# learn of an interrupt only when the wait ends: hence many short waits.
_WAIT_SECONDS = 0.1


def wait_for(future: Future[Result]) -> Result:
    """Return the result of a future, or raise its error; an interrupt ends the wait."""
    while not wait([future], _WAIT_SECONDS).done:
        pass
    return future.result()


def _take_from(items: queue.SimpleQueue[Item]) -> Item:
    """Return the next item of a queue; an interrupt ends the wait."""
    while True:
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=_WAIT_SECONDS)
