"""Pairs of tables, and a naive merge of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from hypothesis import strategies as st
from table_frames import Row, make_datasets, make_sessions

import polars_alf
import polars_alf.cache
from polars_alf.schema import DATASETS, polars_schema

NAMESPACE = "site"


def make_pair(sessions: Sequence[Row], datasets: Sequence[Row]) -> tuple[pl.DataFrame, ...]:
    return make_sessions(sessions), make_datasets(datasets)


def index(archive: Path, out_dir: Path, namespace: str = NAMESPACE) -> Path:
    out_dir.mkdir(parents=True, exist_ok=True)
    polars_alf.index_archive(archive, out_dir, namespace=namespace)
    return out_dir


def merge_naively(
    pairs: Sequence[tuple[list[Row], list[Row]]],
) -> tuple[set[Row], set[Row]]:
    """Return the sessions (id, subject) and datasets that stay."""
    subjects: dict[object, object] = {}
    for sessions, _ in pairs:
        for eid, subject in sessions:
            subjects.setdefault(eid, subject)
    ambiguous = set()
    for sessions, _ in pairs:
        seen: dict[object, object] = {}
        for eid in dict.fromkeys(eid for eid, _ in sessions):
            if seen.setdefault(subjects[eid], eid) != eid:
                ambiguous.add(subjects[eid])
    first: dict[object, object] = {}
    for eid, subject in subjects.items():
        first.setdefault(subject, eid)
    kept_eid = {
        eid: eid if subject in ambiguous else first[subject] for eid, subject in subjects.items()
    }
    datasets: list[Row] = []
    ids, paths = set(), set()
    for _, rows in pairs:
        for eid, *row in rows:
            kept = kept_eid.get(eid, eid)
            if (kept, row[0]) not in ids and (kept, row[1]) not in paths:
                ids.add((kept, row[0]))
                paths.add((kept, row[1]))
                datasets.append((kept, *row))
    return {(eid, subjects[eid]) for eid in kept_eid.values()}, set(datasets)


eids = st.sampled_from(["e0", "e1", "e2", "e3", "e4"])


pairs = st.lists(
    st.tuples(
        st.lists(st.tuples(eids, st.sampled_from(["s0", "s1", "s2"])), max_size=5),
        st.lists(
            st.tuples(
                eids,
                st.sampled_from(["d0", "d1", "d2"]),
                st.sampled_from(["p0", "p1", "p2"]),
                st.integers(0, 1),
            ),
            max_size=12,
        ),
    ),
    min_size=1,
    max_size=4,
)


def check_merged(
    merged: polars_alf.MergedTables, pairs: Sequence[tuple[list[Row], list[Row]]]
) -> None:
    sessions, datasets = merge_naively(pairs)
    found_sessions = merged.sessions.collect()
    found_datasets = merged.datasets.collect()
    columns = ["eid", "id", "rel_path", "file_size"]
    assert found_sessions.select("id", "subject").rows() == sorted(sessions)
    assert found_datasets.select(columns).rows() == sorted(datasets)
    assert found_datasets.schema == polars_schema(DATASETS)
    n_rows = sum(len(rows) for pair in pairs for rows in pair)
    n_kept = merged.n_sessions + merged.n_datasets
    assert n_kept == len(sessions) + len(datasets)
    assert n_rows == n_kept + merged.n_duplicates + merged.n_conflicts
    assert merged.n_conflicts == len(merged.conflicts.collect())
