"""How long a thread was off the processor in calls to the storage, in C and in Python."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
import slow_storage

from polars_alf import native
from polars_alf.native import off_cpu, twin

WAITS = """
import os, sys
from array import array
from polars_alf import native
from polars_alf.native import off_cpu, twin
functions, read = {"c": (native, native.read_off_cpu), "python": (twin, off_cpu.read_off_cpu)}[
    sys.argv[1]
]
root = os.fsencode(sys.argv[2])
status = os.stat(root + b"/s")
mtimes, ctimes = array("q", [status.st_mtime_ns]), array("q", [status.st_ctime_ns])
before = read()
for call in (
    lambda: functions.list_directories(root + b"/", b"s\\0", 0, 1, 0, 1, 100, 100, None),
    lambda: functions.examine_files(root + b"/s", b"a.b.c\\0d.e.f\\0", None),
    lambda: functions.count_unchanged(
        root + b"/", b"s\\0", mtimes, ctimes, array("Q", [status.st_ino])
    ),
):
    call()
    print(read() - before)
    before = read()
"""


@pytest.mark.parametrize("name", ["c", "python"])
def test_waiting_for_the_storage_counts(tmp_path: Path, name: str) -> None:
    if obstacle := slow_storage.find_obstacle():
        pytest.skip(obstacle)
    root = tmp_path / "archive"
    (root / "s").mkdir(parents=True)
    for file in ("a.b.c", "d.e.f"):
        (root / "s" / file).touch()
    environment = os.environ | slow_storage.slow_down(
        slow_storage.build_library(tmp_path), root, 50, "buffer"
    )
    run = subprocess.run(
        [sys.executable, "-c", WAITS, name, str(root)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    listing, examining, comparing = (int(line) / 50e6 for line in run.stdout.split())
    # Two calls or more for the directory, and one for each file; then one for each; then one.
    assert listing >= 4
    assert examining >= 2
    assert comparing >= 1


@pytest.mark.parametrize("functions", [native, twin], ids=["c", "python"])
def test_waiting_for_a_turn_does_not(tmp_path: Path, functions: Any) -> None:
    interval = 100_000_000
    pacer, steps = array("q", [0, interval, 0]), array("q", [0, 0, 0, 0])
    native.book_calls(pacer, 1)
    read = native.read_off_cpu if functions is native else off_cpu.read_off_cpu
    before, begin = read(), time.monotonic_ns()
    functions.examine_files(os.fsencode(tmp_path), b"a.b.c\0d.e.f\0", steps, pacer)
    waited = time.monotonic_ns() - begin
    assert waited >= steps[2] > 2 * interval
    assert read() - before <= waited - steps[2]
