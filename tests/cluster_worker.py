"""What a worker of `clusters.TestCluster` loads first: `index_shard` under the test's control."""

from __future__ import annotations

import os
import time
from pathlib import Path

from polars_alf.index import shard
from polars_alf.walk.shard_files import Receipt

FOLDER = Path(os.environ["POLARS_ALF_TEST_FOLDER"])


def mark(kind: str, task: shard.ShardTask) -> None:
    (FOLDER / f"{kind}-{task.shard.name}-{os.getpid()}").touch()


def read(name: str) -> str | None:
    path = FOLDER / name
    return path.read_text() if path.exists() else None


def n_finished() -> int:
    return len([*FOLDER.glob("finished-*")])


def controlled(task: shard.ShardTask) -> Receipt:
    mark("begun", task)
    if read("deadly") in task.shard.units:
        while not n_finished():
            time.sleep(0.01)
        os._exit(1)
    while (after := read("hold")) is not None and n_finished() >= int(after or 0):
        mark("held", task)
        time.sleep(0.01)
    receipt: Receipt = shard.undisturbed(task)  # type: ignore[attr-defined]
    mark("finished", task)
    return receipt


# Dask loads this twice, the second time over the first.
if shard.index_shard.__module__ == shard.__name__:
    shard.undisturbed = shard.index_shard  # type: ignore[attr-defined]
    shard.index_shard = controlled
