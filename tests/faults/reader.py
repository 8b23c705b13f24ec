"""Read tables again and again, until a file tells to stop; tell how often, and what was wrong.

``reader.py KIND FOLDER STOP``. Every generation of the tables has three datasets for each session.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


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

    one = One(cache_dir=folder, mode="local", silent=True)
    tables = one._cache
    assert len(tables["sessions"])
    assert len(tables["datasets"]) % 3 == 0
    return tables["sessions"].index, list(tables["sessions"].index) * 3


READERS: dict[str, Callable[[Path], tuple[Iterable[object], Iterable[object]]]] = {
    "cache": read_cache,
    "frames": read_frames,
    "one": read_one,
    "client": read_client,
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
