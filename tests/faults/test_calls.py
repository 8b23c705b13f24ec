"""System calls that fail: a run ends by itself, loses nothing in silence, can be repeated."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

import pytest
from amount import IS_FULL
from injecting import OPERATIONS, Call, needs_strace, run_traced
from scenes import SCENES, make_scene

pytestmark = [pytest.mark.thorough, needs_strace]

ERRORS = ["EIO", "EACCES", "ENOENT", "ESTALE", "ELOOP", "ENAMETOOLONG", "EMFILE", "ENOSPC"]

TIMES = {"once": "", "from_then_on": "+1", "again_and_again": "+3"}

NOT_MADE = {
    ("merge", "readdir"),
    ("prune", "rename"),
    *((scene, "link") for scene in ("index", "prune", "bench")),
}
"""A merge lists no archive, what is pruned gets no other name, and a first index keeps nothing."""

ATTEMPTS = 12
"""Calls that look at the clock of a thread come when they come, and the others' numbers shift."""

SEMAPHORE = re.compile(
    r"Exception ignored in: <Finalize object, dead>\nTraceback[^\n]*\n(?:  [^\n]*\n)*"
    r"  [^\n]*loky/backend/synchronize[^\n]*\n(?:  [^\n]*\n)*OSError: [^\n]*\n"
)
"""What loky says where it cannot remove a semaphore of its own."""

UNSEEN = {("readdir", "ENOENT")}
"""The C library takes it for the end of a directory: the kernel says so of one that is removed."""


def list_cases() -> list[tuple[str, str, str, str]]:
    """Return scenes, operations, errors and times: all of them, or each with each other once."""
    cases = []
    for i, scene in enumerate(SCENES):
        for j, operation in enumerate(OPERATIONS):
            if (scene, operation) in NOT_MADE:
                continue
            for k, error in enumerate(ERRORS):
                for n, times in enumerate(TIMES):
                    if (operation, error) in UNSEEN or (operation == "write" and times != "once"):
                        continue
                    is_turn = (i + j + k) % 4 == 0 and (i + j + k // 4) % 3 == n
                    if scene == "bench":  # which loads and draws for seconds
                        is_turn = j == k and j % 3 == n
                    if IS_FULL or (is_turn or (operation == "write" and (i + j + k) % 4 == 0)):
                        cases.append((scene, operation, error, times))
    return cases


@cache
def _find_calls(scene: str, base: Path) -> list[Call]:
    """Return the calls about our files that an undisturbed run makes."""
    made = make_scene(scene, base)
    names = [name for names in OPERATIONS.values() for name in names]
    ended = run_traced(made.arguments, base / "logs", names)
    assert ended.code == 0, ended
    made.check(0)
    return [call for call in ended.calls if str(base) in call.line]


@pytest.mark.parametrize(("scene", "operation", "error", "times"), list_cases())
def test_a_call_fails(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    scene: str,
    operation: str,
    error: str,
    times: str,
) -> None:
    # As deep as what it is compared with: each folder above is asked for as well.
    undisturbed = _find_calls(scene, tmp_path_factory.getbasetemp() / "undisturbed" / scene)
    calls = [call for call in undisturbed if call.name in OPERATIONS[operation]]
    chance = random.Random(f"{scene} {operation} {error} {times}")
    for attempt in range(ATTEMPTS):
        # What is measured for a time is not measured as often each time.
        call = chance.choice(calls)
        fault = f"error={error}:when={call.n}{TIMES[times]}"
        made = make_scene(scene, tmp_path / f"{attempt}")
        ended = run_traced(made.arguments, tmp_path / "logs", [call.name], fault)
        assert "Traceback" not in SEMAPHORE.sub("", ended.stderr), ended
        assert "panicked" not in ended.stderr, ended
        # A bench cannot remove what it cannot list, and says so.
        is_told = scene == "bench" and "remove it yourself" in ended.stderr
        made.check(ended.code, is_litter_kept=operation == "unlink" or is_told)
        made.again()
        if any(str(made.base) in injected.line for injected in ended.injected):
            return
    pytest.fail(f"{call.line} was not met again")
