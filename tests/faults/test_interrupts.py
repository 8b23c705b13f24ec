"""Ctrl-C at any moment: one line, soon, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from amount import IS_FULL
from scenes import SCENES, Scene, index_scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no process groups there"),
]

N_INTERRUPTS = 300 if IS_FULL else 12

SECONDS = 10
"""Far above the second that an interrupt takes: other tests run beside this one."""


ALL = {
    **SCENES,
    "processes": lambda base: index_scene(base, "--executor", "processes", "--jobs", "3"),
}


@pytest.mark.parametrize("name", ALL)
def test_an_interrupt_at_any_moment_is_one_line(tmp_path: Path, name: str) -> None:
    start = time.monotonic()
    made = make(name, tmp_path / "undisturbed")
    subprocess.run(command_of(made.arguments), check=True, capture_output=True)
    duration = time.monotonic() - start
    n_interrupted = 0
    odd = []
    for n in range(N_INTERRUPTS):
        made = make(name, tmp_path / str(n))
        when = (n + 0.5) / N_INTERRUPTS
        code, said = interrupt(command_of(made.arguments), duration * when)
        if when < 1 / 8 and code not in (0, 130):
            # Python was still being loaded, or looked for what it is to run: nothing of ours ran.
            assert "polars_alf/__main__.py" not in said
            continue
        n_interrupted += code == 130
        last = said.splitlines()[-1:]
        is_told = code != 130 or ("Traceback" not in said and "interrupted" in "".join(last))
        if code not in (0, 130) or not is_told:
            odd.append((when, code, said))
        made.check(min(abs(code), 1))
    # Where Python runs a finalizer, or a library a callback, it is theirs what becomes of one.
    assert len(odd) <= max(1, N_INTERRUPTS // 100), odd
    assert n_interrupted > N_INTERRUPTS // 4


def make(name: str, base: Path) -> Scene:
    base.mkdir()
    return ALL[name](base)


def command_of(arguments: list[str] | tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "polars_alf", *arguments]


def interrupt(command: list[str], delay: float) -> tuple[int, str]:
    """Interrupt a command and all that it has started, as a terminal does; return how it ended."""
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            running.wait(delay)
        except subprocess.TimeoutExpired:
            others = psutil.Process(running.pid).children(recursive=True)
            os.killpg(running.pid, signal.SIGINT)
        else:
            others = []
        _, said = running.communicate(timeout=SECONDS)
    _, alive = psutil.wait_procs(others, timeout=SECONDS)
    assert not alive
    return running.returncode, said
