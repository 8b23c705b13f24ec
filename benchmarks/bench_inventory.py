"""Rows a second of an index of an inventory: a list as `find -printf` prints it, of made-up files.

The list is made in the order of a walk, or shuffled. The index runs in a process of its own, of
which the largest resident memory is told, and the time of its processors, also when these are busy.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine

FILES_PER_SESSION = 72

INDEX = """
import resource, sys, polars_alf
report = polars_alf.index_archive("/data/archive", sys.argv[2], inventory=sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(report.n_datasets, used.ru_maxrss, used.ru_utime + used.ru_stime)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[7_200_000])
    parser.add_argument("--shuffled", action="store_true", help="sessions in no order")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{describe_machine()}; load {load:.1f}; {FILES_PER_SESSION} files a session\n")
    print("| files | list (MB) | order | index (s) | of processors (s) | files/s | memory (MB) |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for wanted in options.files:
        with tempfile.TemporaryDirectory() as scratch:
            inventory = Path(scratch, "inventory")
            write_inventory(inventory, wanted // FILES_PER_SESSION, shuffled=options.shuffled)
            tables = Path(scratch, "tables")
            tables.mkdir()
            start = time.perf_counter()
            command = [sys.executable, "-c", INDEX, str(inventory), str(tables)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - start
            n_datasets, memory, used = map(float, result.stdout.split())
            order = "none" if options.shuffled else "of a walk"
            megabytes = inventory.stat().st_size / 1e6
            rate = n_datasets / seconds
            print(
                f"| {n_datasets:,.0f} | {megabytes:,.0f} | {order} | {seconds:.1f} | {used:.1f} "
                f"| {rate:,.0f} | {memory / 1e3:,.0f} |",
                flush=True,
            )


def write_inventory(path: Path, n_sessions: int, *, shuffled: bool) -> None:
    """Write a list of made-up sessions: subjects of 100 sessions, in labs of 100 subjects."""
    numbers = [*range(n_sessions)]
    if shuffled:
        random.Random(0).shuffle(numbers)
    with path.open("w", encoding="utf-8") as file:
        file.write("dd 4096 1577836800.0000000000 1 /data/archive\0")
        for number in numbers:
            subject, day = divmod(number, 100)
            date = f"{2020 + day // 25}-{1 + day % 12:02d}-{1 + day % 25:02d}"
            session = f"/data/archive/lab{subject // 100}/Subjects/S{subject:05d}/{date}/001"
            for n in range(FILES_PER_SESSION):
                inode = number * FILES_PER_SESSION + n
                folder = f"alf/probe{n % 2:02d}/" if n % 3 else "alf/"
                name = f"object{n // 4:02d}.attribute{n % 4}.npy"
                file.write(f"ff {inode} 1577836800.1234567890 {inode} {session}/{folder}{name}\0")


if __name__ == "__main__":
    main()
