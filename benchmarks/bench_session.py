"""Bytes that one session of a large table takes to read: `benchmarks/bench_session.py`.

The tables are made by an index whose walk is synthetic. The datasets of one session in the middle
are read in a process of its own, after the file was dropped from the system's cache: counted is
what the process read, and what the storage delivered for that, with what the system reads ahead.
Linux alone counts these.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from bench_commands import FILES_PER_SESSION, INDEX, make_root, run
from machine import describe_machine

READ = """
import sys, polars as pl, polars_alf
def count():
    lines = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
    return int(lines["rchar"]), int(lines["read_bytes"])
pl.LazyFrame({"x": ["warm"]}).filter(pl.col("x") == "").collect()
before = count()
found = polars_alf.scan_datasets(sys.argv[1]).filter(pl.col("eid") == sys.argv[2]).collect()
print(len(found), *(now - then for now, then in zip(count(), before)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, nargs="+", default=[4_000_000, 40_000_000])
    parser.add_argument("--tables", type=Path, nargs="+", default=[], help="tables that are there")
    options = parser.parse_args()
    print(f"{describe_machine()}; {FILES_PER_SESSION} files a session\n")
    print("| datasets | row groups | footer (MB) | rows | read (MB) | from storage (MB) |")
    print("|---:|---:|---:|---:|---:|---:|")
    for tables in options.tables:
        measure(tables)
    for wanted in options.datasets if not options.tables else []:
        with tempfile.TemporaryDirectory() as scratch:
            tables = Path(scratch, "tables")
            tables.mkdir()
            root = make_root(Path(scratch), round(wanted / FILES_PER_SESSION))
            run(INDEX, root, tables, tables, tables, 0)
            measure(tables)


def measure(tables: Path) -> None:
    """Read one session of tables, and print what that took."""
    path = tables / "datasets.pqt"
    metadata = pq.read_metadata(path)
    middle = pq.ParquetFile(path).read_row_group(metadata.num_row_groups // 2, columns=["eid"])
    eid = middle["eid"][len(middle) // 2].as_py()
    for file in tables.glob("*.pqt"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-c", READ, str(tables), eid]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, n_read, n_delivered = map(int, result.stdout.split())
    print(
        f"| {metadata.num_rows:,} | {metadata.num_row_groups} | "
        f"{metadata.serialized_size / 1e6:.3f} | {rows} | {n_read / 1e6:.1f} "
        f"| {n_delivered / 1e6:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
