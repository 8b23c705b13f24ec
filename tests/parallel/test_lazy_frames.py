"""Programs that end while Polars reads a lazy frame of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from trees import SESSION, make_tree

from polars_alf import index_archive

BEGIN = """
import polars_alf

def begin(folder):
    batches = polars_alf.scan_datasets(folder).collect_batches()
    assert len(next(batches))
    return batches

"""

CODES = {
    "not kept": "begin({folder!r})",
    "kept": "batches = begin({folder!r})",
    "deleted": "batches = begin({folder!r}); del batches",
    "read": "assert sum(map(len, begin({folder!r}))) > 1_000_000",
    "several": "batches = [begin({folder!r}) for _ in range(3)]",
}


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_a_program_that_ends_meanwhile(tmp_path: Path, code: str) -> None:
    root = make_tree(tmp_path / "archive", {"S/2020-01-01/001": SESSION})
    index_archive(root)
    # Of another program, and of so many rows that Polars waits until some are taken.
    path = root / "datasets.pqt"
    pl.concat([pl.read_parquet(path)] * 400_000).write_parquet(path)
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", BEGIN + code.format(folder=str(root))],
            capture_output=True,
            text=True,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
