"""Runs that are killed: tables stay whole and of one generation, and the next run goes on."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from amount import IS_FULL
from injecting import OPERATIONS, Call, needs_strace, run_traced, start_worker
from scenes import SCENES, Scene, index_scene, make_scene, prune_scene

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL as on POSIX"),
]

N_KILLS = 300 if IS_FULL else 24
N_PRUNES = 100 if IS_FULL else 8
KILLS_PER_TEST = 4

MANY_STRAYS = [
    f"a/Subjects/S1/2020-01-01/001/{collection}/stray{n}.times.npy"
    for collection in ("alf", "alf/probe00", "new")
    for n in range(400)
]
"""More than are noted in the log at a time."""


def make_index(base: Path, executor: str = "processes") -> Scene:
    return index_scene(base, "--executor", executor, "--jobs", "2", "--hash-files", old=True)


def kill_after(scene: Scene, seconds: float) -> bool:
    """Run a scene's command and kill it, unless it has ended before."""
    with start_worker(scene.arguments, is_rehearsed=False) as worker:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
        time.sleep(seconds)
        worker.kill()
        worker.wait()  # not for the end of its output, which its own workers hold as well
    return worker.returncode == -9


def kill_some(scene: Scene, moments: random.Random, least: float, most: float) -> None:
    """Kill a scene's command at moments between two, in seconds, and check what is there then."""
    n_killed, n_ended = 0, 0
    while n_killed < KILLS_PER_TEST:
        # Once it has less to do, or the machine is less busy, it may end before.
        is_killed = kill_after(scene, moments.uniform(least, most) / (1 + n_ended))
        n_killed, n_ended = n_killed + is_killed, n_ended + (not is_killed)
        scene.check(1, is_litter_kept=True)


_measured: dict[Path, float] = {}


def _measure(make: Callable[[Path], Scene], base: Path) -> float:
    """Return how long a command takes, in seconds."""
    if base not in _measured:
        with start_worker(make(base).arguments, is_rehearsed=False) as worker:
            start = time.perf_counter()
            worker.communicate("\n")
            assert worker.returncode == 0
        _measured[base] = time.perf_counter() - start
    return _measured[base]


@pytest.mark.parametrize("seed", range(N_KILLS // KILLS_PER_TEST))
def test_an_index_is_killed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    # Processes take long to start, and what they do looks the same from here.
    make = partial(make_index, executor="threads" if seed % 3 else "processes")
    base = tmp_path_factory.getbasetemp() / f"index-measured{bool(seed % 3)}"
    seconds = _measure(make, base)
    moments = random.Random(seed)
    scene = make(tmp_path)
    kill_some(scene, moments, 0, seconds)
    scene.again()


@pytest.mark.parametrize("seed", range(N_PRUNES // KILLS_PER_TEST))
def test_a_prune_is_killed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    def make(base: Path) -> Scene:
        return prune_scene(base, MANY_STRAYS)

    seconds = _measure(make, tmp_path_factory.getbasetemp() / "prune-measured")
    moments = random.Random(seed)
    scene = make(tmp_path / "scene")
    kill_some(scene, moments, seconds / 3, seconds)
    scene.again()


STEPS = [
    name for kind in ("write", "fsync", "link", "rename", "unlink") for name in OPERATIONS[kind]
]
N_STEPS = 3
N_WRITES = 10
MOST_STEPS = {"bench": 20}
"""Where a measurement ends counts for nothing but what it leaves."""


@cache
def _find_steps(name: str, base: Path) -> list[Call]:
    """Return the calls by which an undisturbed run changes files of ours."""
    scene = make_scene(name, base)
    ended = run_traced(scene.arguments, base / "logs", STEPS)
    assert ended.code == 0, ended
    return [call for call in ended.calls if str(base) in call.line]


def choose_step(steps: list[Call], seed: int) -> Call:
    """Return first the step between two tables, if there is one, and then any, of each kind."""
    ends = tuple(f'{name}.pqt") = 0' for name in ("insertions", "datasets"))
    between = [step for end in ends for step in steps if step.line.rstrip().endswith(end)]
    if between and seed == 0:
        return between[0]
    kinds = sorted({step.name for step in steps} - {"write"} if seed % 4 else {"write"})
    kind = kinds[seed % len(kinds)]
    return random.Random(seed).choice([step for step in steps if step.name == kind])


@needs_strace
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("seed", range(N_STEPS))
def test_a_run_is_killed_at_a_step(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    steps = _find_steps(name, tmp_path_factory.getbasetemp() / f"steps-{name}")
    attempts = ((choose_step(steps, seed + N_STEPS * n), tmp_path / f"{n}") for n in range(5))
    assert any(kill_at(step, name, base) for step, base in attempts)


@needs_strace
@pytest.mark.skipif(not IS_FULL, reason="takes minutes; set POLARS_ALF_FULL_FAULTS=1")
@pytest.mark.parametrize("name", SCENES)
def test_a_run_is_killed_at_every_step(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    steps = _find_steps(name, tmp_path_factory.getbasetemp() / f"steps-{name}")
    moments = random.Random(name)
    writes = [step for step in steps if step.name == "write"]
    chosen = [step for step in steps if step.name != "write"]
    chosen += moments.sample(writes, min(N_WRITES, len(writes)))
    moments.shuffle(chosen)
    chosen = chosen[: MOST_STEPS.get(name)]
    n_killed = 0
    for number, step in enumerate(chosen):
        n_killed += kill_at(step, name, tmp_path / f"{number}")
        shutil.rmtree(tmp_path / f"{number}")
    assert n_killed > len(chosen) / 2


def kill_at(step: Call, name: str, base: Path) -> bool:
    """Kill a scene's command at a step, and check what is there then, and after another run.

    Returns
    -------
    bool
        Whether it came so far: a bench does not measure as often each time.
    """
    scene = make_scene(name, base / "scene")
    fault = f"signal=SIGKILL:when={step.n}"
    ended = run_traced(scene.arguments, base / "logs", [step.name], fault)
    assert ended.code == -9 or (name == "bench" and ended.code == 0), ended
    scene.check(1, is_litter_kept=True)
    scene.again()
    return ended.code == -9
