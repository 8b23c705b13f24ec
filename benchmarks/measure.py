"""Measure whole commands: their time, and the memory of their process tree.

Machines are noisy, so contenders run in turn, several rounds, and medians are compared.
"""

from __future__ import annotations

import contextlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import joblib
import psutil

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Contender:
    """A command, and how many results it has, from its stdout: a fast wrong answer must show."""

    command: Sequence[str]
    count: Callable[[str], int]
    version: str = ""


@dataclass
class Runs:
    """All that was measured of one contender."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    counts: set[int] = field(default_factory=set)

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Least and most seconds."""
        return f"{min(self.seconds):.2f} to {max(self.seconds):.2f}"


def time_command(command: Sequence[str]) -> tuple[float, str]:
    """Run a command; return its seconds and its stdout."""
    start = time.perf_counter()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"error: {' '.join(command)} failed with exit code {result.returncode}")
    return seconds, result.stdout


def measure_peak(command: Sequence[str]) -> int:
    """Run a command; return the peak of its process tree's proportional memory, in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tree = psutil.Process(process.pid)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(tree))
        time.sleep(POLL_SECONDS)
    return peak


def _memory(tree: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in (tree, *tree.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                # Shared pages count once over the tree where the system can tell.
                total += getattr(memory, "pss", memory.rss)
    return total


def run_in_turn(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Runs]:
    """Run contenders in turn, so that each meets the same machine.

    Parameters
    ----------
    contenders
        By name.
    rounds
        How often each is timed. Before that each runs once for its memory, as looking at that
        takes time.
    """
    runs = {name: Runs() for name in contenders}
    for name, contender in contenders.items():
        runs[name].peak_bytes = measure_peak(contender.command)
        print(f"    {name}: {runs[name].peak_bytes / 1e6:.0f} MB", file=sys.stderr)
    for turn in range(rounds):
        for name, contender in contenders.items():
            seconds, stdout = time_command(contender.command)
            print(f"{turn + 1:3} {name}: {seconds:.2f} s", file=sys.stderr)
            runs[name].seconds.append(seconds)
            runs[name].counts.add(contender.count(stdout))
    return runs


def describe_machine() -> str:
    """Return a line about the machine and its Python."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{platform.system()} {platform.release()}, {joblib.cpu_count()} cores, "
        f"{memory:.0f} GiB, Python {platform.python_version()}"
    )


def to_markdown(runs: Mapping[str, Runs], reference: str) -> str:
    """Return a table of medians, with ratios to one of the contenders."""
    lines = [
        f"| command | median (s) | min to max | {reference} / it | peak memory (MB) | results |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        ratio = runs[reference].median / run.median
        peak = run.peak_bytes / 1e6
        counts = ", ".join(f"{count:,}" for count in sorted(run.counts))
        lines.append(
            f"| {name} | {run.median:.2f} | {run.spread} | {ratio:.2f} | {peak:.0f} | {counts} |"
        )
    return "\n".join(lines)
