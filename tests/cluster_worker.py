"""What a worker of `clusters.TestCluster` loads first: `index_shard` under the test's control."""

from __future__ import annotations

import os
import time
from pathlib import Path

from polars_alf import scanning
from polars_alf.spool import Receipt

FOLDER = Path(os.environ["POLARS_ALF_TEST_FOLDER"])


def mark(kind: str, task: scanning.ShardTask) -> None:
    (FOLDER / f"{kind}-{task.shard.name}-{os.getpid()}").touch()


def read(name: str) -> str | None:
    path = FOLDER / name
    return path.read_text() if path.exists() else None


def n_finished() -> int:
    return len([*FOLDER.glob("finished-*")])


def controlled(task: scanning.ShardTask) -> Receipt:
    mark("begun", task)
    if read("deadly") in task.shard.units:
        while not n_finished():
            time.sleep(0.01)
        os._exit(1)
    while (after := read("hold")) is not None and n_finished() >= int(after or 0):
        mark("held", task)
        time.sleep(0.01)
    receipt: Receipt = scanning.undisturbed(task)  # type: ignore[attr-defined]
    mark("finished", task)
    return receipt


# Dask loads this twice, the second time over the first.
if scanning.index_shard.__module__ == scanning.__name__:
    scanning.undisturbed = scanning.index_shard  # type: ignore[attr-defined]
    scanning.index_shard = controlled
