"""Peak memory and time of an index by its number of datasets: `python benchmarks/bench_memory.py`.

A synthetic source takes the place of the walk, so that forty million datasets need no disk for
them; all that comes after it is the real thing, with as many workers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe_machine
from measure import measure_peak, time_command
from synthetic import TAKE_ITS_PLACE

FILES_PER_SESSION = 72
INDEX = f"""{TAKE_ITS_PLACE}
from polars_alf import index_archive
report = index_archive(sys.argv[1], sys.argv[2])
print(report.n_datasets)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, nargs="+", default=[4_000_000, 40_000_000])
    parser.add_argument("--folder", type=Path, help="for the tables; on a disk with room")
    options = parser.parse_args()
    print(f"{describe_machine()}; {FILES_PER_SESSION} files a session\n")
    print("| datasets | seconds | datasets/s | peak memory (MB) | datasets.pqt (MB) |")
    print("|---:|---:|---:|---:|---:|")
    for wanted in options.datasets:
        n_sessions = round(wanted / FILES_PER_SESSION)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            root = Path(folder, f"archive-{n_sessions}x{FILES_PER_SESSION}")
            out_dir = Path(folder, "tables")
            root.mkdir()
            out_dir.mkdir()
            command = [sys.executable, "-c", INDEX, str(root), str(out_dir)]
            seconds, found = time_command(command)
            size = (out_dir / "datasets.pqt").stat().st_size
            subprocess.run(["rm", "-r", str(out_dir)], check=True)
            out_dir.mkdir()
            peak = measure_peak(command)
        print(
            f"| {int(found):,} | {seconds:.1f} | {int(found) / seconds:,.0f} | {peak / 1e6:,.0f} "
            f"| {size / 1e6:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
