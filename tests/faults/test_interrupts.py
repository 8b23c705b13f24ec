"""Ctrl-C at any moment: one line, soon, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from amount import IS_FULL
from scenes import ARCHIVE, NEW, SCENES, index_scene, list_files
from trees import SESSION, make_tree

import polars_alf
from polars_alf.tables import files

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform == "win32", reason="no process groups there"),
]

N_INTERRUPTS = 300 if IS_FULL else 12

SECONDS = 60
"""Far above the second that an interrupt takes: other tests run beside, on any machine."""


ALL = {
    **SCENES,
    "threads": lambda base: index_scene(base, "--jobs", "3"),
    "processes": lambda base: index_scene(base, "--executor", "processes", "--jobs", "3"),
}

OTHERS = [
    "verify {archive} --tables-dir {new} --digest",
    "check {new}",
    "diff {old} {new}",
    "info {new}",
    "sql {new} 'SELECT * FROM datasets'",
    "subset {new} --where \"subject = 'S1'\" --out {out}",
    "split {new} --by lab --out {out}",
    "publish {copy}",
    "report {new} --out {out}/page.html",
]
"""Commands that read, or write elsewhere; where they write, files are whole or not there."""


@pytest.mark.parametrize("name", ALL)
def test_an_interrupt_at_any_moment_is_one_line(tmp_path: Path, name: str) -> None:
    def make(base: Path) -> tuple[list[str], Callable[[int], None]]:
        base.mkdir()
        scene = ALL[name](base)
        return scene.arguments, lambda code: scene.check(min(abs(code), 1))

    interrupt_at_any_moment(tmp_path, make, N_INTERRUPTS)


@pytest.mark.parametrize("arguments", OTHERS, ids=lambda arguments: arguments.split()[0])
def test_an_interrupted_command_leaves_its_sources(tmp_path: Path, arguments: str) -> None:
    archive = make_tree(tmp_path / "archive", ARCHIVE)
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = polars_alf.index_archive(archive, tmp_path / "old", namespace="test", hash_files=True)
    make_tree(archive, {NEW: SESSION})
    new = polars_alf.index_archive(archive, tmp_path / "new", namespace="test", hash_files=True)
    assert old.n_datasets < new.n_datasets
    sources = {folder: list_files(tmp_path / folder) for folder in ("archive", "old", "new")}
    written: set[str] = set()

    def make(base: Path) -> tuple[list[str], Callable[[int], None]]:
        copy, out = base / "copy", base / "out"
        shutil.copytree(tmp_path / "new", copy)
        out.mkdir()
        places = {folder: tmp_path / folder for folder in sources}
        command = shlex.split(arguments.format(**places, copy=copy, out=out))

        def check(code: int) -> None:
            assert {folder: list_files(tmp_path / folder) for folder in sources} == sources
            found = {path for path in list_files(base) if files.STATE_DIR not in path}
            if code == 0:
                assert found == written or not written
                written.update(found)
            assert found <= written, "something is left behind"

        return command, check

    interrupt_at_any_moment(tmp_path, make, N_INTERRUPTS if IS_FULL else N_INTERRUPTS // 2)


def interrupt_at_any_moment(
    tmp_path: Path, make: Callable[[Path], tuple[list[str], Callable[[int], None]]], count: int
) -> None:
    """Interrupt a command at moments spread over its run, in a folder of its own each time."""
    start = time.monotonic()
    arguments, check = make(tmp_path / "undisturbed")
    ended = subprocess.run(command_of(arguments), capture_output=True)
    assert ended.returncode in (0, 3), ended.stderr
    duration = time.monotonic() - start
    check(0)
    n_interrupted = 0
    odd = []
    for n in range(count):
        arguments, check = make(tmp_path / str(n))
        when = (n + 0.5) / count
        code, said = interrupt(command_of(arguments), duration * when)
        if when < 1 / 8 and code not in (0, 3, 130):
            # Python was still being loaded, or looked for what it is to run: nothing of ours ran.
            assert "polars_alf/__main__.py" not in said
            continue
        n_interrupted += code == 130
        last = said.splitlines()[-1:]
        is_told = code != 130 or ("Traceback" not in said and "interrupted" in "".join(last))
        if code not in (0, 3, 130) or not is_told:
            odd.append((when, code, said))
        check(0 if code == 3 else code)
    # Where Python runs a finalizer, or a library a callback, it is theirs what becomes of one.
    assert len(odd) <= max(1, count // 100), odd
    assert n_interrupted > count // 4


def command_of(arguments: list[str]) -> list[str]:
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
