"""The survey of many subjects or dates: `python benchmarks/bench_survey.py`.

Trees of empty folders are made, and what comes before the first file is read is timed in a process
of its own: the survey, without and with a pattern that excludes nothing, and the plan of the
shards. GNU find lists as many levels in turn with it. The number of dated folders that each found
is checked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from machine import describe_machine
from measure import make_environment

SURVEY = """
import json, resource, sys, time
from polars_alf.alf.root import open_root
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walk import open_walk
with open_walk(open_root(sys.argv[1]), WalkOptions(exclude=sys.argv[2:])) as walk:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    survey = walk.survey()
    surveyed = time.perf_counter()
    shards = walk.plan_shards(survey.folders)
    planned = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "n": sum(shard.n_folders for shard in shards),
    "survey": surveyed - start,
    "plan": planned - surveyed,
    "mb": (after - before) / 1024,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="for the trees; on the disk to measure")
    parser.add_argument("--dates", type=int, default=500_000, help="dated folders, 100 a subject")
    parser.add_argument("--subjects", type=int, default=200_000, help="with one dated folder each")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{describe_machine()}; medians of {options.rounds} rounds in turn, in seconds\n")
    print(
        "| subjects | dated folders | survey | with a pattern | plan | more memory (MB) "
        "| GNU find |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for n_subjects, n_dates in ((options.dates // 100, 100), (options.subjects, 1)):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            root = Path(folder, "archive")
            make_tree(root, n_subjects, n_dates)
            measure(root, n_subjects, n_dates, options.rounds)
            shutil.rmtree(root)


def make_tree(root: Path, n_subjects: int, n_dates: int) -> None:
    days = [date(2020, 1, 1) + timedelta(days=day) for day in range(n_dates)]
    for n in range(n_subjects):
        subject = root / f"lab{n % 10}" / "Subjects" / f"S{n:06}"
        subject.mkdir(parents=True)
        for day in days:
            (subject / str(day)).mkdir()


def measure(root: Path, n_subjects: int, n_dates: int, rounds: int) -> None:
    """Print a row for a tree."""
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        n_dated = n_subjects * n_dates
        with_pattern = {"pattern": survey(root, n_dated, "nothing.is.called.so")["survey"]}
        for name, seconds in {**survey(root, n_dated), **with_pattern, **find(root)}.items():
            seen.setdefault(name, []).append(seconds)
    medians = {name: statistics.median(values) for name, values in seen.items()}
    figures = f"{medians['survey']:.2f} | {medians['pattern']:.2f} | {medians['plan']:.2f}"
    figures += f" | {medians['mb']:.0f}"
    print(
        f"| {n_subjects:,} | {n_subjects * n_dates:,} | {figures} | {medians['find']:.2f} |",
        flush=True,
    )


def survey(root: Path, n_dated: int, *patterns: str) -> dict[str, float]:
    """Return what a survey takes that excludes some patterns."""
    command = [sys.executable, "-c", SURVEY, str(root), *patterns]
    output = subprocess.run(
        command, env=make_environment(), capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(output)
    assert found.pop("n") == n_dated, found
    return dict(found)


def find(root: Path) -> dict[str, float]:
    """Return the seconds that GNU find takes for the dated folders, which it does not enter."""
    start = time.perf_counter()
    command = ["find", str(root), "-maxdepth", "4", "-fprintf", "/dev/null", "%P"]
    subprocess.run(command, check=True)
    return {"find": time.perf_counter() - start}


if __name__ == "__main__":
    main()
