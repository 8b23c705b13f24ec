"""Index on storage that is slow per call: `python benchmarks/bench_latency.py ARCHIVE SMALL`.

ARCHIVE is one of scripts/make_archive.py with `--subjects 10` (72,000 files), SMALL one with
`--subjects 5 --sessions 10` (3,600 files), where one call at a time is waited for as well. Each
open and stat below them, and each time that the system is asked for entries, takes longer by a
library that tests/slow_storage.c makes. The time is that of the command as a whole; its report
begins to count once the libraries are loaded, when threads have been listing for a while.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from slow_storage import build_library, find_obstacle, slow_down

MILLISECONDS = (0.0, 1.0, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("small", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if obstacle := find_obstacle():
        sys.exit(f"error: {obstacle}")
    archive, small = options.archive.resolve(), options.small.resolve()
    cases = [
        (root, milliseconds, threads)
        for root, threads in ((archive, None), (small, None), (small, 1))
        for milliseconds in MILLISECONDS
    ]
    seconds: dict[tuple[object, ...], list[float]] = {case: [] for case in cases}
    own: dict[tuple[object, ...], list[float]] = {case: [] for case in cases}
    counts: dict[tuple[object, ...], set[int]] = {case: set() for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        library = build_library(Path(folder))
        for turn in range(options.rounds):
            for case in cases:
                root, milliseconds, threads = case
                environment = slow_down(library, root, milliseconds, "buffer")
                with tempfile.TemporaryDirectory(dir=folder) as tables:
                    begin = time.perf_counter()
                    report = index(root, tables, environment, threads)
                    seconds[case].append(time.perf_counter() - begin)
                own[case].append(report["seconds"])
                counts[case].add(report["n_datasets"])
                print(f"{turn + 1:3} {case[1:]}: {seconds[case][-1]:.2f} s", file=sys.stderr)
    print(f"{describe_machine()}; warm cache; {options.rounds} rounds in turn\n")
    print("| datasets | slower by (ms) | threads | command (s) | min to max | in its report (s) |")
    print("|---|---|---|---|---|---|")
    for case in cases:
        _, milliseconds, threads = case
        times = seconds[case]
        found = ", ".join(f"{count:,}" for count in sorted(counts[case]))
        print(
            f"| {found} | {milliseconds:g} | {threads or 'measured'} "
            f"| {statistics.median(times):.2f} | {min(times):.2f} to {max(times):.2f} "
            f"| {statistics.median(own[case]):.2f} |"
        )


def index(
    root: Path, folder: str, environment: dict[str, str], threads: int | None
) -> dict[str, float]:
    """Index with default settings, but for the threads; return the report."""
    command = [sys.executable, "-m", "polars_alf", "index", str(root), "--out", folder]
    command += ["--json", "--quiet", *(["--threads", str(threads)] if threads else [])]
    output = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, check=True
    ).stdout
    report: dict[str, float] = json.loads(output)
    return report


if __name__ == "__main__":
    main()
