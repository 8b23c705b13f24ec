"""Whole walks of an archive."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.alf.root import open_root
from polars_alf.schema import ENTRIES
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker


def walk(root: Path, **options: object) -> tuple[pl.DataFrame, pl.DataFrame, Walker]:
    """Walk a whole archive: its files as path and size, its issues as path and kind."""
    walker = Walker(open_root(root), WalkOptions(**options))  # type: ignore[arg-type]
    batches = list(walker.walk(sorted(walker.survey())))
    table = pa.Table.from_batches(batches, schema=ENTRIES)
    entries = pl.DataFrame(table).select(
        path=pl.concat_str(pl.col("directory", "name").cast(pl.String), separator="/"),
        file_size="file_size",
    )
    issues = pl.DataFrame(walker.issues()).select("path", "kind")
    return entries.sort("path"), issues, walker


def list_found(root: Path, **options: object) -> list[str]:
    return walk(root, **options)[0]["path"].to_list()


def list_issues(root: Path, **options: object) -> list[tuple[str, str]]:
    return sorted(walk(root, **options)[1].rows())
