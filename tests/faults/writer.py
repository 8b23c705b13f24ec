"""Write tables again and again: ``writer.py KIND ARCHIVE ROUNDS``, each time with other sessions.

Who is refused tries again. Prints how often that was, when the tables were written so often.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import uuid
import warnings
from pathlib import Path

SUBJECTS = "lab/Subjects"
REL_PATHS = ("alf/spikes.times.npy", "alf/spikes.clusters.npy", "_ibl_trials.table.pqt")


def make_session(archive: Path, subject: str) -> None:
    # Made elsewhere and put in place as a whole, so that each has all of its datasets.
    beside = archive.parent / f"beside-{uuid.uuid4().hex}/2020-01-01/001"
    for rel_path in REL_PATHS:
        (beside / rel_path).parent.mkdir(parents=True, exist_ok=True)
        (beside / rel_path).write_bytes(b"content")
    (archive / SUBJECTS).mkdir(parents=True, exist_ok=True)
    beside.parent.parent.rename(archive / SUBJECTS / subject)


def index(archive: Path, n: int, *, removes: bool = False, **options: bool) -> None:
    import polars_alf

    make_session(archive, f"W{uuid.uuid4().hex[:8]}")
    if removes and n % 3 == 2:
        shutil.rmtree(next((archive / SUBJECTS).glob("W*")))
    # Sessions that ONE writes have no files, so that most of the rows may go.
    polars_alf.index_archive(archive, executor="serial", max_removed=1.0, **options)


def save_cache(archive: Path, n: int) -> None:
    import pandas as pd
    from one.api import One

    import polars_alf.one

    # ONE's own way to load could mix two generations, and then write what it has mixed.
    with polars_alf.one.enable():
        one = One(cache_dir=archive, mode="local")
        session = one._cache["sessions"].iloc[[0]].copy()
        eid = uuid.uuid4()
        session.index = pd.Index([eid], name="id")
        datasets = one._cache["datasets"].iloc[:3].copy()
        datasets.index = pd.MultiIndex.from_tuples(
            [(eid, uuid.uuid4()) for _ in range(3)], names=["eid", "id"]
        )
        import one.alf.cache as cache

        cache.merge_tables(one._cache, sessions=session, datasets=datasets)
        one.save_cache()


WRITERS = {
    "index": lambda archive, n: index(archive, n, removes=True),
    "hash": lambda archive, n: index(archive, n, hash_files=n % 2 == 0),
    "quick": lambda archive, n: index(archive, n, quick=True),
    "save": save_cache,
}


def main(kind: str, archive: str, rounds: str) -> None:
    from polars_alf.errors import ArchiveBusyError

    warnings.simplefilter("ignore")
    n_written = n_refused = 0
    while n_written < int(rounds):
        try:
            WRITERS[kind](Path(archive), n_written)
            n_written += 1
        except ArchiveBusyError:
            n_refused += 1
            time.sleep(0.01)
    print(json.dumps({"n_written": n_written, "n_refused": n_refused}))


if __name__ == "__main__":
    main(*sys.argv[1:])
