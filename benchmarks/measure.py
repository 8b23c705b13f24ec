"""Measure whole commands: their time, and the memory of their process tree.

Machines are noisy, so contenders run in turn, several rounds, and what they need is compared round
by round. A fast wrong answer must show, so what a command found is kept beside its time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.02
REPOSITORY = Path(__file__).resolve().parents[1]

Answer = dict[str, int | str]
"""What a command found, by what it is: `{"files": 720_000}`."""


@dataclass(frozen=True)
class Contender:
    """A command to measure.

    It runs in a folder of its own that is empty before each run, but for the file `stdout` with
    its output. `tally` reads from that folder what was found.
    """

    name: str
    command: Sequence[str]
    tally: Callable[[Path], Answer] = lambda folder: {}
    version: str = ""


@dataclass(frozen=True)
class Run:
    """One run of a contender. Round 0 is one before the others, watched for its memory.

    `user_seconds` and `system_seconds` are those of the command and of the children that it
    waited for; `load` is the load average of the last minute before it began.
    """

    race: str
    contender: str
    round: int
    position: int
    seconds: float
    user_seconds: float
    system_seconds: float
    load: float
    peak_bytes: int | None
    exit_code: int
    answer: Answer


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
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = _watch(process)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed with {process.stderr.read().decode()}")
    return peak


def run_in_turn(
    contenders: Sequence[Contender],
    rounds: int,
    folder: Path,
    *,
    race: str = "",
    prepare: Callable[[Contender], None] | None = None,
) -> list[Run]:
    """Run contenders in turn, so that each meets the same machine.

    Parameters
    ----------
    contenders
        With names that differ. Each round begins with another.
    rounds
        How often each is timed. Before that, each runs once for its memory, as looking at that
        takes time; the caches are warm then.
    folder
        Where contenders run; removed in the end.
    race
        Name that the runs are given.
    prepare
        Called before each run. Without it runs are warm; with it none is watched for its memory.
    """
    runs = []
    for turn in range(1 if prepare else 0, rounds + 1):
        first = turn % len(contenders)
        order = [*contenders[first:], *contenders[:first]]
        for position, contender in enumerate(order):
            if prepare:
                prepare(contender)
            run = _run(contender, folder, race, turn, position)
            runs.append(run)
            memory = f", {run.peak_bytes / 1e6:,.0f} MB" if run.peak_bytes else ""
            print(f"{turn:3} {race} {contender.name}: {run.seconds:.2f} s{memory}", file=sys.stderr)
    return runs


def _run(contender: Contender, folder: Path, race: str, turn: int, position: int) -> Run:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # What others wrote is not to be waited for by one that makes its own output durable.
    os.sync()
    load = os.getloadavg()[0]
    with (folder / "stdout").open("wb") as stdout:
        before = os.times()
        start = time.perf_counter()
        process = subprocess.Popen(
            contender.command, stdout=stdout, cwd=folder, env=make_environment()
        )
        peak = _watch(process) if turn == 0 else None
        exit_code = process.wait()
        seconds = time.perf_counter() - start
        after = os.times()
    answer = contender.tally(folder) if exit_code == 0 else {}
    shutil.rmtree(folder)
    return Run(
        race=race,
        contender=contender.name,
        round=turn,
        position=position,
        # As they are recorded, so that tables made now and later are the same.
        seconds=round(seconds, 5),
        user_seconds=round(after.children_user - before.children_user, 2),
        system_seconds=round(after.children_system - before.children_system, 2),
        load=round(load, 2),
        peak_bytes=peak,
        exit_code=exit_code,
        answer=answer,
    )


def make_environment() -> Mapping[str, str]:
    """Return the environment of commands: they run elsewhere, and import the code beside this."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the peak of its tree's memory, in bytes."""
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
