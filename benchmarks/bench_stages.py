"""What of an index stays serial: `python benchmarks/bench_stages.py ARCHIVE`, or `--datasets N`.

Each stage is timed with one processor and with two, in turn, and time(p) = a + b / p is fitted to
its medians: `a` is what more processors do not help. From that follows what 16 and 64 processors
would take, for the archive and for a billion files of its kind: arithmetic, that nobody has seen.
The processor time of the main thread is the other measure of what stays serial in the survey and
in writing, where other threads do what is shared; a listing it shares itself. With `--datasets`
the walk is synthetic, and all that follows it is the real thing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_commands import FILES_PER_SESSION, make_root
from machine import describe_machine
from measure import make_environment
from synthetic import TAKE_ITS_PLACE

STAGES = ("start", "survey", "list", "write", "rest")
PROCESSORS = (1, 2)
PREDICTED = (16, 64)
BILLION = 1_000_000_000

INDEX = """
import json, os, sys, time
os.sched_setaffinity(0, range(int(sys.argv[3])))
begin = time.perf_counter()
from polars_alf.index import run
from polars_alf.walk.walk import Walk
import polars_alf
spent = dict.fromkeys(("survey", "list", "write"), 0.0)
main = {}
def time_calls(owner, name, stage):
    function = getattr(owner, name)
    def call(*arguments, **options):
        start, begun = time.perf_counter(), time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[stage] += time.perf_counter() - start
            if stage != "list":
                main[f"main {stage}"] = time.thread_time() - begun
    setattr(owner, name, call)
time_calls(Walk, "survey", "survey")
time_calls(run, "index_shards", "list")
time_calls(run, "write_tables", "write")
start = time.perf_counter()
report = polars_alf.index_archive(sys.argv[1], sys.argv[2])
rest = time.perf_counter() - start - sum(spent.values())
n_files = report.n_datasets + report.n_other_files
print(json.dumps({"start": start - begin, **spent, "rest": rest, **main, "n_files": n_files}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, nargs="?")
    parser.add_argument("--datasets", type=int, help="of a synthetic archive instead")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if (options.archive is None) == (options.datasets is None):
        parser.error("give an archive, or --datasets")
    if len(os.sched_getaffinity(0)) < max(PROCESSORS):
        sys.exit(f"error: {max(PROCESSORS)} processors are needed")
    measured: dict[tuple[int, str], list[float]] = {}
    n_files = 0
    for turn in range(options.rounds):
        for processors in PROCESSORS if turn % 2 else PROCESSORS[::-1]:
            found = index(options.archive, options.datasets, processors)
            n_files = int(found.pop("n_files"))
            for stage, seconds in found.items():
                measured.setdefault((processors, stage), []).append(seconds)
            print(f"{turn + 1:3} {processors}: {found}", file=sys.stderr)
    print(f"{describe_machine()}; {n_files:,} files; medians of {options.rounds} rounds in turn\n")
    show({key: statistics.median(seconds) for key, seconds in measured.items()}, n_files)


def index(archive: Path | None, n_datasets: int | None, processors: int) -> dict[str, float]:
    """Return the seconds of each stage of an index with so many processors."""
    with tempfile.TemporaryDirectory() as above:
        folder, code = Path(above, "tables"), INDEX
        folder.mkdir()
        if n_datasets is not None:
            archive = make_root(Path(above), round(n_datasets / FILES_PER_SESSION))
            code = TAKE_ITS_PLACE + INDEX
        arguments = (str(Path(archive or "").resolve()), str(folder), str(processors))
        command = [sys.executable, "-c", code, *arguments]
        output = subprocess.run(
            command, env=make_environment(), cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    return dict(json.loads(output))


def show(medians: dict[tuple[int, str], float], n_files: int) -> None:
    """Print what was measured, what was fitted, and what follows."""
    heads = [f"{n}" for n in PROCESSORS] + ["main thread", "serial (a)", "parallel (b)"]
    heads += [f"{n} (arithmetic)" for n in PREDICTED]
    heads += [f"10⁹ files, {n} (arithmetic)" for n in PREDICTED]
    print(f"| stage | {' | '.join(heads)} |")
    print("|---|" + "---:|" * len(heads))
    total = [0.0] * len(heads)
    for stage in STAGES:
        one, two = (medians[processors, stage] for processors in PROCESSORS)
        parallel = min(max(2 * (one - two), 0.0), one)
        serial = one - parallel
        scale = 1 if stage == "start" else BILLION / n_files
        times = [serial + parallel / n for n in PREDICTED]
        main = medians.get((2, f"main {stage}"), math.nan)
        row = [one, two, main, serial, parallel, *times, *(seconds * scale for seconds in times)]
        print(f"| {stage} | " + " | ".join(map(spell, row)) + " |")
        total = [before + more for before, more in zip(total, row, strict=True)]
    print("| all | " + " | ".join(map(spell, total)) + " |")
    print(f"\nOf the work with one processor {total[3] / total[0]:.0%} is serial.")


def spell(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds:,.2f}"


if __name__ == "__main__":
    main()
