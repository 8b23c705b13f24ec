"""Peak memory and time of commands by the number of datasets: `benchmarks/bench_commands.py`.

The tables are made by an index whose walk is synthetic, and `verify`, `prune` and the indexes that
keep rows of earlier tables walk the same archive, so that forty million datasets need no disk for
them; all else is the real thing. `diff` compares the tables with those of an archive of ten
sessions more. What a command found is checked.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine
from measure import measure_peak
from synthetic import TAKE_ITS_PLACE

FILES_PER_SESSION = 72
MORE_SESSIONS = 10

WALK = f"""{TAKE_ITS_PLACE}
import polars as pl, polars_alf
root, tables, more, out, n = *sys.argv[1:5], int(sys.argv[5])
"""

INDEX = "polars_alf.index_archive(root, tables, namespace='bench')"

NOTE = """
for name in ("sessions", "datasets"):
    frame = pl.scan_parquet(f"{tables}/{name}.pqt").with_columns(note=pl.lit("seen"))
    frame.sink_parquet(f"{out}/{name}.pqt")
"""

COMMANDS = {
    "verify": """
found = polars_alf.verify_archive(root, tables)
assert (found.n_checked, len(found.findings)) == (n, 0), found
""",
    "verify --sample 1%": """
found = polars_alf.verify_archive(root, tables, sample=0.01)
assert (found.n_checked, len(found.findings)) == (-(-n // 100), 0), found
""",
    "prune": "assert polars_alf.plan_removals(root, tables).is_empty()",
    "diff": f"""
found = polars_alf.compare_tables(tables, more).counts
added = found["datasets"]["added"]
assert added == sum(found["datasets"].values()) == {MORE_SESSIONS * FILES_PER_SESSION}, found
""",
    "info": "assert polars_alf.summarize_tables(tables).n_datasets == n",
    "index --ids-from": """
report = polars_alf.index_archive(root, out, ids_from=tables)
assert report.n_known_datasets == n, report
""",
    "index, columns kept": """
report = polars_alf.index_archive(root, out)
assert report.n_kept_datasets == n, report
""",
    "history": "assert len(polars_alf.read_history(tables))",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, nargs="+", default=[4_000_000, 40_000_000])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--folder", type=Path, help="for the tables, kept; on a disk with room")
    options = parser.parse_args()
    print(f"{describe_machine()}; {FILES_PER_SESSION} files a session\n")
    print("| command | datasets | seconds | peak memory (MB) |")
    print("|---|---:|---:|---:|")
    for wanted in options.datasets:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            measure(wanted, options.commands, options.folder or Path(scratch), Path(scratch))


def measure(wanted: int, commands: list[str], kept: Path, scratch: Path) -> None:
    """Measure commands on an archive of some datasets, and print a row for each."""
    n_sessions = round(wanted / FILES_PER_SESSION)
    folders = {
        more: kept / f"tables-{n_sessions + more}x{FILES_PER_SESSION}"
        for more in (0, MORE_SESSIONS)
    }
    for more, folder in folders.items():
        folder.mkdir(exist_ok=True)
        if not (folder / "datasets.pqt").exists():
            root = make_root(scratch, n_sessions + more)
            run(INDEX, root, folder, folder, scratch, 0)
    root = make_root(scratch, n_sessions)
    for name in commands:
        out = scratch / "out"
        out.mkdir()
        arguments = (root, folders[0], folders[MORE_SESSIONS], out, n_sessions * FILES_PER_SESSION)
        if "kept" in name:
            run(NOTE, *arguments)
        start = time.perf_counter()
        peak = run(COMMANDS[name], *arguments)
        seconds = time.perf_counter() - start
        subprocess.run(["rm", "-r", str(out)], check=True)
        n = n_sessions * FILES_PER_SESSION
        print(f"| {name} | {n:,} | {seconds:.1f} | {peak / 1e6:,.0f} |", flush=True)


def make_root(scratch: Path, n_sessions: int) -> Path:
    root = scratch / f"archive-{n_sessions}x{FILES_PER_SESSION}"
    root.mkdir(exist_ok=True)
    return root


def run(code: str, *arguments: object) -> int:
    """Run a command in a process of its own; return the peak of its memory."""
    return measure_peak([sys.executable, "-c", WALK + code, *map(str, arguments)])


if __name__ == "__main__":
    main()
