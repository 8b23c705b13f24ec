"""Parse rel_paths beside one.alf.path, and read tables, on one machine in one run.

    python benchmarks/bench_reading.py [--rows 5000000] [--repeats 5] [--json FILE]

Three vocabularies: few rel_paths that repeat, as an archive has them; each with a UUID of its own,
as servers store them; and each of its own up to the object, as none is. ONE parses a sample, row by
row; parts are compared on it, so that a fast wrong answer shows. The time of the processors, of all
threads together, says more than the clock where the machine has other work.

Reading is timed on tables of as many datasets: the whole, one session by a filter, and one column.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from machine import describe_machine
from one.alf.path import rel_path_parts

from polars_alf import join_sessions, scan_datasets, scan_sessions, with_alf_parts
from polars_alf.alf.ids import expr_uuid3
from polars_alf.tables.contract import Origin
from polars_alf.tables.rows import complete_datasets
from polars_alf.tables.transaction import locked_state, staged

SAMPLE = 20_000
DATASETS_PER_SESSION = 50
ROWS_PER_GROUP = 262_144

COLLECTIONS = (
    "",
    "alf/",
    "alf/#2023-04-20#/",
    "alf/probe00/pykilosort/",
    "alf/probe01/pykilosort/#2024-05-06#/",
    "raw_behavior_data/",
    "raw_ephys_data/probe00/",
    "raw_video_data/",
)
NAMES = (
    "_ibl_trials.intervals_bpod.npy",
    "_ibl_wheel.position.npy",
    "spikes.times.npy",
    "spikes.clusters.npy",
    "clusters.waveforms.npy",
    "_iblrig_leftCamera.raw.mp4",
    "_spikeglx_ephysData_g0_t0.imec0.ap.cbin",
    "_iblrig_taskSettings.raw.json",
    "channels._phy_ids.csv",
)


def make_rel_paths(rows: int) -> dict[str, pl.DataFrame]:
    """Make a column of rel_paths for each vocabulary."""
    row = pl.int_range(rows)
    collection = pl.lit(pl.Series(COLLECTIONS)).gather(row % len(COLLECTIONS))
    name = pl.lit(pl.Series(NAMES)).gather(row // len(COLLECTIONS) % len(NAMES))
    uid = expr_uuid3(row.cast(pl.String), uuid.NAMESPACE_OID)
    return {
        "few, repeated": pl.select(rel_path=collection + name),
        "a UUID in each": pl.select(
            rel_path=pl.concat_str(
                collection,
                name.str.extract(r"^(.*)\.").fill_null(""),
                pl.lit("."),
                uid,
                pl.lit("."),
                name.str.extract(r"([^.]*)$"),
            )
        ),
        "an object for each": pl.select(
            rel_path=pl.concat_str(collection, pl.lit("_ns_object"), row, pl.lit(".times.npy"))
        ),
    }


def clock(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median of the seconds that a call takes, and its last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def bench_parse(frame: pl.DataFrame, repeats: int) -> dict[str, float]:
    cpu = time.process_time()
    seconds, parsed = clock(lambda: with_alf_parts(frame.lazy()).collect(), repeats)
    cpu = (time.process_time() - cpu) / repeats / len(frame)
    sample = frame["rel_path"].head(SAMPLE).to_list()
    theirs, expected = clock(lambda: [rel_path_parts(path) for path in sample], 1)
    if parsed.head(SAMPLE).drop("rel_path").rows() != expected:
        sys.exit("error: the parts are not those of ONE")
    ours = len(frame) / seconds / 1e6
    return {
        "seconds": seconds,
        "cpu_us_per_row": cpu * 1e6,
        "million_rows_per_second": ours,
        "one": SAMPLE / theirs / 1e6,
    }


def write_tables(folder: Path, rel_paths: pl.DataFrame) -> Path:
    """Write tables of as many datasets, as an index of them would."""
    rows = len(rel_paths)
    number = pl.int_range(rows) // DATASETS_PER_SESSION
    datasets = rel_paths.select(
        eid=expr_uuid3(number.cast(pl.String), uuid.NAMESPACE_DNS),
        id=expr_uuid3(pl.int_range(rows).cast(pl.String), uuid.NAMESPACE_URL),
        rel_path="rel_path",
        file_size=pl.int_range(rows, dtype=pl.UInt64),
        hash=pl.lit(""),
    ).sort("eid", "id")
    datasets = complete_datasets(datasets.lazy()).collect()
    sessions = datasets.select(pl.col("eid").unique(maintain_order=True)).select(
        id="eid",
        lab=pl.lit("lab"),
        subject=pl.concat_str(pl.lit("KS"), pl.int_range(pl.len()) // 100),
        date=pl.lit(datetime(2020, 1, 1).date()),
        number=pl.lit(1, pl.UInt16),
        task_protocol=pl.lit(""),
        projects=pl.lit(""),
    )
    folder.mkdir()
    origin = Origin("benchmark", uuid.NAMESPACE_DNS, uuid.uuid4().hex, datetime.now())
    with locked_state(folder), staged(folder, origin, with_index=True) as staging:
        staging.write_table("sessions", [sessions], len(sessions))
        staging.write_table("datasets", datasets.iter_slices(ROWS_PER_GROUP), rows)
        staging.commit()
    return folder


def bench_reading(folder: Path, repeats: int) -> dict[str, float]:
    sessions, datasets = scan_sessions(folder), scan_datasets(folder)
    eid = sessions.select("id").last().collect().item()
    joined = with_alf_parts(join_sessions(datasets, sessions))
    queries = {
        "all datasets": datasets,
        "one session": datasets.filter(pl.col("eid") == eid),
        "one subject, with sessions and parts": joined.filter(pl.col("subject") == "KS7"),
        "bytes by collection": joined.group_by("collection").agg(pl.col("file_size").sum()),
        "the sum of a column": datasets.select(pl.col("file_size").sum()),
    }
    return {name: clock(query.collect, repeats)[0] for name, query in queries.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()

    print(f"{describe_machine()}, polars {version('polars')}, ONE-api {version('ONE-api')}\n")
    rel_paths = make_rel_paths(options.rows)
    print("| rel_paths | rows | s | million rows/s | CPU, µs/row | ONE, million rows/s |")
    print("|---|---:|---:|---:|---:|---:|")
    figures: dict[str, Any] = {}
    for name, frame in rel_paths.items():
        result = figures[name] = bench_parse(frame, options.repeats)
        print(
            f"| {name} | {options.rows:,} | {result['seconds']:.2f} "
            f"| {result['million_rows_per_second']:.1f} | {result['cpu_us_per_row']:.2f} "
            f"| {result['one']:.2f} |",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        tables = write_tables(Path(folder, "tables"), rel_paths["few, repeated"])
        print("\n| read | s |\n|---|---:|")
        for name, seconds in bench_reading(tables, options.repeats).items():
            figures[name] = seconds
            print(f"| {name} | {seconds:.3f} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
