"""Damage tables again and again, and see what every reader makes of it: `python … FOLDER JOB`.

In a process of its own, whose memory and time are limited. Prints a line of JSON for each damage,
with the outcome of each command, before the next one begins: the last line tells what ended it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from damage import (
    BOMBS,
    cut_out,
    damage_tables,
    flip_bits,
    plant_bomb,
    put_huge,
    truncate,
    zero,
)

import polars_alf
from polars_alf import cache, schema
from polars_alf.errors import PolarsAlfError, TableError
from polars_alf.index.report import read_run
from polars_alf.tables import files

ROOM = 1 << 30
"""Bytes that a process may take beyond what it has when all is loaded."""

SECONDS = 30
"""A command that takes longer ends the process. They take a few hundredths."""


def main(folder: Path, job: str) -> None:
    archive = folder / "archive"
    if job.startswith("state"):
        _, seed, count = job.split()
        damage_state(archive, random.Random(int(seed)), int(count))
        return
    tables = {name: files.table_path(archive, name).read_bytes() for name in schema.TABLES}
    commands = list_commands(folder)
    truth = {name: command() for name, command in commands.items()}
    limit_memory()
    for what, damaged in list_damages(job, tables):
        print(what, end="\t", flush=True)
        for name, content in damaged.items():
            files.table_path(archive, name).write_bytes(content)
        outcomes = {name: judge(command, truth[name]) for name, command in commands.items()}
        print(json.dumps(outcomes), flush=True)


def damage_state(archive: Path, rng: random.Random, count: int) -> None:
    """Damage one file of the state at a time, and do what reads it."""
    commands: dict[str, Callable[[], Any]] = {
        "issues": lambda: rows(files.scan_issues(archive)),
        "changes": lambda: rows(files.scan_changes(archive)),
        "plan": lambda: rows(polars_alf.plan_removals(archive).drop("tables")),
        "info": lambda: bool(read_run(archive)),
        "quick": lambda: polars_alf.index_archive(archive, quick=True, jobs=1).n_datasets,
        "index": lambda: polars_alf.index_archive(archive, hash_files=True, jobs=1).n_datasets,
    }
    truth = {name: command() for name, command in commands.items()}
    limit_memory()
    state = archive / files.STATE_DIR
    whole = shutil.copytree(state, archive.with_name("state"))
    for number in range(count):
        shutil.rmtree(state)
        shutil.copytree(whole, state)
        paths = sorted(f for f in state.rglob("*") if f.is_file() and f.stat().st_size > 32)
        file = rng.choice(paths)
        damage = rng.choice((flip_bits, zero, truncate, cut_out, put_huge))
        file.write_bytes(damage(rng, file.read_bytes()))
        print(f"{number} {damage.__name__} {file.name}", end="\t", flush=True)
        outcomes = {name: judge(command, truth[name]) for name, command in commands.items()}
        print(json.dumps(outcomes), flush=True)


def list_damages(job: str, tables: dict[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    if job == "bombs":
        for bomb, text in BOMBS.items():
            for key in ("one_metadata", "pandas", "polars_alf", "ARROW:schema", "polars_alf_seal"):
                for name, content in tables.items():
                    bombed = {**tables, name: plant_bomb(content, key, text)}
                    yield f"bomb {bomb} in {key} of {name}", bombed
    else:
        kind, seed, count = job.split()
        if kind == "foreign":
            tables = {name: write_anew(content) for name, content in tables.items()}
        yield from damage_tables(int(seed), int(count), tables)


def write_anew(content: bytes) -> bytes:
    """Return a table as another program would have written it."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False), sink
    )
    return bytes(sink.getvalue())


def list_commands(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what is done with tables, each giving something that can be compared."""
    archive, copy, merged = (folder / name for name in ("archive", "copy", "merged"))
    query = "SELECT d.rel_path, s.subject FROM datasets d JOIN sessions s ON d.eid = s.id"
    return {
        "load": lambda: rows_of_cache(cache.load_tables(archive)),
        "scan_sessions": lambda: rows(polars_alf.scan_sessions(archive)),
        "scan_datasets": lambda: rows(polars_alf.scan_datasets(archive)),
        "scan_some": lambda: rows(
            polars_alf.scan_datasets(archive)
            .filter(pl.col("rel_path").str.contains("spikes"))
            .select("file_size")
        ),
        "merge": lambda: rows(polars_alf.merge_tables([archive, copy]).datasets),
        "merge_into": lambda: polars_alf.merge_tables([copy, archive], merged).n_datasets,
        "plan": lambda: rows(polars_alf.plan_removals(archive).drop("tables")),
        "verify": lambda: rows(polars_alf.verify_archive(archive, digest=True).findings),
        "info": lambda: (polars_alf.summarize_tables(archive).to_dict(), bool(read_run(archive))),
        "sql": lambda: rows(polars_alf.query_tables(archive, query)),
        "diff": lambda: rows(polars_alf.compare_tables(archive, copy).differences),
    }


def rows(frame: pl.DataFrame | pl.LazyFrame) -> str:
    return repr(sorted(map(repr, frame.lazy().collect().rows())))


def rows_of_cache(tables: Any) -> str:
    frames = (tables[name].reset_index().to_string() for name in schema.TABLES)
    return "\n".join(frames)


def judge(command: Callable[[], Any], truth: Any) -> str:
    """Return ``right``, ``other`` (another answer), ``typed`` (an error of ours), or the error."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        return "right" if command() == truth else "other"
    except TableError:
        return "typed"
    except PolarsAlfError as error:
        return f"typed {type(error).__name__}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        faulthandler.cancel_dump_traceback_later()


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    place = Path(sys.argv[1])
    main(place, sys.argv[2])
    shutil.rmtree(place)
