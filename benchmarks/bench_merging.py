"""Merge many tables in bounded memory: `python benchmarks/bench_merging.py [FOLDER]`.

Each table has a million datasets. A tenth of its sessions are also in the table before it, with
the same ids; of these, one dataset in a hundred has another size, so it is in conflict. FOLDER
keeps the tables for another run; by default they are made anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
from machine import describe_machine
from measure import Answer, Contender, run_in_turn
from report import to_markdown

from polars_alf.alf.ids import expr_uuid3
from polars_alf.schema import DATASETS, polars_schema
from polars_alf.tables import contract, transaction

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "benchmark")
PER_SESSION = 20
SHARED = 10
"""One in so many sessions of a table is also in the one before it."""
ROWS_PER_GROUP = 262_144


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1_000_000, help="datasets of each table")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folders = [folder / f"tables_{number:03}" for number in range(options.tables)]
        for number, tables in enumerate(folders):
            if not (tables / "datasets.pqt").exists():
                make_tables(tables, number, options.rows)
        command = [sys.executable, "-m", "polars_alf", "merge", *map(str, folders)]
        command += ["--out", ".", "--json"]
        contender = Contender("polars-alf merge", command, tally)
        runs = run_in_turn([contender], options.rounds, folder / "merged")
    shape = f"{options.tables} tables of {options.rows:,} datasets"
    print(f"{describe_machine()}; {shape}; warm cache; {options.rounds} rounds\n")
    print(to_markdown(runs, "polars-alf merge"))


def tally(folder: Path) -> Answer:
    return {"datasets": json.loads((folder / "stdout").read_text())["n_datasets"]}


def make_tables(folder: Path, number: int, n_rows: int) -> None:
    """Write the tables of the archive of a number."""
    folder.mkdir(exist_ok=True)
    n_sessions = n_rows // PER_SESSION
    first = number * (n_sessions - n_sessions // SHARED)
    place = pl.int_range(first, first + n_sessions, eager=True).alias("place").to_frame()
    subject = pl.format("subject_{}", pl.col("place") // 100)
    day = pl.lit(datetime(2020, 1, 1)).dt.date() + pl.duration(days=pl.col("place") % 100)
    sessions = (
        place.with_columns(lab=pl.lit("cortexlab"), subject=subject, date=day)
        .with_columns(number=pl.lit(1, pl.UInt16), task_protocol=pl.lit(""), projects=pl.lit(""))
        .with_columns(name=pl.format("cortexlab/{}/{}/001", "subject", "date"))
        .with_columns(id=expr_uuid3(pl.col("name"), NAMESPACE))
        .sort("id")
    )
    created = datetime(2024, 1, 1 + number % 28, number // 28)
    origin = contract.Origin(f"/data/archive_{number:03}", NAMESPACE, uuid.uuid4().hex, created)
    with (
        transaction.locked_state(folder),
        transaction.staged(folder, origin, with_index=True) as staging,
    ):
        staging.write_table("sessions", [sessions], n_sessions)
        staging.write_table("datasets", make_datasets(sessions, number), n_sessions * PER_SESSION)
        staging.commit()


def make_datasets(sessions: pl.DataFrame, number: int) -> Iterator[pl.DataFrame]:
    """Yield the datasets of sessions, about a row group at a time."""
    for part in sessions.iter_slices(ROWS_PER_GROUP // PER_SESSION):
        files = pl.DataFrame({"file": range(PER_SESSION)})
        path = pl.format("alf/probe{}/_ibl_object{}.times.npy", pl.col("file") % 2, "file")
        size = pl.col("place") * 1_000 + pl.col("file")
        in_conflict = (pl.col("place") * PER_SESSION + pl.col("file")) % 100 == 0
        yield (
            part.select("place", "name", eid="id")
            .join(files, how="cross")
            .with_columns(rel_path=path)
            .with_columns(
                id=expr_uuid3(pl.concat_str("name", "rel_path", separator="/"), NAMESPACE),
                file_size=(size + pl.when(in_conflict).then(number).otherwise(0)).cast(pl.UInt64),
                hash=pl.lit(""),
                exists=pl.lit(value=True),
                qc=pl.lit("NOT_SET").cast(polars_schema(DATASETS)["qc"]),
            )
            .sort("eid", "id")
        )


if __name__ == "__main__":
    main()
