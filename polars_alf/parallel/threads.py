"""A pool of threads that are told to stop, and that nobody has to wait for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from polars_alf.alf.process_limits import start_threads

_P = ParamSpec("_P")

_Result = TypeVar("_Result")

_GRACE_SECONDS = 1.0
"""Time for threads to stop: longer than they take, unless the storage hangs."""


class StoppedError(Exception):
    """The run that a thread works for has ended, so that its result is of no use."""


@contextmanager
def open_threads(n_threads: int, stop: threading.Event) -> Iterator[Executor]:
    """Yield a pool of threads, which start as they are needed.

    Where no more can be started those that there are do the work; LimitError where there are none.
    At the end `stop` is set, for the functions that run then to raise `StoppedError`. A thread that
    does not is left alone after a second: it is a daemon, and the process can end without it.
    """
    # The threads of `concurrent.futures` are waited for when the process ends, and joblib loads
    # NumPy for its: a fifth of a second.
    pool = _Threads(n_threads)
    try:
        yield pool
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Threads(Executor):
    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._threads: list[threading.Thread] = []
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._tasks = queue.SimpleQueue()

    def submit(
        self, function: Callable[_P, _Result], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_Result]:
        if len(self._threads) < self._n_threads:
            thread = threading.Thread(target=self._serve, name="polars_alf-worker", daemon=True)
            self._threads += start_threads([thread], least=0 if self._threads else 1)
        future: Future[_Result] = Future()
        self._tasks.put((future, lambda: function(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while cancel_futures:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is not None:
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in self._threads if wait else ():
            thread.join(max(deadline - time.monotonic(), 0))

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:  # for the thread that waits
                future.set_exception(error)
            else:
                future.set_result(result)
