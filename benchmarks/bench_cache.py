"""load_tables and merge_tables beside ONE's own, on one machine in one run.

    python benchmarks/bench_cache.py [--rows 70000 680000] [--repeats 5] [--json FILE]

ONE's function and ours take turns, on the same files and records. A ratio is the median of those
of the pairs; its spread is their extremes. Results are compared, so that a fast wrong answer
shows. Memory is the growth of a fresh process's peak while it loads.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import one.alf.cache as theirs
import pandas as pd
from iblutil.io import parquet
from one.alf.cache import QC_TYPE
from pandas.testing import assert_frame_equal

from polars_alf import cache as ours

DATASETS_PER_SESSION = 50
COLLECTIONS = ("alf", "alf/probe00/pykilosort", "alf/probe01/pykilosort", "raw_behavior_data")

# Sampled, as the peak that systems keep is of the whole life of a process, its imports too.
MEMORY_PROBE = """
import sys, importlib
import psutil, pandas, pyarrow.parquet
module = importlib.import_module(sys.argv[1])
module.load_tables(sys.argv[2])  # imports, and the allocators' first arenas
before = psutil.Process().memory_info().rss
import threading, time
peak, done = before, False
def watch():
    global peak
    while not done:
        peak = max(peak, psutil.Process().memory_info().rss)
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
tables = module.load_tables(sys.argv[3])
done = True
watcher.join()
print(peak - before)
"""


def make_ids(rng: np.random.Generator, count: int) -> list[str]:
    """Random UUIDs of version 4, as Alyx makes them."""
    octets = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    return [str(uuid.UUID(bytes=row.tobytes(), version=4)) for row in octets]


def make_tables(rows: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Tables of an archive with as many datasets as rows, sorted, with ids as strings."""
    rng = np.random.default_rng(seed)
    n_sessions = max(1, rows // DATASETS_PER_SESSION)
    days = datetime.date(2020, 1, 1) + np.arange(n_sessions) % 1500 * datetime.timedelta(days=1)
    sessions = pd.DataFrame(
        {
            "id": make_ids(rng, n_sessions),
            "lab": [f"lab{n % 12}" for n in range(n_sessions)],
            "subject": [f"SUB_{n // 20:04d}" for n in range(n_sessions)],
            "date": days,
            "number": np.ones(n_sessions, np.uint16),
            "task_protocol": "ephysChoiceWorld",
            "projects": "brainwide",
        }
    )
    session_of = np.arange(rows) % n_sessions
    ids = make_ids(rng, rows)
    datasets = pd.DataFrame(
        {
            "eid": sessions["id"].to_numpy()[session_of],
            "id": ids,
            "rel_path": [
                f"{COLLECTIONS[n % 4]}/object{n % 37}.attribute{n // n_sessions}.npy"
                for n in range(rows)
            ],
            "file_size": pd.array(rng.integers(0, 2**32, rows), dtype="UInt64"),
            "hash": [uid.replace("-", "") for uid in ids],
            "exists": True,
            "qc": pd.Categorical.from_codes(rng.integers(0, 5, rows), dtype=QC_TYPE),
        }
    )
    return {
        "sessions": sessions.set_index("id").sort_index(),
        "datasets": datasets.set_index(["eid", "id"]).sort_index(),
    }


def write_tables(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    folder.mkdir()
    for name, table in tables.items():
        parquet.save(folder / f"{name}.pqt", table, ours._metadata("benchmark"))
    return folder


def as_new_objects(records: pd.DataFrame) -> pd.DataFrame:
    """Give records ids of their own, as if from a database: none is shared with a table."""
    index = pd.MultiIndex.from_arrays(
        [records.index.get_level_values(name).map(str) for name in records.index.names],
        names=records.index.names,
    )
    return ours.cast_index_object(records.set_index(index))


def clock(call: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def compare(prepare: Callable[[Any], Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Time calls that `prepare` makes for a module, in turns, after one of each to warm up."""
    times: dict[Any, list[float]] = {theirs: [], ours: []}
    for repeat in range(-1, repeats):
        results = []
        for module in (theirs, ours) if repeat % 2 else (ours, theirs):
            seconds, result = clock(prepare(module))
            results.append(result)
            if repeat >= 0:
                times[module].append(seconds)
        for name in ("sessions", "datasets"):
            assert_frame_equal(results[0][name], results[1][name])
        del results, result
    ratios = [slow / fast for slow, fast in zip(times[theirs], times[ours], strict=True)]
    return {
        "one_s": statistics.median(times[theirs]),
        "ours_s": statistics.median(times[ours]),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def bench_load(folder: Path, repeats: int) -> dict[str, Any]:
    return compare(lambda module: lambda: module.load_tables(folder), repeats)


def bench_merge(folder: Path, keep: Any, records: Any, repeats: int) -> dict[str, Any]:
    """Merge records into the kept rows of freshly loaded tables."""

    def prepare(module: Any) -> Callable[[], Any]:
        cache = ours.load_tables(folder)
        if keep is not None:
            cache["datasets"] = cache["datasets"][keep]
            cache["datasets"].index = cache["datasets"].index.remove_unused_levels()
        given = records.copy()

        def merge() -> Any:
            module.merge_tables(cache, datasets=given)
            return cache

        return merge

    return compare(prepare, repeats)


def measure_memory(module: Any, small: Path, folder: Path) -> int:
    arguments = [sys.executable, "-c", MEMORY_PROBE, module.__name__, small, folder]
    return int(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)


def bench(rows: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    tables = make_tables(rows)
    in_order = write_tables(folder / f"sorted{rows}", tables)
    shuffled = {name: table.sample(frac=1, random_state=0) for name, table in tables.items()}
    in_disorder = write_tables(folder / f"shuffled{rows}", shuffled)
    small = write_tables(folder / f"small{rows}", make_tables(100))
    del tables, shuffled

    datasets = ours.load_tables(in_order).datasets
    is_tenth = np.arange(rows) % 10 == 0
    tenth = as_new_objects(datasets[is_tenth])
    one_record = datasets.iloc[rows // 2].copy()
    new_record = one_record.copy()
    new_record.name = (one_record.name[0], uuid.uuid4())
    del datasets

    cases: dict[str, Callable[[], dict[str, Any]]] = {
        "load, sorted": lambda: bench_load(in_order, repeats),
        "load, not sorted": lambda: bench_load(in_disorder, repeats),
        "merge, a tenth is new": lambda: bench_merge(in_order, ~is_tenth, tenth, repeats),
        "merge, a tenth changes": lambda: bench_merge(in_order, None, tenth, repeats),
        "merge, one record changes": lambda: bench_merge(in_order, None, one_record, repeats),
        "merge, one record is new": lambda: bench_merge(in_order, None, new_record, repeats),
    }
    results = {}
    for case, run in cases.items():
        results[case] = run()
        print(f"{rows:,} rows, {case}: ratio {results[case]['ratio']:.1f}", file=sys.stderr)
    one_bytes, our_bytes = (measure_memory(module, small, in_order) for module in (theirs, ours))
    results["load, sorted"] |= {"one_bytes": one_bytes, "our_bytes": our_bytes}
    return [{"rows": rows, "case": case, **result} for case, result in results.items()]


def describe_machine() -> dict[str, Any]:
    packages = ("polars-alf", "ONE-api", "pandas", "pyarrow", "polars", "numpy")
    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def print_table(results: list[dict[str, Any]]) -> None:
    print("| rows | case | ONE (s) | ours (s) | ratio | spread | ONE (MB) | ours (MB) |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for row in results:
        memory = [f"{row[k] / 1e6:.0f}" if k in row else "" for k in ("one_bytes", "our_bytes")]
        print(
            f"| {row['rows']:,} | {row['case']} | {row['one_s']:.3f} | {row['ours_s']:.3f} "
            f"| {row['ratio']:.1f} | {row['ratio_min']:.1f} to {row['ratio_max']:.1f} "
            f"| {' | '.join(memory)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[70_000, 680_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to keep the results with their machine")
    options = parser.parse_args()
    machine = describe_machine()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            results += bench(rows, options.repeats, Path(folder))
    print(json.dumps(machine))
    print_table(results)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
