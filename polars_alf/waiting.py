"""Wait for other threads in such a way that an interrupt ends the waiting.

Once Polars has run, SIGINT has a handler that lets the system take up a wait where it was, so that
Python would learn of the interrupt only at its end. A wait of a moment, again and again, does not
have that.
"""

from __future__ import annotations

import contextlib
import queue
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")

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
