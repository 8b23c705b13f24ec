"""Tables and files around a removal."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl

from polars_alf.tables import files

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"
DATASETS = [
    "_ibl_trials.intervals_bpod.csv",
    "alf/probe00/#2024-05-06#/spikes.times.npy",
    "alf/spikes.times.npy",
]
"""What `SESSION` has, in the order of the paths."""


def sessions_table(*rows: tuple[str, str, str, date, int]) -> pl.DataFrame:
    """Make a sessions table of id, lab, subject, date and number."""
    schema = {
        "id": pl.String,
        "lab": pl.String,
        "subject": pl.String,
        "date": pl.Date,
        "number": pl.UInt16,
    }
    return pl.DataFrame(rows, schema, orient="row")


def datasets_table(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    """Make a datasets table of eid and rel_path."""
    return pl.DataFrame(rows, {"eid": pl.String, "rel_path": pl.String}, orient="row")


def tables_of(eid: str, lab: str, number: int = 1, *rel_paths: str) -> dict[str, pl.DataFrame]:
    """Make the tables of one session of KS001 on 2020-01-01."""
    return {
        "sessions": sessions_table((eid, lab, "KS001", date(2020, 1, 1), number)),
        "datasets": datasets_table(*((eid, path) for path in rel_paths or DATASETS)),
    }


def files_of(root: Path) -> set[str]:
    """Return all but folders, links not followed, and none of our own."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if (path.is_symlink() or not path.is_dir())
        and files.STATE_DIR not in path.parts
        and path.suffix != ".pqt"
    }


def list_names(plan: pl.DataFrame, kind: str = "dataset") -> list[str]:
    return plan.filter(kind=kind)["path"].to_list()


def list_results(outcomes: pl.DataFrame) -> dict[str, str]:
    return dict(outcomes.select("path", "result").iter_rows())


def read_log(folder: Path) -> list[dict[str, object]]:
    text = files.removals_path(folder).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


STRAY = f"{KS001}/alf/stray1.times.npy"
