"""Index beside others, on storage that is crowded: `python benchmarks/bench_guest.py ARCHIVE`.

ARCHIVE is one of scripts/make_archive.py with `--subjects 5 --sessions 80` (28,800 files).
A library that tests/slow_storage.c makes has each call take a few milliseconds, and longer in
proportion where more calls are under way than are served at a time, those of all processes
together. Some threads in a process of their own, the others, examine files all the time: first
alone, then beside an index with a fixed number of threads, which does not back off, with the
number that the index finds itself, with `--nice`, where it backs off, and with a limit on its rate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from slow_storage import Load, build_library, find_obstacle, slow_down


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--milliseconds", type=float, default=4)
    parser.add_argument("--at-a-time", type=int, default=16)
    parser.add_argument("--others", type=int, default=8, help="calls that others have under way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examine", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.examine:
        examine_files(options.archive, options.examine, options.others)
        return
    if obstacle := find_obstacle():
        sys.exit(f"error: {obstacle}")
    archive = options.archive.resolve()
    rate = f"{options.at_a_time / options.milliseconds * 1000 / 2:.0f}"  # half of what is served
    cases: dict[str, list[str] | None] = {
        "alone": None,
        "--threads 128": ["--threads", "128"],
        "by default": [],
        "--nice": ["--nice"],
        f"--max-rate {rate}": ["--max-rate", rate],
    }
    latencies: dict[str, list[float]] = {case: [] for case in cases}
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    backoffs: dict[str, set[str]] = {case: set() for case in cases}
    found: set[object] = set()
    with tempfile.TemporaryDirectory() as folder:
        library = build_library(Path(folder))
        load = Load(Path(folder) / "load", options.at_a_time)
        environment = slow_down(library, archive, options.milliseconds, "buffer")
        environment = os.environ | environment | load.environment
        for turn in range(options.rounds):
            for case, arguments in cases.items():
                with start_others(archive, environment, options.others, Path(folder)) as others:
                    if arguments is None:
                        time.sleep(10)
                    else:
                        report = index(archive, folder, environment, arguments)
                        found.add(report["n_datasets"])
                        seconds[case].append(report["seconds"])
                        share = round(1 / report["least_share"])
                        backoffs[case].add(f"{report['n_backoffs']} (1/{share})")
                    latencies[case] += others.stop()
                print(f"{turn + 1:3} {case}", file=sys.stderr)
    print(
        f"{describe_machine()}; {options.milliseconds:g} ms a call, {options.at_a_time} served at "
        f"a time, others with {options.others} under way; {options.rounds} rounds in turn; "
        f"{', '.join(map(str, found))} datasets\n"
    )
    print("| index | median call of the others (ms) | 95 % below (ms) | index (s) | backed off |")
    print("|---|---|---|---|---|")
    for case, times in latencies.items():
        high = statistics.quantiles(times, n=20)[-1]
        taken = f"{statistics.median(seconds[case]):.1f}" if seconds[case] else ""
        print(
            f"| {case} | {1000 * statistics.median(times):.1f} | {1000 * high:.1f} | {taken} "
            f"| {', '.join(sorted(backoffs[case]))} |"
        )


def index(
    root: Path, folder: str, environment: dict[str, str], arguments: list[str]
) -> dict[str, float]:
    """Index anew; return the report."""
    command = [sys.executable, "-m", "polars_alf", "index", str(root), "--out", folder]
    command += ["--json", "--quiet", "--restart", *arguments]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    report: dict[str, float] = json.loads(output)
    return report


class start_others:  # noqa: N801  reads as a function where it is used
    """A context in which others examine files."""

    def __init__(
        self, root: Path, environment: dict[str, str], n_threads: int, folder: Path
    ) -> None:
        self._times = folder / "times"
        self._times.unlink(missing_ok=True)
        command = [sys.executable, __file__, str(root), "--examine", str(self._times)]
        self._process = subprocess.Popen(
            [*command, "--others", str(n_threads)], env=environment, stdin=subprocess.PIPE
        )

    def __enter__(self) -> start_others:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> list[float]:
        """Return the seconds that each call took."""
        self._process.communicate()
        times: list[float] = json.loads(self._times.read_text())
        return times


def examine_files(root: Path, to: Path, n_threads: int) -> None:
    """Examine files until the standard input ends; write the seconds that each call took."""
    paths = [path for path, _ in zip(root.rglob("*.*.*"), range(50), strict=False)]
    times: list[float] = []
    is_over = threading.Event()

    def examine(first: int) -> None:
        position = first
        while not is_over.is_set():
            begin = time.perf_counter()
            os.stat(paths[position % len(paths)])  # noqa: PTH116  the call is what is measured
            times.append(time.perf_counter() - begin)
            position += n_threads

    threads = [threading.Thread(target=examine, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    is_over.set()
    for thread in threads:
        thread.join()
    to.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
