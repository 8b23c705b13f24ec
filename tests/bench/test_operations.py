"""Operations: items for all threads, and calls as fast as in C."""

from __future__ import annotations

import os
import statistics
import subprocess
from pathlib import Path

import pytest
import storage
from hypothesis import given, settings
from hypothesis import strategies as st
from storage import measure_quickly as bench
from trees import make_tree

from polars_alf.bench.archive import Plan
from polars_alf.bench.operations import plan_levels, share_out


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 40))
def test_shares_are_of_all_items(n_items: int, concurrency: int, jobs: int) -> None:
    (level,) = plan_levels([concurrency], jobs)
    shares = share_out(range(n_items), level)
    assert len(shares) == level.jobs
    assert max(map(len, shares)) == level.threads
    assert sum(map(len, shares)) == concurrency
    flat = [item for share in shares for part in share for item in part]
    assert set(flat) == set(range(n_items))
    assert len(flat) == max(n_items, concurrency)


@pytest.mark.slow
def test_single_calls_are_as_fast_as_in_c(tmp_path: Path) -> None:
    plan = Plan(2000)
    program = storage.build_calls(tmp_path)
    rates: dict[str, list[float]] = {"stat": [], "create": []}
    with storage.mount_tmpfs(tmp_path / "storage") as folder:
        root = make_tree(folder / "theirs" / "archive", {file.path: 0 for file in plan.small})
        paths = tmp_path / "paths"
        paths.write_text("".join(f"{root}/{file.path}\n" for file in plan.small))

        def run(*arguments: str | Path) -> float:
            command = [program, *map(str, arguments)]
            return float(subprocess.run(command, capture_output=True, check=True).stdout)

        def race(done: int, total: int, text: str) -> None:
            # Right before ours, so that both meet the same machine.
            if text.startswith("stat"):
                rates["stat"].append(run("stat", paths, "50"))
            elif text.startswith("create"):
                made = folder / f"made{done}"
                made.mkdir()
                rates["create"].append(run("create", made, "2000"))

        report = bench(
            folder, files=2000, duration=0.2, repeats=9, operations=["create", "stat"],
            progress=race,
        )  # fmt: skip
    for operation, measured in rates.items():
        (rate,) = report.figures.filter(operation=operation)["rate"]
        assert rate == pytest.approx(statistics.median(measured), rel=0.25), operation
    assert os.environ["XDG_STATE_HOME"].startswith(str(tmp_path))
