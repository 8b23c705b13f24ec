"""Read tables again and again, until a file tells to stop; tell how often, and what was wrong.

``reader.py KIND FOLDER STOP``. Every generation of the tables has three datasets for each session.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

Reader = Callable[[Path], tuple[Iterable[object], Iterable[object]]]

TRIES = 2


def read_cache(folder: Path) -> tuple[Iterable[object], Iterable[object]]:
    from polars_alf.cache import load_tables

    tables = load_tables(folder)
    return tables["sessions"].index, tables["datasets"].index.get_level_values("eid")


def read_frames(folder: Path) -> tuple[Iterable[object], Iterable[object]]:
    import polars_alf

    # One after the other, so that a commit may come between: each is whole.
    sessions = polars_alf.scan_sessions(folder).collect()
    datasets = polars_alf.scan_datasets(folder).collect()
    assert datasets.height % 3 == 0
    assert datasets["eid"].value_counts()["count"].unique().to_list() == [3]
    return sessions["id"], list(sessions["id"]) * 3


def read_bytes(folder: Path) -> tuple[Iterable[object], Iterable[object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # What is there at one instant is a whole file. Arrow's threads and buffers of Python's can end
    # a process as it exits (apache/arrow#34314).
    tables = {
        name: pq.ParquetFile(
            pa.py_buffer((folder / f"{name}.pqt").read_bytes()), pre_buffer=False
        ).read(use_threads=False)
        for name in ("sessions", "datasets")
    }
    assert tables["datasets"].num_rows % 3 == 0
    ids = tables["sessions"]["id"].to_pylist()
    return ids, ids * 3


def read_one(folder: Path) -> tuple[Iterable[object], Iterable[object]]:
    from one.alf.cache import load_tables

    tables = load_tables(folder)
    for name, n in (("sessions", 1), ("datasets", 3)):
        assert len(tables[name]) % n == 0
        assert len(tables[name]), name
    sessions = tables["sessions"].index
    return sessions, list(sessions) * 3


def read_client(folder: Path) -> tuple[Iterable[object], Iterable[object]]:
    from one.api import One

    tables = One(cache_dir=folder, mode="local")._cache
    assert len(tables["sessions"])
    assert len(tables["datasets"]) % 3 == 0
    return tables["sessions"].index, list(tables["sessions"].index) * 3


def again(read: Reader) -> Reader:
    """Read once more where ONE's reader fails: it opens a file twice, the second time for rows."""

    def read_twice(folder: Path) -> tuple[Iterable[object], Iterable[object]]:
        for _ in range(TRIES):
            with contextlib.suppress(OSError):
                return read(folder)
        return read(folder)

    return read_twice


READERS: dict[str, Reader] = {
    "cache": read_cache,
    "frames": read_frames,
    "bytes": read_bytes,
    "one": again(read_one),
    "client": again(read_client),
}


def main(kind: str, folder: str, stop: str) -> None:
    read, n_reads, sizes, wrong = READERS[kind], 0, set(), []
    read(Path(folder))
    print("ready", flush=True)
    while not Path(stop).exists():
        n_reads += 1
        try:
            sessions, eids = map(list, read(Path(folder)))
            assert len(set(sessions)) == len(sessions)
            assert set(eids) == set(sessions), "datasets and sessions are of two generations"
            assert len(eids) == 3 * len(sessions)
            sizes.add(len(sessions))
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}"[:300])
    print(json.dumps({"n_reads": n_reads, "n_sizes": len(sizes), "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
