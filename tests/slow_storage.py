"""Slow and hanging storage, by the library that slow_storage.c makes. Linux only."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_suffix(".c")


def find_obstacle() -> str | None:
    """Return why the library cannot be made here, None if it can."""
    if sys.platform != "linux":
        return "LD_PRELOAD is known to work on Linux only"
    if not shutil.which("cc"):
        return "there is no C compiler: install one, such as gcc, as cc"
    return None


def build_library(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "slow_storage.so"
    command = ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE]
    command += ["-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def slow_down(
    library: Path,
    prefix: Path,
    milliseconds: float,
    readdir: Literal["call", "buffer"] = "call",
) -> dict[str, str]:
    """Return the environment in which each open, readdir and stat below a path takes longer.

    C libraries call readdir once an entry, and ask the system for hundreds of entries at a time:
    ``buffer`` slows only what would be such a question.
    """
    return {
        "LD_PRELOAD": _preload(library),
        "SLOW_PREFIX": str(prefix),
        "SLOW_US": str(round(milliseconds * 1000)),
        "SLOW_READDIR": readdir,
    }


def _preload(library: Path) -> str:
    """Return what to preload: a sanitizer's library, if there is one, must stay the first."""
    return f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()


@contextlib.contextmanager
def serve_at_a_time(n_calls: int) -> Iterator[dict[str, str]]:
    """Yield the environment, beside that of `slow_down`, which has so many calls served."""
    name = f"polars_alf_test_{uuid.uuid4().hex}"
    try:
        yield {"SLOW_AT_A_TIME": str(n_calls), "SLOW_GATE": f"/{name}"}
    finally:
        Path(f"/dev/shm/sem.{name}").unlink(missing_ok=True)


class Load:
    """What all processes together ask of the storage; latency grows with it.

    Parameters
    ----------
    path
        File for the figures.
    at_a_time
        Calls that are served at a time; with more under way, each takes longer in proportion. With
        0 none does, and calls are only counted.
    """

    def __init__(self, path: Path, at_a_time: int = 0) -> None:
        path.write_bytes(bytes(32))
        with path.open("r+b") as file:
            self._figures = memoryview(mmap.mmap(file.fileno(), 32)).cast("q")
        self._figures[3] = at_a_time
        self.environment = {"SLOW_LOAD": str(path)}

    @property
    def n_calls(self) -> int:
        """The calls that were made."""
        return self._figures[1]

    @property
    def n_under_way(self) -> int:
        """The calls that are under way."""
        return self._figures[0]

    def set_others(self, n_calls: int) -> None:
        """Have so many calls of others under way, which are not counted."""
        self._figures[2] = n_calls


def hang(
    library: Path, path: Path, call: Literal["open", "readdir", "stat"] | None = None
) -> dict[str, str]:
    """Return the environment in which a directory hangs for an hour, in all calls or in one."""
    variables = {"LD_PRELOAD": _preload(library), "SLOW_HANG": str(path)}
    return variables | ({"SLOW_HANG_IN": call} if call else {})
