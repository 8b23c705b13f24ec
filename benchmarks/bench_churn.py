"""An index by a cluster whose workers come and go: `python benchmarks/bench_churn.py ARCHIVE`.

ARCHIVE is one of scripts/make_archive.py with `--subjects 20 --sessions 80 --files 10`. Its storage
is slow, by the library that tests/slow_storage.c makes. A cluster of this machine indexes it, each
worker a process: first undisturbed, then with a worker killed every few seconds and another one
started. The tables must be the same, and no shard done twice but what killed workers had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from clusters import TestCluster, check_repeats, kill_now_and_then
from slow_storage import Load, build_library, find_obstacle, slow_down

OFTEN_KILLED = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--milliseconds", type=float, default=2, help="that each call takes longer")
    parser.add_argument("--every", type=float, default=10, help="seconds between two kills")
    options = parser.parse_args()
    if obstacle := find_obstacle():
        sys.exit(f"error: {obstacle}")
    archive, n_workers = options.archive.resolve(), options.workers
    print(
        f"{describe_machine()}, load average {os.getloadavg()[0]:.0f} before; {n_workers} workers "
        f"of one call at a time; {options.milliseconds:g} ms a call\n"
    )
    print("| workers | seconds | killed | shards | done again | calls | datasets |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = Load(folder / "load")
        slow = slow_down(build_library(folder), archive, options.milliseconds, "buffer")
        workers = TestCluster(
            folder / "cluster",
            n_workers,
            nanny=False,
            variables=slow | load.environment,
            scheduler_variables=OFTEN_KILLED,
        )
        begin = time.monotonic()
        cases: dict[str, Callable[[int], bool]] = {
            "undisturbed": lambda n_killed: False,
            f"one killed every {options.every:g} s": (
                lambda n_killed: time.monotonic() > begin + (n_killed + 1) * options.every
            ),
        }
        tables = []
        try:
            for case, is_due in cases.items():
                workers.clear()
                n_before, out = load.n_calls, folder / f"tables-{len(tables)}"
                begin = time.monotonic()
                report, killed = index(archive, out, workers, is_due)
                n_repeats = check_repeats(workers, killed)
                tables.append([pl.read_parquet(path) for path in sorted(out.glob("*.pqt"))])
                print(
                    f"| {case} | {report['seconds']:.1f} | {len(killed)} | {report['n_shards']} "
                    f"| {n_repeats} | {load.n_calls - n_before:,} | {report['n_datasets']:,} |",
                    flush=True,
                )
        finally:
            workers.stop()
    if not all(one.equals(other) for one, other in zip(*tables, strict=True)):
        sys.exit("error: the tables differ")


def index(
    root: Path, out: Path, workers: TestCluster, is_due: Callable[[int], bool]
) -> tuple[dict[str, Any], set[int]]:
    """Index on a cluster; return the report, and the workers that were killed."""
    out.mkdir()
    command = [sys.executable, "-m", "polars_alf", "index", str(root), "--out", str(out)]
    command += ["--json", "--quiet", "--namespace", "bench", "--threads", "1"]
    process = subprocess.Popen(
        [*command, "--cluster", workers.address], stdout=subprocess.PIPE, text=True
    )
    killed = kill_now_and_then(workers, is_due, lambda: process.poll() is not None)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"error: the index failed with exit code {process.returncode}")
    report: dict[str, Any] = json.loads(output)
    return report, killed


if __name__ == "__main__":
    main()
