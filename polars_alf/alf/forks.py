"""Processes that were forked from one in which Polars had run, where it would wait for ever."""

from __future__ import annotations

import os
from pathlib import Path

from polars_alf.errors import ForkError

_had_threads = False
"""Whether Polars had threads when this process was forked, or last forked another."""

_is_cut_off = False
"""Whether this process was forked from one with such threads, which do not live on in it."""


def check_fork() -> None:
    """Raise ForkError where the threads of Polars stayed in the process that forked this one."""
    if _is_cut_off:
        raise ForkError(
            f"the process {os.getpid()} was forked from one in which Polars had run, whose threads "
            "it lacks, so it would wait for ever; start it by "
            "multiprocessing.get_context('spawn') or 'forkserver', or fork before the first call"
        )


def _look_for_threads() -> None:
    global _had_threads
    try:
        names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    except OSError:  # other systems do not fork by default
        return
    _had_threads = any(name[:7] == "polars-" and name[7:].strip().isdigit() for name in names)


def _cut_off() -> None:
    global _is_cut_off
    _is_cut_off = _is_cut_off or _had_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look_for_threads, after_in_child=_cut_off)
