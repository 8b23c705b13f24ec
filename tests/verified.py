"""Archives against their tables."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import polars as pl
from table_frames import write_tables

import polars_alf
from polars_alf import verify_archive

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"
KS002 = "cortexlab/Subjects/KS002/2020-02-29/001"
SPIKES = "alf/spikes.times.npy"
TRIALS = "_ibl_trials.intervals_bpod.csv"
PROBE = "alf/probe00/#2024-05-06#/spikes.times.npy"


def find(archive: Path, tables: Path, **options: object) -> set[tuple[str, str]]:
    """Return kind and path of what is found of datasets and folders."""
    found = verify_archive(archive, tables, **options)  # type: ignore[arg-type]
    return set(found.findings.select("kind", "path").rows())


def rewrite(tables: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """Write a copy of tables with other datasets."""
    sessions = polars_alf.scan_sessions(tables).drop("origin").collect()
    datasets = polars_alf.scan_datasets(tables).drop("origin").collect()
    return write_tables(tables.parent / uuid.uuid4().hex, (sessions, change(datasets)))
