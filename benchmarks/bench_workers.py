"""Speed by the number of a cluster's workers: `python benchmarks/bench_workers.py ARCHIVE`.

ARCHIVE is one of scripts/make_archive.py with `--subjects 40 --sessions 40 --files 10`. Its storage
is slow, by the library that tests/slow_storage.c makes, so that workers wait for it and not for a
processor: each is a process of one thread, with one call under way. Once it serves any number of
calls at a time, and once so few that more workers cannot be faster. All tables must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from bench_churn import index
from machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from clusters import TestCluster
from slow_storage import build_library, find_obstacle, serve_at_a_time, slow_down


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--milliseconds", type=float, default=5, help="that each call takes longer")
    parser.add_argument("--at-a-time", type=int, default=4, help="calls served, the second time")
    options = parser.parse_args()
    if obstacle := find_obstacle():
        sys.exit(f"error: {obstacle}")
    archive = options.archive.resolve()
    print(
        f"{describe_machine()}, load average {os.getloadavg()[0]:.1f} before; "
        f"{options.milliseconds:g} ms a call\n"
    )
    print("| served at a time | workers | shards | listing (s) | of one worker |")
    print("|---:|---:|---:|---:|---:|", flush=True)
    expected: list[pl.DataFrame] = []
    for at_a_time in (None, options.at_a_time):
        first = 0.0
        for n_workers in options.workers:
            with (
                tempfile.TemporaryDirectory() as name,
                limiting(at_a_time) as gate,
                running(Path(name), n_workers, archive, options.milliseconds, gate) as workers,
            ):
                out = Path(name) / "tables"
                report, _ = index(archive, out, workers, lambda _: False)
                tables = [pl.read_parquet(path) for path in sorted(out.glob("*.pqt"))]
            expected = expected or tables
            if not all(one.equals(other) for one, other in zip(tables, expected, strict=True)):
                sys.exit("error: the tables differ")
            seconds = report["seconds"]
            first = first or seconds
            print(
                f"| {at_a_time or 'any number'} | {n_workers} | {report['n_shards']} "
                f"| {seconds:.1f} | {first / seconds:.2f} times as fast |",
                flush=True,
            )


@contextlib.contextmanager
def limiting(at_a_time: int | None) -> Iterator[dict[str, str]]:
    """Yield the environment in which so many calls are served at a time."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(serve_at_a_time(at_a_time)) if at_a_time else {}


@contextlib.contextmanager
def running(
    folder: Path, n_workers: int, archive: Path, milliseconds: float, gate: dict[str, str]
) -> Iterator[TestCluster]:
    """Yield a cluster whose workers find the archive slow."""
    slow = slow_down(build_library(folder), archive, milliseconds, "buffer") | gate
    workers = TestCluster(folder / "cluster", n_workers, nanny=False, variables=slow)
    try:
        yield workers
    finally:
        workers.stop()


if __name__ == "__main__":
    main()
