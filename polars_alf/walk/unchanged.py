"""The check of a quick refresh: whether directories have the fingerprints that they had."""

from __future__ import annotations

import os
import time

import polars as pl

from polars_alf import native
from polars_alf.alf.root import Root
from polars_alf.arrow import view_numbers
from polars_alf.native.effort import Effort, make_steps
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.walk.batches import Listing
from polars_alf.walk.columns import EVERY, Steps
from polars_alf.walk.concurrency import Concurrency, Meter, Stopwatch, find_concurrency
from polars_alf.walk.fingerprint import Fingerprint, fingerprint_directory
from polars_alf.walk.lister import Lister
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.prefetch import Prefetch

_SECONDS_PER_STEP = 0.02
"""Time below which a call may look at more directories: an interrupt is to be heard."""


def are_unchanged(
    root: Root, options: WalkOptions, listings: pl.DataFrame, pacer: Pacer = NO_PACER
) -> bool:
    """Whether every directory has the fingerprint that it had.

    Fingerprints are read one after the other as long as the storage answers at once, and by
    threads where it keeps the processor waiting or may hang: a directory that does not answer
    within the options' `op_timeout` counts as changed.

    Parameters
    ----------
    root, options
        The archive, and how to walk it.
    listings
        LISTINGS of an earlier walk; a null fingerprint counts as changed.
    pacer
        Gives calls to the storage their turns.
    """
    columns = ("mtime_ns", "ctime_ns", "inode")
    if any(listings[column].null_count() for column in columns):
        return False
    is_fixed = options.threads is not None
    concurrency = Concurrency(options.threads) if is_fixed else find_concurrency(str(root))
    done = 0
    if options.op_timeout is None:
        steps = make_steps()
        meter = Meter(Stopwatch(steps))
        n_directories = 1
        while concurrency.wanted == 1:
            step = listings.slice(done, n_directories)
            if step.is_empty():
                return True
            begin = time.perf_counter()
            if not _are_unchanged(root.prefix, step, steps, pacer):
                return False
            done += len(step)
            if meter.count(len(step)):
                concurrency.note(*meter.read(), 1)
            is_fast = time.perf_counter() - begin < _SECONDS_PER_STEP
            n_directories = 2 * n_directories if is_fast else max(n_directories // 2, 1)
    left = listings.slice(done)
    fingerprints = zip(*(left[column].to_list() for column in columns), strict=True)
    known = dict(zip(left["directory"].to_list(), fingerprints, strict=True))
    comparison = _Comparison(root, options, known, pacer)
    with Prefetch(
        comparison, lambda *_: [], concurrency, options.op_timeout, most_waiting=len(known)
    ) as prefetch:
        requested = [prefetch.request(directory, None) for directory in known]
        for directory in requested:
            prefetch.wait(directory)
            if directory.is_lost or comparison.found_change:
                return False
    return True


def _are_unchanged(prefix: str, listings: pl.DataFrame, steps: Steps, pacer: Pacer) -> bool:
    paths = "".join(f"{path}\0" for path in listings["directory"]).encode()
    mtimes, ctimes, inodes = (
        view_numbers(listings[name]) for name in ("mtime_ns", "ctime_ns", "inode")
    )
    n_unchanged = native.count_unchanged(
        os.fsencode(prefix), paths, mtimes, ctimes, inodes, steps, pacer.turns
    )
    return n_unchanged == len(listings)


class _Comparison(Lister):
    """A lister that reads nothing of a directory but its fingerprint."""

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        known: dict[str, Fingerprint],
        pacer: Pacer = NO_PACER,
    ) -> None:
        super().__init__(root, options, lambda _: False, pacer)
        self._fingerprints = known
        self.found_change = False

    def list_directory(
        self,
        directory: str,
        session: str | None,
        into: Listing,
        *,
        most_examined: int = EVERY,
        steps: Steps | None = None,
    ) -> list[str]:
        if not self.found_change:
            self.pacer.wait(1, steps)
            with Effort(steps or self.steps):
                now = fingerprint_directory(self.root.locate(directory))
            # Never back to False: another thread may have found one meanwhile.
            if now != self._fingerprints[directory]:
                self.found_change = True
        return []
