"""Run tasks on a Dask cluster whose workers share this machine's file system.

The tasks go through joblib, by a backend of our own. joblib's one for Dask waits for ever for a
task that keeps killing its workers, hands a task that was lost with its scheduler on as if that
were a result, works in this process where the cluster has one thread, and opens a client in every
worker, which makes each task several times as dear.
"""

from __future__ import annotations

import logging
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import joblib
from joblib.parallel import ParallelBackendBase

from polars_alf._version import __version__
from polars_alf.alf.encoding import decodes_utf8
from polars_alf.errors import MissingExtraError, OptionError, ScanError

CONNECT_SECONDS = 15
"""How long a scheduler may take to answer."""

WORKERS_SECONDS = 120
"""How long a run goes on without any worker: one that was killed is started again meanwhile."""

LEAST_QUEUED = 1024
"""Tasks that the scheduler is given at a time, for workers that join later."""

_CHECK_SECONDS = 2

_PROTOCOLS = {"dask": "tcp", "tcp": "tcp", "tls": "tls"}

_KEPT = (
    "the tables are as they were, and what was finished is kept: the same command goes on from "
    "there"
)

_logger = logging.getLogger(__name__)


class SharedTask(Protocol):
    """A task for another machine; as a string, it names what it is about."""

    def find_unseen(self) -> str | None:
        """Return a path that the task needs and this machine lacks."""


Result = TypeVar("Result")


def parse_address(address: str) -> str:
    """Return the address of a scheduler as Dask has it.

    Parameters
    ----------
    address
        ``dask://HOST:PORT``, or as a scheduler prints it: ``tcp://HOST:PORT``, ``tls://HOST:PORT``.

    Raises
    ------
    OptionError
        It is none.
    """
    parts = None
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        port = None
    if not (
        parts
        and parts.scheme in _PROTOCOLS
        and parts.hostname
        and port
        and f"{parts.scheme}://{parts.netloc}" == address
        and parts.username is None
    ):
        raise OptionError(
            f"{address!r} is no address of a cluster; give that of its scheduler, as "
            "dask://HOST:PORT"
        )
    return f"{_PROTOCOLS[parts.scheme]}://{parts.netloc}"


@dataclass(slots=True)
class Cluster:
    """A cluster that a client is connected to.

    Parameters
    ----------
    address
        Of the scheduler.
    client
        A `distributed.Client`.
    n_threads
        Of all workers together, when the client was connected.
    lost
        Why the cluster was given up, '' while it was not.
    """

    address: str
    client: Any
    n_threads: int
    lost: str = ""


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Connect to a cluster, and wait for its first worker.

    What still runs there when the context ends is cancelled.

    Parameters
    ----------
    address
        As `parse_address` gives it.

    Raises
    ------
    MissingExtraError
        Dask is not installed.
    ScanError
        There is no scheduler at the address, or it has no workers.
    """
    distributed = _import_distributed()
    with _silenced_logs():
        try:
            client = _open_client(distributed, address)
        except (OSError, ValueError, RuntimeError) as error:
            raise ScanError(
                f"no Dask scheduler answers at {address}: {str(error) or 'no answer'}; see "
                "that it runs there, and that this machine reaches it"
            ) from error
        with client:
            try:
                n_threads = _count_threads(client, address)
            except distributed.comm.CommClosedError as error:
                raise ScanError(f"the scheduler {address} went away") from error
            yield Cluster(address, client, n_threads)


@contextmanager
def _silenced_logs() -> Iterator[None]:
    """Keep Dask's client from logging what becomes an error of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _open_client(distributed: Any, address: str) -> Any:
    opened: Future[Any] = Future()

    def open_it() -> None:
        try:
            client = distributed.Client(
                address, timeout=CONNECT_SECONDS, set_as_default=False, name="polars-alf"
            )
            opened.set_result(client)
        except Exception as error:
            opened.set_exception(error)

    # In a thread, as Dask's own timeout does not hold where something else is at the address.
    threading.Thread(target=open_it, daemon=True).start()
    return opened.result(CONNECT_SECONDS + 5)


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError(
            f'a cluster needs {error.name}: pip install "polars-alf[dask]"', name=error.name
        ) from error
    return distributed


def _count_threads(client: Any, address: str) -> int:
    if not client.nthreads():
        _logger.warning(
            "%s has no workers yet; waiting for one, %d seconds at most", address, WORKERS_SECONDS
        )
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            raise ScanError(
                f"the scheduler {address} had no workers for {WORKERS_SECONDS} seconds; start "
                f"some, with `dask worker {address}`"
            ) from None
    return sum(client.nthreads().values())


def run_tasks(
    cluster: Cluster,
    function: Callable[[Any], Result],
    tasks: Sequence[Any],
    *,
    n_jobs: int,
    ordered: bool = False,
) -> Iterator[Result]:
    """Run tasks on the workers of a cluster, as `run_tasks` does here.

    A task whose worker dies is run again, by another one.

    Parameters
    ----------
    cluster
        The cluster.
    function
        A function that a worker can import. What it returns should be small.
    tasks
        Its arguments, each a `SharedTask`.
    n_jobs
        How many tasks may run at a time. Given the threads of the cluster, workers that join later
        get tasks as well.
    ordered
        Whether results come in the order of the tasks; else in the order in which they are done.

    Raises
    ------
    ScanError
        The scheduler was lost, there were no workers any more, a worker lacks the package or what
        a task needs, or a task kept killing its workers.
    """
    most = n_jobs if n_jobs != cluster.n_threads else max(2 * n_jobs, LEAST_QUEUED)
    parallel = joblib.Parallel(
        n_jobs=n_jobs,
        backend=_Backend(cluster),
        return_as="generator" if ordered else "generator_unordered",
        batch_size=1,
        pre_dispatch=most,
    )
    with _watching(cluster):
        yield from parallel(
            joblib.delayed(_run_there)(function, task, __version__) for task in tasks
        )


class _Backend(ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's tasks on a cluster, and calls back whatever becomes of them."""

    supports_retrieve_callback = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._names: dict[Any, str] = {}

    def effective_n_jobs(self, n_jobs: int) -> int:
        # joblib would run the tasks in this process if there were one job.
        return max(n_jobs, 2)

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
        ((_, (function, task, _), _),) = func.items
        key = f"{function.__name__}-{uuid4().hex}"
        future: Any
        try:
            future = self._cluster.client.submit(_make_runner(), pickle.dumps(func), key=key)
        except Exception as error:
            # joblib calls this where nobody would learn of an error.
            future = Future()
            future.set_exception(error)
        self._names[future] = str(task)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> object:
        name = self._names.pop(out)
        try:
            result, failure = pickle.loads(out.result())
            if failure is not None:
                raise failure
        except Exception as error:
            explained = _explain(error, name, self._cluster)
            if explained is None:
                raise
            raise explained from error
        return result


def _make_runner() -> Callable[[bytes], bytes]:
    """Return a function that a worker can run without this package.

    A worker ends itself where a task refers to what it cannot import, and the scheduler refuses
    it. A function inside a function is sent by value. It returns a pickled pair, a result and an
    error: Dask's client waits for ever for an error that it cannot put together again.
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
                pickled = pickle.dumps((None, error))
                pickle.loads(pickled)
            except Exception:
                return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
            return pickled

    return run_pickled


def _explain(error: Exception, name: str, cluster: Cluster) -> ScanError | None:
    """Return what an error of Dask's means, None where it is one of the task itself."""
    distributed = _import_distributed()
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
    is_closed = cluster.lost or cluster.client.status in ("closing", "closed")
    if is_closed or isinstance(error, CancelledError | distributed.comm.CommClosedError):
        reason = cluster.lost or f"the scheduler {cluster.address} went away"
        return ScanError(f"{reason}; {_KEPT}")
    return None


@contextmanager
def _watching(cluster: Cluster) -> Iterator[None]:
    """Give a cluster up that has no workers any more: Dask itself would wait for ever."""
    done = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not done.wait(_CHECK_SECONDS):
            try:
                if cluster.client.nthreads():
                    seen = time.monotonic()
            except (OSError, RuntimeError):
                return  # the loss of the scheduler comes to its tasks
            if time.monotonic() - seen > WORKERS_SECONDS:
                cluster.lost = (
                    f"the scheduler {cluster.address} has had no workers for {WORKERS_SECONDS} "
                    "seconds"
                )
                cluster.client.close()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _run_there(function: Callable[[Any], Result], task: SharedTask, version: str) -> Result:
    """Run a task in a worker, if that is one that can."""
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
        raise ScanError(
            f"the worker {_name_worker()} does not see {unseen}, or may not write there; mount it "
            "there at the same path, for the same user"
        )
    return function(task)


def _name_worker() -> str:
    worker = _import_distributed().get_worker()
    return f"{worker.address} on {socket.gethostname()}"
