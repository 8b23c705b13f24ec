"""A second index of the same archive: `python benchmarks/bench_refresh.py ARCHIVE`.

ARCHIVE is one that may be changed: a file is added to some of its sessions, and removed again. Its
folders have to be older than a few seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from machine import describe_machine
from measure import time_command

ADDED = "_bench_refresh.added.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    root = options.archive.resolve()
    sessions = sorted(path.parent for path in root.glob("*/Subjects/*/*/*/alf"))
    some = sessions[:: max(len(sessions) // 100, 1)]
    with tempfile.TemporaryDirectory() as folder:
        out_dir = Path(folder, "tables")
        command = [sys.executable, "-m", "polars_alf", "index", str(root), "--json", "--quiet"]
        command += ["--out", str(out_dir)]

        def index(*more: str) -> tuple[float, dict[str, int] | None]:
            seconds, stdout = time_command([*command, *more])
            return seconds, json.loads(stdout)["changes"]

        def full() -> tuple[float, dict[str, int] | None]:
            shutil.rmtree(out_dir, ignore_errors=True)
            out_dir.mkdir()
            return index()

        def quick_with_changes() -> tuple[float, dict[str, int] | None]:
            for session in some:
                (session / ADDED).touch()
            result = index("--quick")
            for session in some:
                (session / ADDED).unlink()
            index()
            return result

        cases = {
            "full index": full,
            "refresh, nothing changed": index,
            "quick, nothing changed": lambda: index("--quick"),
            f"quick, {len(some)} sessions have a new file": quick_with_changes,
        }
        full()
        times: dict[str, list[float]] = {name: [] for name in cases}
        found: dict[str, dict[str, int] | None] = {}
        for turn in range(options.rounds):
            for name, run in cases.items():
                seconds, found[name] = run()
                times[name].append(seconds)
                print(f"{turn + 1:3} {name}: {seconds:.2f} s", file=sys.stderr)
    print(f"{describe_machine()}; warm cache; medians of {options.rounds} rounds in turn\n")
    print("| | seconds | min to max | of a full index | changes |")
    print("|---|---:|---:|---:|---|")
    whole = statistics.median(times["full index"])
    for name, seconds_of in times.items():
        median = statistics.median(seconds_of)
        changes = ", ".join(f"{n:,} {what}" for what, n in (found[name] or {}).items() if n)
        print(
            f"| {name} | {median:.2f} | {min(seconds_of):.2f} to {max(seconds_of):.2f} "
            f"| {median / whole:.2f} | {changes} |"
        )


if __name__ == "__main__":
    main()
