"""Lazy frames whose rows Python makes for a thread of Polars, and what becomes of them at exit."""

from __future__ import annotations

import atexit
import gc
import inspect
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress

import polars as pl
from polars.io.plugins import register_io_source

Read = Callable[[list[str] | None, pl.Expr | None, int | None, int | None], Iterator[pl.DataFrame]]
"""Yields frames, given columns, predicate, number of rows, and rows of a batch; all may be None."""

_RUNNING_SECONDS = 10.0
"""How long the end of a program waits for a read under way, such as of a slow folder."""

_IDLE_SECONDS = 0.5
"""After so long without another frame, Polars waits for somebody to take rows, not for Python."""

_STEP_SECONDS = 0.005

_BATCHES = "_CollectBatches"
"""Name of the class of what `polars.LazyFrame.collect_batches` returns."""

_reads: dict[Generator[pl.DataFrame], int] = {}
"""Reads that have begun and not ended, and how many frames each has given."""


def make_lazy_frame(
    read: Read, schema: Mapping[str, pl.DataType], *, is_pure: bool
) -> pl.LazyFrame:
    """Return a lazy frame whose rows a function yields.

    `is_pure` says that two reads give the same rows. Where a program ends while Polars still
    reads, its end waits: a thread that comes back to Python too late ends the process by a signal.
    """

    def read_to_the_end(
        columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        frames = _pass_on(read(columns, predicate, n_rows, batch_size))
        _reads[frames] = 0
        try:
            for frame in frames:
                _reads[frames] += 1
                yield frame
        finally:
            del _reads[frames]

    return register_io_source(read_to_the_end, schema=schema, is_pure=is_pure)


def _pass_on(frames: Iterator[pl.DataFrame]) -> Generator[pl.DataFrame]:
    yield from frames


@atexit.register
def _end_reads() -> None:
    """Wait until no thread of Polars is in Python or on its way there, and end what was left."""
    if not _reads:
        return
    # Polars reads on, and its threads come back to Python, when somebody lets go of the batches
    # that nobody takes: the interpreter would do so at its very end, which is too late.
    for taken in gc.get_objects():
        if type(taken).__name__ == _BATCHES and type(taken).__module__.startswith("polars."):
            vars(taken).clear()
    start = last_change = now = time.monotonic()
    before = None
    while _reads and now - start < _RUNNING_SECONDS and now - last_change < _IDLE_SECONDS:
        pl.Series()  # Polars closes what it has dropped when Python calls it the next time
        reads = _reads.copy()
        is_running = inspect.GEN_RUNNING in {*map(inspect.getgeneratorstate, reads)}
        if is_running or reads != before:
            last_change, before = now, reads
        time.sleep(_STEP_SECONDS)
        now = time.monotonic()
    for frames in _reads.copy():
        with suppress(ValueError):  # it is running
            frames.close()
