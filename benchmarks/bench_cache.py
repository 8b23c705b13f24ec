"""load_tables and merge_tables beside ONE's own, on one machine in one run.

    python benchmarks/bench_cache.py [--rows 70000 680000] [--repeats 5] [--json FILE]

ONE's function and ours take turns, on the same files and records. A ratio is the median of those
of the pairs; its spread is their extremes. Results are compared, so that a fast wrong answer
shows. Memory is the growth of a fresh process's peak while it loads. The seconds of processors
(CPU) tell the most where others use the machine too.

A merge into freshly loaded tables is followed by another like it, "again", as in a client that
stays open. Beyond a million rows ONE takes minutes for a round: there are two at most, and none
to warm up.
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
from collections.abc import Callable, Iterator
from functools import partial
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


def as_new_objects(records: pd.DataFrame, ids: list[str] | None = None) -> pd.DataFrame:
    """Give records ids of their own, as if from a database: none is shared with a table.

    They are those the records have, or the given ones for the datasets.
    """
    eids, old_ids = (records.index.get_level_values(name).map(str) for name in ("eid", "id"))
    arrays = [eids, old_ids if ids is None else ids]
    index = pd.MultiIndex.from_arrays(arrays, names=["eid", "id"])
    return ours.cast_index_object(records.set_index(index))


def clock(call: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Return the seconds that pass, and those of processors, beside the result."""
    gc.collect()
    start, start_cpu = time.perf_counter(), time.process_time()
    result = call()
    return (time.perf_counter() - start, time.process_time() - start_cpu), result


def compare(prepare: Callable[[Any], list[Callable[[], Any]]], rounds: range) -> list[Any]:
    """Time the steps that `prepare` makes for a module, in turns; round -1 warms up."""
    times: dict[Any, list[Any]] = {theirs: [], ours: []}
    for number in rounds:
        results = []
        for module in (theirs, ours) if number % 2 else (ours, theirs):
            seconds, made = zip(*map(clock, prepare(module)), strict=True)
            results.append(made[-1])
            if number >= 0:
                times[module].append(seconds)
        for name in ("sessions", "datasets"):
            assert_frame_equal(results[0][name], results[1][name])
        del results, made
    one, our = (zip(*times[module], strict=True) for module in (theirs, ours))
    return [summarize(*step) for step in zip(one, our, strict=True)]


def summarize(one: Any, our: Any) -> dict[str, Any]:
    (one_s, one_cpu_s), (our_s, our_cpu_s) = (zip(*pairs, strict=True) for pairs in (one, our))
    ratios = [slow / fast for slow, fast in zip(one_s, our_s, strict=True)]
    return {
        "one_s": statistics.median(one_s),
        "ours_s": statistics.median(our_s),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "one_cpu_s": statistics.median(one_cpu_s),
        "ours_cpu_s": statistics.median(our_cpu_s),
    }


def bench_load(folder: Path, rounds: range) -> list[Any]:
    return compare(lambda module: [lambda: module.load_tables(folder)], rounds)


def bench_merges(folder: Path, batches: list[Any], rounds: range) -> list[Any]:
    """Merge records into freshly loaded tables, one batch after the other."""

    def prepare(module: Any) -> list[Callable[[], Any]]:
        cache = ours.load_tables(folder)

        def merge(records: Any) -> Any:
            module.merge_tables(cache, datasets=records)
            return cache

        return [partial(merge, records.copy()) for records in batches]

    return compare(prepare, rounds)


def measure_memory(module: Any, small: Path, folder: Path) -> int:
    arguments = [sys.executable, "-c", MEMORY_PROBE, module.__name__, small, folder]
    return int(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)


def bench(rows: int, repeats: int, folder: Path) -> Iterator[dict[str, Any]]:
    rounds = range(-1, repeats) if rows <= 1_000_000 else range(min(repeats, 2))
    tables = make_tables(rows)
    in_order = write_tables(folder / "sorted", tables)
    shuffled = {name: table.sample(frac=1, random_state=0) for name, table in tables.items()}
    in_disorder = write_tables(folder / "shuffled", shuffled)
    tenth_of = np.arange(rows) % 10
    tables["datasets"] = tables["datasets"][tenth_of != 0]
    without_tenth = write_tables(folder / "without", tables)
    small = write_tables(folder / "small", make_tables(100))
    del tables, shuffled

    datasets = ours.load_tables(in_order).datasets
    tenth, other_tenth = (as_new_objects(datasets[tenth_of == n]) for n in (0, 1))
    new_tenth = as_new_objects(tenth, make_ids(np.random.default_rng(1), len(tenth)))
    record, other_record = (datasets.iloc[rows // n].copy() for n in (2, 3))
    new_record, newer_record = (record.rename((record.name[0], uuid.uuid4())) for _ in range(2))
    del datasets

    def name_steps(case: str, results: list[Any]) -> Iterator[dict[str, Any]]:
        for suffix, result in zip(("", ", again"), results, strict=False):
            yield {"rows": rows, "case": case + suffix, **result}

    (loaded,) = bench_load(in_order, rounds)
    for key, module in (("one_bytes", theirs), ("our_bytes", ours)):
        loaded[key] = measure_memory(module, small, in_order)
    yield from name_steps("load, sorted", [loaded])
    yield from name_steps("load, not sorted", bench_load(in_disorder, rounds))
    for case, start, batches in (
        ("merge, a tenth is new", without_tenth, [tenth, new_tenth]),
        ("merge, a tenth changes", in_order, [tenth, other_tenth]),
        ("merge, one record is new", in_order, [new_record, newer_record]),
        ("merge, one record changes", in_order, [record, other_record]),
    ):
        yield from name_steps(case, bench_merges(start, batches, rounds))


def describe_machine() -> dict[str, Any]:
    packages = ("polars-alf", "ONE-api", "pandas", "pyarrow", "polars", "numpy")
    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def print_row(row: dict[str, Any]) -> None:
    memory = [f"{row[key] / 1e6:.0f}" if key in row else "" for key in ("one_bytes", "our_bytes")]
    print(
        f"| {row['rows']:,} | {row['case']} | {row['one_s']:.3f} | {row['ours_s']:.3f} "
        f"| {row['ratio']:.1f} | {row['ratio_min']:.1f} to {row['ratio_max']:.1f} "
        f"| {row['one_cpu_s']:.3f} | {row['ours_cpu_s']:.3f} "
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
    print(json.dumps(machine))
    print(
        "| rows | case | ONE (s) | ours (s) | ratio | spread | ONE (CPU s) | ours (CPU s) "
        "| ONE (MB) | ours (MB) |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    results = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            for row in bench(rows, options.repeats, Path(folder)):
                print_row(row)
                results.append(row)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
