"""The event loop of this process for requests to buckets, in a thread of its own.

Many requests are under way at once without a thread for each, an interrupt cancels them, and the
caller may have a loop itself, as a notebook has.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from functools import cache
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_WAIT_SECONDS = 0.1


@cache
def _start_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # A daemon: a request that hangs must not keep the process from ending.
    threading.Thread(target=loop.run_forever, name="polars_alf-requests", daemon=True).start()
    return loop


def run_requests(
    requests: Coroutine[Any, Any, _Result], check: Callable[[], object] = lambda: None
) -> _Result:
    """Run a coroutine to its end, and return its result.

    `check` is called ten times a second; what it raises, as an interrupt does, cancels the requests
    that are under way.
    """
    future = asyncio.run_coroutine_threadsafe(requests, _start_loop())
    try:
        while not wait([future], _WAIT_SECONDS).done:
            check()
    finally:
        future.cancel()
    return future.result()
