"""How long calls to the storage block a thread, in C and in Python."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
import slow_storage
from busy import keeping_processors_busy

from polars_alf import native
from polars_alf.native import twin
from polars_alf.native.effort import make_steps, read_delay

CALLS = """
import os, sys, time
from array import array
from polars_alf import native
from polars_alf.native import twin
from polars_alf.native.effort import make_steps, read_delay
functions = {"c": native, "python": twin}[sys.argv[1]]
root = os.fsencode(sys.argv[2])
status = os.stat(root + b"/s")
mtimes, ctimes = array("q", [status.st_mtime_ns]), array("q", [status.st_ctime_ns])
inodes = array("Q", [status.st_ino])
for call in (
    lambda steps: functions.list_directories(root + b"/", b"s\\0", 0, 1, 0, 1, 100, 100, steps),
    lambda steps: functions.examine_files(root + b"/s", b"a.b.c\\0d.e.f\\0", steps),
    lambda steps: functions.count_unchanged(root + b"/", b"s\\0", mtimes, ctimes, inodes, steps),
):
    steps = make_steps()
    begin = time.monotonic_ns()
    call(steps)
    print(time.monotonic_ns() - begin, *steps[4:6])
"""


@pytest.mark.parametrize("name", ["c", "python"])
def test_calls_tell_how_long_the_storage_blocked_them(tmp_path: Path, name: str) -> None:
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
        [sys.executable, "-c", CALLS, name, str(root)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    listing, examining, comparing = (
        [int(word) / 50e6 for word in line.split()] for line in run.stdout.splitlines()
    )
    # Two calls or more for the directory, and one for each file; then one for each; then one. On a
    # busy machine a sleep ends late, and not all of that is told from a wait for a processor.
    for (took, worked, blocked), n_calls in ((listing, 4), (examining, 2), (comparing, 1)):
        assert took >= n_calls
        assert worked + blocked <= took
        assert blocked > n_calls / 2


@pytest.mark.parametrize("functions", [native, twin], ids=["c", "python"])
def test_waiting_for_a_turn_blocks_nobody(tmp_path: Path, functions: Any) -> None:
    interval = 100_000_000
    pacer, steps = array("q", [0, interval, 0]), make_steps()
    native.book_calls(pacer, 1)
    begin = time.monotonic_ns()
    functions.examine_files(os.fsencode(tmp_path), b"a.b.c\0d.e.f\0", steps, pacer)
    took = time.monotonic_ns() - begin
    assert steps[2] > interval
    assert steps[5] <= took - steps[2]


@pytest.mark.parametrize("functions", [native, twin], ids=["c", "python"])
def test_who_looks_on_sees_it_before_the_calls_end(tmp_path: Path, functions: Any) -> None:
    for i in range(2000):
        (tmp_path / f"a.b.{i}").touch()
    names = b"".join(b"a.b.%d\0" % i for i in range(2000)) * 100
    steps, seen = make_steps(), 0
    thread = threading.Thread(
        target=functions.examine_files, args=(os.fsencode(tmp_path), names, steps)
    )
    thread.start()
    while thread.is_alive() and not seen:
        time.sleep(0.005)
        seen = steps[4]
    is_under_way = thread.is_alive()
    steps[1] = 1
    thread.join()
    assert is_under_way
    assert 0 < seen < steps[4]


@pytest.mark.slow
@pytest.mark.parametrize("functions", [native, twin], ids=["c", "python"])
def test_waiting_for_a_processor_is_not_being_blocked(tmp_path: Path, functions: Any) -> None:
    (tmp_path / "a.b.c").touch()
    arguments = os.fsencode(tmp_path), b"a.b.c\0" * 200_000
    with keeping_processors_busy():
        functions.examine_files(*arguments, make_steps())
        if not read_delay():
            pytest.skip("the system does not tell how long a thread waits for a processor")
        steps, begin = make_steps(), time.monotonic_ns()
        functions.examine_files(*arguments, steps)
        off = time.monotonic_ns() - begin - steps[4]
    assert off > steps[4] / 2, "nobody else had the processor"
    assert steps[5] < off / 4
