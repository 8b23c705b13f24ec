"""What options of a walk cost an index: `python benchmarks/bench_options.py ARCHIVE`.

The whole command is timed without options and with each in turn, on fast storage, where none of
them is worth threads that wait. All find the same rows, which is checked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine
from measure import make_environment

OPTIONS = {
    "none": [],
    "a pattern of names": ["--exclude", "*.not-there"],
    "ten patterns of paths": [
        argument for n in range(10) for argument in ("--exclude", f"lab{n}/**/raw{n}/*.not-there")
    ],
    "links are followed": ["--follow-links"],
    "a timeout": ["--op-timeout", "60"],
    "a rate": ["--max-rate", "100000000"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder, "tables")
        tables.mkdir()
        index(options.archive, tables, [])
        cases = {**OPTIONS, "rows of other tables": ["--ids-from", str(tables)]}
        seen: dict[str, list[float]] = {name: [] for name in cases}
        counts = set()
        for _ in range(options.rounds):
            for name, arguments in cases.items():
                with tempfile.TemporaryDirectory() as out:
                    seconds, n_datasets = index(options.archive, Path(out), arguments)
                seen[name].append(seconds)
                counts.add(n_datasets)
    (n_datasets,) = counts
    print(
        f"{describe_machine()}; {n_datasets:,} datasets, medians of {options.rounds} rounds in "
        "turn, in seconds (least to most)\n"
    )
    print("| options | index | of that without |")
    print("|---|---:|---:|")
    for name, values in seen.items():
        ratio = statistics.median(a / b for a, b in zip(values, seen["none"], strict=True))
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"| {name} | {statistics.median(values):.2f} ({spread}) | {ratio:.2f} |")


def index(archive: Path, out: Path, arguments: list[str]) -> tuple[float, int]:
    """Return the seconds that an index takes, and the number of its datasets."""
    command = [sys.executable, "-m", "polars_alf", "index", str(archive), "--out", str(out)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--json", *arguments], env=make_environment(), capture_output=True, check=True
    )
    return time.perf_counter() - start, json.loads(done.stdout)["n_datasets"]


if __name__ == "__main__":
    main()
