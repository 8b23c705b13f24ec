"""Run the command line with system calls that fail, by strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")

needs_strace = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("strace"),
    reason="faults are injected by strace; on Debian: apt-get install strace",
)

OPERATIONS = {
    "open": ("openat",),
    "readdir": ("getdents64",),
    "stat": ("newfstatat", "statx", "fstat", "stat", "lstat"),
    "read": ("read", "pread64"),
    "write": ("write", "pwrite64", "writev"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2"),
    "link": ("link", "linkat"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
}
"""The system calls of each operation; which of them are made depends on the C library."""

SECONDS = 300
"""When a process that has not ended by itself never will."""


@dataclass(frozen=True)
class Call:
    """The n-th call of its name in its thread, n from 1."""

    name: str
    n: int
    line: str

    @property
    def is_injected(self) -> bool:
        return self.line.endswith("(INJECTED)")


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the calls that it made."""

    code: int
    stdout: str
    stderr: str
    calls: list[Call] = field(default_factory=list)

    @property
    def injected(self) -> list[Call]:
        return [call for call in self.calls if call.is_injected]

    def __str__(self) -> str:
        lines = [call.line[:300] for call in self.injected[:5]]
        return "\n".join([f"exit {self.code}", self.stderr[-3000:], *lines])


def run_traced(
    arguments: Sequence[str],
    logs: Path,
    calls: Iterable[str],
    fault: str | None = None,
    paths: Sequence[Path] = (),
) -> Ended:
    """Run a command and note its calls of some names.

    Parameters
    ----------
    arguments
        Of the command line.
    logs
        Folder for what strace notes; made.
    calls
        Names.
    fault
        As behind ``inject=CALLS:``, what becomes of them.
    paths
        Those that calls of any thread must be about. None takes all calls of the main thread:
        other threads and processes wake each other with writes of their own.
    """
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    names = ",".join(f"?{name}" for name in calls)
    options = ["-y", "-s", "4096", "-o", str(logs / "log"), "-e", f"trace={names}"]
    options += ["-ff"] if paths else []
    options += ["-e", f"inject={names}:{fault}"] if fault else []
    options += [option for path in paths for option in ("-P", str(path))]
    with start_worker(arguments) as worker:
        command = ["strace", *options, "-p", str(worker.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            first = strace.stderr.readline()
            assert "attached" in first, first + strace.communicate()[1]
            ended = _finish(worker)
            strace.communicate()
    return replace(ended, calls=[*_read_calls(logs)])


@contextmanager
def start_worker(
    arguments: Sequence[str], *, is_rehearsed: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """Start the worker and wait until it is ready; a line on its stdin lets it go."""
    rehearsed = "rehearsed" if is_rehearsed else "unrehearsed"
    with subprocess.Popen(
        [sys.executable, str(WORKER), rehearsed, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": "UTC"},
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n", worker.communicate()
        yield worker


def run_worker(
    arguments: Sequence[str],
    limits: Mapping[int, int] | None = None,
    *,
    more: bool = False,
    uid: int | None = None,
    is_rehearsed: bool = True,
) -> Ended:
    """Run a command within limits.

    Parameters
    ----------
    arguments
        Of the command line.
    limits
        By what `resource` calls them.
    more
        Whether limits are beyond what is in use when the command begins.
    uid
        The user to be.
    is_rehearsed
        Whether all is loaded before.
    """
    import resource  # which not every system has

    with start_worker(arguments, is_rehearsed=is_rehearsed) as worker:
        n_used = 1 + max(int(n) for n in os.listdir(f"/proc/{worker.pid}/fd")) if more else 0
        for limit, value in (limits or {}).items():
            resource.prlimit(worker.pid, limit, (value + n_used, value + n_used))
        return _finish(worker, "" if uid is None else str(uid))


def _finish(worker: subprocess.Popen[str], line: str = "") -> Ended:
    try:
        stdout, stderr = worker.communicate(f"{line}\n", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        raise
    return Ended(worker.returncode, stdout, stderr)


def _read_calls(logs: Path) -> Iterable[Call]:
    for log in sorted(logs.iterdir()):
        counts: dict[str, int] = {}
        for line in log.read_text(errors="replace").splitlines():
            if match := re.match(r"(\w+)\(", line):
                name = match[1]
                counts[name] = counts.get(name, 0) + 1
                yield Call(name, counts[name], line)
