"""Compare the index of an archive with ONE's own: `python benchmarks/bench_index.py ARCHIVE`.

ARCHIVE is one that scripts/make_archive.py made, without odd cases: ONE stops at those.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from pathlib import Path

from measure import Contender, describe_machine, run_in_turn, to_markdown

ONE = """
import sys
from one.alf.cache import make_parquet_db
import pyarrow.parquet as pq
print(pq.read_metadata(make_parquet_db(sys.argv[1], sys.argv[2])[1]).num_rows)
"""
OURS = """
import sys
from polars_alf import index_archive
print(index_archive(sys.argv[1], sys.argv[2]).n_datasets)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contenders = {}
        for name, package, code in (
            ("polars_alf", "polars-alf", OURS),
            ("ONE", "ONE-api", ONE),
        ):
            out_dir = Path(folder, name)
            out_dir.mkdir()
            version = importlib.metadata.version(package)
            command = [sys.executable, "-c", code, str(options.archive), str(out_dir)]
            contenders[f"{name} {version}"] = Contender(command, int, version)
        runs = run_in_turn(contenders, options.rounds)
    print(f"{describe_machine()}; warm cache; {options.rounds} rounds in turn\n")
    print(to_markdown(runs, list(contenders)[-1]))


if __name__ == "__main__":
    main()
