"""Tasks on the workers of a Dask cluster, which share this machine's file system.

They go through joblib, by a backend of our own. joblib's one for Dask, as of 1.6, takes the
cluster's threads as the number of jobs, whatever number is asked for, and runs the tasks in this
process where that is one. It waits for ever for a task that keeps killing its workers, for workers
that are all gone, and for an error that Dask's client cannot unpickle.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import joblib
from joblib.parallel import ParallelBackendBase

from polars_alf._version import __version__
from polars_alf.alf.encoding import decodes_utf8
from polars_alf.alf.process_limits import start_threads
from polars_alf.errors import ScanError
from polars_alf.parallel.cluster import Cluster, import_distributed

Result = TypeVar("Result")

_RESULT_SECONDS = 5.0
"""Time after which to see whether a client still waits for a result, which is small."""

_TASKS_AT_ONCE = 64
"""Most tasks of a graph, of some kB each."""

_BYTES_AT_ONCE = 4 << 20
"""Bytes of tasks beyond which a graph takes no more: Dask warns of one of 10 MB."""


class SharedTask(Protocol):
    """A task for another machine; as a string, it names what it is about."""

    def find_unseen(self) -> str | None:
        """Return a path that the task needs and this machine lacks."""


def run_tasks(
    cluster: Cluster,
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    *,
    n_jobs: int,
    ordered: bool = False,
    is_limited: bool = False,
) -> Iterator[Result]:
    """Run tasks on the workers of a cluster, as `executors.run_tasks` does on this machine.

    Each task is a `SharedTask`, `n_jobs` of which may run at a time; its result should be small.
    Workers that join later may run more, unless `is_limited`. One whose worker dies is run again,
    by another worker.

    Raises
    ------
    ScanError
        The scheduler was lost, there were no workers any more, a worker lacks the package or what
        a task needs, or a task kept killing its workers.
    """
    # Without a limit on jobs, the scheduler queues tasks for workers that join later.
    is_open = n_jobs == cluster.n_threads and not is_limited
    n_queued = max(2 * n_jobs, 1024) if is_open else n_jobs
    parallel = joblib.Parallel(
        n_jobs=n_jobs,
        backend=_DaskBackend(cluster, n_jobs, n_queued),
        return_as="generator" if ordered else "generator_unordered",
        batch_size=1,
        pre_dispatch=n_queued,
    )
    temporary = tempfile.gettempdir()
    with _watched_workers(cluster):
        yield from parallel(
            joblib.delayed(_run_there)(function, task, __version__, temporary) for task in tasks
        )


class _DaskBackend(ParallelBackendBase):  # type: ignore[misc]
    """The workers of a cluster for joblib, which learns of every task that ends or fails.

    Of each graph that it gets, the scheduler keeps a note for as long as it runs: a million tasks
    by themselves would take 300 MB there. So tasks wait for each other, and go as one graph, as
    long as it has half of the `n_queued` that it may have, and one for each of `n_jobs`.
    """

    supports_retrieve_callback = True

    def __init__(self, cluster: Cluster, n_jobs: int, n_queued: int) -> None:
        super().__init__()
        self._cluster = cluster
        self._names: dict[Future[Any], str] = {}
        self._waiting: list[tuple[Future[Any], str, bytes]] = []
        self._sent: dict[Future[Any], Any] = {}
        self._n_enough = max(n_queued // 2, n_jobs)
        self._n_at_once = min(max(n_queued // 16, 1), _TASKS_AT_ONCE)
        self._lock = threading.Lock()

    def effective_n_jobs(self, n_jobs: int) -> int:
        # joblib would run the tasks in this process if there were one job.
        return max(n_jobs, 2)

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Future[Any]:
        ((_, (function, task, *_), _),) = func.items
        future: Future[Any] = Future()
        self._names[future] = str(task)
        if callback is not None:
            future.add_done_callback(callback)
        with self._lock:
            key = f"{function.__name__}-{uuid4().hex}"
            self._waiting.append((future, key, pickle.dumps(func)))
        self._send()
        return future

    def _send(self) -> None:
        """Send the tasks that wait, if they are many, or the scheduler has few."""
        with self._lock:
            n_bytes = sum(len(task) for *_, task in self._waiting)
            are_few = len(self._waiting) < self._n_at_once and n_bytes < _BYTES_AT_ONCE
            if not self._waiting or (are_few and len(self._sent) >= self._n_enough):
                return
            futures, keys, tasks = zip(*self._waiting, strict=True)
            self._waiting.clear()
            failure: Exception | None = None
            try:
                sent = self._cluster.client.map(_make_runner(), tasks, key=[*keys])
                self._sent.update(zip(futures, sent, strict=True))
            except Exception as error:
                # joblib submits from the client's own thread, where nobody would learn of it.
                failure = error
        for future in futures:
            if failure is not None:
                future.set_exception(failure)
            else:
                self._sent[future].add_done_callback(partial(self._finish, future))

    def _finish(self, future: Future[Any], done: Any) -> None:
        with self._lock:
            del self._sent[future]
        future.set_result(done)
        self._send()  # the last ones, for which nothing is submitted any more

    def retrieve_result_callback(self, out: Future[Any]) -> object:
        name = self._names.pop(out)
        try:
            result, failure = pickle.loads(self._wait(out.result()))
            if failure is not None:
                raise failure
        except Exception as error:
            explained = _explain(error, name, self._cluster)
            if explained is None:
                raise
            raise explained from error
        return result

    def _wait(self, future: Any) -> bytes:
        """Return the result of a task that is done.

        Not without a limit: what a client asks for as it is closed never comes, and Dask's one
        thread for all that is done would wait for it, in each later run of this process as well.
        Nor with Dask's own: where that is over, it cancels the transfer, which others wait for.
        """
        client = self._cluster.client

        async def fetch() -> Any:
            return await client.gather(future, asynchronous=True)

        loop = client.loop.asyncio_loop
        if loop.is_closed():
            raise CancelledError
        fetched = asyncio.run_coroutine_threadsafe(fetch(), loop)
        while not wait([fetched], timeout=_RESULT_SECONDS).done:
            if client.status in ("closing", "closed"):
                fetched.cancel()
                raise CancelledError
        return bytes(fetched.result())


def _make_runner() -> Callable[[bytes], bytes]:
    """Return a function that a worker can run without this package, as it is sent by value.

    A worker would end itself over a task from a module that it lacks. The function returns a
    pickled pair, a result and an error: Dask's client waits for ever for an error that it cannot
    unpickle.
    """

    def run_pickled(task: bytes) -> bytes:
        import pickle
        import socket
        import traceback

        try:
            run = pickle.loads(task)
        except Exception as error:
            text = f"{type(error).__name__} on {socket.gethostname()}: {error}"
            return pickle.dumps((None, ImportError(text)))
        try:
            return pickle.dumps((run(), None))
        except Exception as error:
            error.add_note(traceback.format_exc(limit=-8))
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                error = RuntimeError(f"{type(error).__name__}: {error}")
            return pickle.dumps((None, error))

    return run_pickled


_KEPT = (
    "the tables are as they were, and what was finished is kept: the same command goes on from "
    "there"
)


def _explain(error: Exception, name: str, cluster: Cluster) -> ScanError | None:
    """Return an error of Dask's in words of ours, None for one of the task itself."""
    distributed = import_distributed()
    if isinstance(error, distributed.scheduler.KilledWorker):
        return ScanError(
            # It may only have waited beside the one that did it.
            f"{name} was given to each of the {error.allowed_failures + 1} workers that died, "
            f"{error.last_worker.address} last, perhaps for want of memory; give workers more of "
            f"it, and look into their logs; {_KEPT}"
        )
    if isinstance(error, ImportError):
        return ScanError(
            f"a worker of {cluster.address} cannot load its task: {error}; install polars-alf "
            f"{__version__} on all of them; {_KEPT}"
        )
    is_closed = cluster.failure or cluster.client.status in ("closing", "closed")
    if is_closed or isinstance(error, CancelledError | distributed.comm.CommClosedError):
        reason = cluster.failure or f"the scheduler {cluster.address} went away"
        return ScanError(f"{reason}; {_KEPT}")
    return None


@contextmanager
def _watched_workers(cluster: Cluster) -> Iterator[None]:
    """Give up a cluster that has no workers any more: Dask itself would wait for ever."""
    done = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not done.wait(2):
            try:
                if cluster.client.nthreads():
                    seen = time.monotonic()
            except (OSError, RuntimeError):
                return  # the tasks fail with the scheduler that was lost
            if time.monotonic() - seen > cluster.workers_seconds:
                cluster.failure = (
                    f"the scheduler {cluster.address} has had no workers for "
                    f"{cluster.workers_seconds:g} seconds"
                )
                cluster.client.close()
                return

    start_threads([threading.Thread(target=watch, daemon=True)])
    try:
        yield
    finally:
        done.set()


def _run_there(
    function: Callable[[Any], Result], task: SharedTask, version: str, temporary: str
) -> Result:
    """Run a task in a worker that has the version of the run, and sees what the task needs.

    `temporary` is the run's folder for temporary files, on the machine that the run began on.
    """
    if version != __version__:
        raise ScanError(
            f"the worker {_name_worker()} has polars-alf {__version__}, and the run is of "
            f"{version}; install the same on all machines"
        )
    if not decodes_utf8():
        raise ScanError(
            f"the worker {_name_worker()} decodes the names of files as "
            f"{sys.getfilesystemencoding()}; start it with PYTHONUTF8=1"
        )
    unseen = task.find_unseen()
    if unseen is not None:
        cure = "mount it there at the same path, for the same user"
        if Path(unseen).is_relative_to(temporary):
            cure += (
                f", or, as it lies in the folder for temporary files, {temporary}: set TMPDIR to "
                "a folder that all machines share"
            )
        raise ScanError(
            f"the worker {_name_worker()} does not see {unseen}, or may not write there; {cure}"
        )
    return function(task)


def _name_worker() -> str:
    worker = import_distributed().get_worker()
    return f"{worker.address} on {socket.gethostname()}"
