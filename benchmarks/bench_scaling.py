"""Time by size and shape: `python benchmarks/bench_scaling.py --folder DIR`.

Makes archives below DIR one after the other, indexes each several times with a warm cache, and
removes it, unless it is to be kept for another run. The largest has ten times the files of the
reference archive, and takes 10 GB.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe_machine
from measure import time_command

MAKE = Path(__file__).parents[1] / "scripts" / "make_archive.py"
FILES = 72

# Each shape is one or several calls of make_archive: folder in the archive, subjects, sessions.
SHAPES = {
    "reference / 10": [("", 100, 10)],
    "reference": [("", 100, 100)],
    "reference x 10": [("", 1000, 100)],
    "one subject has 90 %": [("big/Subjects", 1, 9000), ("other/Subjects", 100, 10)],
    "10,000 subjects": [("small/Subjects", 10_000, 1)],
}


def make(root: Path, shape: str) -> None:
    """Make an archive."""
    for folder, subjects, sessions in SHAPES[shape]:
        command = [sys.executable, str(MAKE), str(root / folder)]
        command += ["--subjects", str(subjects), "--sessions", str(sessions)]
        command += ["--files", str(FILES), *(["--flat"] if folder else [])]
        (root / folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="on a disk with many inodes")
    parser.add_argument("--keep", action="store_true", help="keep the archives, and use them again")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{describe_machine()}; warm cache; medians of {options.rounds} rounds\n")
    print("| archive | files | datasets | seconds | min to max | files/s | slowest shard (s) |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for shape in options.shapes:
        root = options.folder / re.sub(r"\W+", "-", shape)
        n_files = FILES * sum(subjects * sessions for _, subjects, sessions in SHAPES[shape])
        if not root.exists():
            make(root, shape)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            out_dir = Path(folder, "tables")
            command = [sys.executable, "-m", "polars_alf", "index", str(root), "--json", "--quiet"]
            command += ["--out", str(out_dir)]
            seconds = []
            for _ in range(options.rounds + 1):
                shutil.rmtree(out_dir, ignore_errors=True)
                out_dir.mkdir()
                took, stdout = time_command(command)
                seconds.append(took)
            report = json.loads((out_dir / ".polars_alf/report.json").read_text())
            slowest = report["slowest_shards"][0]["seconds"]
            times = seconds[1:]  # the first found the cache cold
            median = statistics.median(times)
            print(
                f"| {shape} | {n_files:,} | {json.loads(stdout)['n_datasets']:,} | {median:.2f} "
                f"| {min(times):.2f} to {max(times):.2f} | {n_files / median:,.0f} | {slowest} |",
                flush=True,
            )
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
