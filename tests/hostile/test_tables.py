"""Damaged and hostile tables: an error of ours, or an answer that is right; never a crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from amount import IS_FULL
from trees import TWO_LABS, make_tree

from polars_alf import index_archive

WORKER = Path(__file__).with_name("table_worker.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as on Linux")

Outcomes = dict[str, dict[str, str]]


def run(tmp_path: Path, job: str) -> Outcomes:
    """Let a process damage tables, and return the outcome of each command after each damage."""
    archive = make_tree(tmp_path / "archive", TWO_LABS | {"S/2020-02-30/001/a.b.npy": 1})
    index_archive(archive, hash_files=True)
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-01/001/alf/new.x.npy": 1})
    index_archive(archive, hash_files=True)
    shutil.copytree(archive, tmp_path / "copy")
    (tmp_path / "merged").mkdir()
    command = [sys.executable, str(WORKER), str(tmp_path), job]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
    *lines, last = ended.stdout.split("\n")
    assert ended.returncode == 0, f"{last} ended the process: {ended.stderr[-2000:]}"
    return {what: json.loads(outcomes) for what, outcomes in (line.split("\t") for line in lines)}


def check(found: Outcomes, accepted: set[str]) -> Counter[str]:
    """Check every outcome, and return how many there were of each."""
    bad = {
        (what, command): outcome
        for what, outcomes in found.items()
        for command, outcome in outcomes.items()
        if outcome.partition(" ")[0] not in accepted
    }
    assert not bad
    return Counter(outcome for outcomes in found.values() for outcome in outcomes.values())


def seeds(n_processes: int, count: int, first: int) -> list[object]:
    """Return the first seed of each process, and how much it damages."""
    if not IS_FULL:
        n_processes, count = 1, count // 3
    quick = [pytest.param(first, 20, id="quick")]
    return quick + [
        pytest.param(first + 1 + seed, count, id=str(seed), marks=pytest.mark.thorough)
        for seed in range(n_processes)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "count"), seeds(4, 255, 100))
def test_damage_to_our_tables_is_told(tmp_path: Path, seed: int, count: int) -> None:
    found = run(tmp_path, f"ours {seed} {count}")
    assert len(found) > count * 0.9
    # What a command does not read may be damaged; but no command takes damage for data.
    counts = check(found, {"right", "typed"})
    assert counts["typed"] > counts["right"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "count"), seeds(4, 255, 200))
def test_damage_to_tables_of_other_programs_harms_nobody(
    tmp_path: Path, seed: int, count: int
) -> None:
    # These have no digests, so that a value may be another one.
    found = run(tmp_path, f"foreign {seed} {count}")
    assert len(found) > count * 0.9
    counts = check(found, {"right", "other", "typed"})
    assert min(counts["right"], counts["typed"]) > 0


@pytest.mark.thorough
def test_bombs_in_metadata_do_not_go_off(tmp_path: Path) -> None:
    found = run(tmp_path, "bombs")
    assert len(found) == 8 * 5 * 2
    check(found, {"right", "other", "typed"})


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "count"), seeds(1, 200, 300))
def test_damage_to_our_state_harms_nobody(tmp_path: Path, seed: int, count: int) -> None:
    # The namespace is in there, and what changed since: other ids, say, may be the answer.
    counts = check(run(tmp_path, f"state {seed} {count}"), {"right", "other", "typed"})
    assert counts["right"] > counts["typed"] > 0
