"""Tables of several archives, or of parts of one, become one."""

from __future__ import annotations

import functools
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from table_frames import Row, make_datasets, make_sessions, write_tables
from trees import SESSION, make_tree

import polars_alf
import polars_alf.cache
from polars_alf import merge_tables, schema
from polars_alf.errors import (
    ArchiveBusyError,
    ArchiveNotFoundError,
    OptionError,
    TableError,
    TableNotFoundError,
    TableWarning,
)
from polars_alf.merge import api
from polars_alf.merge.buckets import plan_buckets
from polars_alf.query.scan import scan_pair
from polars_alf.schema import DATASETS, polars_schema
from polars_alf.tables import contract, files, transaction

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


@settings(deadline=None)
@given(pairs)
def test_frames_are_merged_as_said(pairs: list[tuple[list[Row], list[Row]]]) -> None:
    check_merged(merge_tables([make_pair(*pair) for pair in pairs]), pairs)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pairs, st.integers(1, 7))
def test_files_are_merged_as_frames_are(
    tmp_path: Path, pairs: list[tuple[list[Row], list[Row]]], size: int
) -> None:
    work = tmp_path / uuid.uuid4().hex
    folders = [
        write_tables(work / str(number), make_pair(*pair)) for number, pair in enumerate(pairs)
    ]
    out_dir = work / "merged"
    out_dir.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "plan_buckets", functools.partial(plan_buckets, rows_per_bucket=size))
        merged = merge_tables(folders, out_dir)
    check_merged(merged, pairs)
    state = out_dir / files.STATE_DIR
    assert sorted(path.name for path in state.iterdir()) == [
        "conflicts.arrow",
        "issues.arrow",
        "lock",
        "namespace",
    ]


def test_parts_of_an_archive_become_what_the_whole_is(archive: Path, tmp_path: Path) -> None:
    parts = [index(archive / lab, tmp_path / lab) for lab in ("cortexlab", "wittenlab")]
    whole = index(archive, tmp_path / "whole")
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    merged = merge_tables(parts, out_dir)
    assert (merged.n_duplicates, merged.n_conflicts) == (0, 0)
    for name in schema.TABLES:
        assert_frame_equal(
            pl.read_parquet(out_dir / f"{name}.pqt"), pl.read_parquet(whole / f"{name}.pqt")
        )
    headers = contract.read_headers(out_dir)
    assert headers["datasets"].origins == tuple(str(archive / part.name) for part in parts)
    assert headers["datasets"].namespace == contract.read_headers(whole)["datasets"].namespace


@pytest.mark.pandas
@pytest.mark.parametrize("hash_ids", [True, False])
def test_one_opens_merged_tables(archive: Path, tmp_path: Path, hash_ids: bool) -> None:
    from one.api import One

    folders = []
    for lab in ("cortexlab", "wittenlab"):
        folders.append(tmp_path / lab)
        folders[-1].mkdir()
        polars_alf.index_archive(archive / lab, folders[-1], hash_ids=hash_ids, namespace=NAMESPACE)
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    merge_tables(folders, out_dir)
    one = One(cache_dir=archive, tables_dir=out_dir, mode="local")
    found = one.search(lab="wittenlab")
    assert len(found) == 1
    assert len(one.search()) == 4
    assert len(one._cache.datasets) == 12
    if not hash_ids:
        return  # ONE finds sessions by such ids, but none of their datasets
    assert "alf/spikes.times.npy" in one.list_datasets(found[0])
    path = one.load_dataset(found[0], "_ibl_trials.intervals_bpod.csv", download_only=True)
    assert path == archive / "wittenlab/Subjects/KS001/2020-01-01/001" / path.name


def test_of_rows_with_one_id_the_first_or_the_newest_stays(tmp_path: Path) -> None:
    old = write_tables(tmp_path / "old", make_pair([("e", "s")], [("e", "d", "p", 1)]), 1)
    new = write_tables(tmp_path / "new", make_pair([("e", "s")], [("e", "d", "p", 2)]), 2)

    def sizes(tables: list[Path], **options: object) -> list[int]:
        merged = merge_tables(tables, **options)  # type: ignore[arg-type]
        return merged.datasets.collect()["file_size"].to_list()

    assert sizes([old, new]) == [1]
    assert sizes([new, old]) == [2]
    assert sizes([old, new], keep="newest") == [2]
    assert sizes([new, old], keep="newest") == [2]
    # Of the same minute, that which was written last.
    same = write_tables(tmp_path / "same", make_pair([("e", "s")], [("e", "d", "p", 3)]), 2)
    os.utime(same / "datasets.pqt", (1e9, 1e9))
    assert sizes([same, new], keep="newest") == [2]


def test_conflicts_say_what_was_left_out(tmp_path: Path) -> None:
    one = write_tables(
        tmp_path / "one", make_pair([("e", "s")], [("e", "a", "p", 1), ("e", "b", "q", 1)])
    )
    two = write_tables(
        tmp_path / "two", make_pair([("e", "t")], [("e", "a", "p", 2), ("e", "b", "r", 1)])
    )
    merged = merge_tables([one, two])
    conflicts = merged.conflicts.collect()
    assert set(conflicts["kept"]) == {str(one)}
    assert set(conflicts["dropped"]) == {str(two)}
    columns = ["table", "id", "differs", "kept_path", "dropped_path", "kept_size", "dropped_size"]
    assert conflicts.select(columns).rows() == [
        ("sessions", None, ["subject"], "lab/s/2024-05-06/001", "lab/t/2024-05-06/001", None, None),
        ("datasets", "a", ["file_size"], "p", "p", 1, 2),
        ("datasets", "b", ["rel_path"], "q", "r", 1, 1),
    ]
    counts = merged.sources.row(1, named=True)
    assert counts["datasets_conflict"] == 2
    assert counts["sessions_conflict"] == 1


def test_digests_and_sizes_that_one_table_lacks_are_no_conflict() -> None:
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1)])
    unknown = datasets.with_columns(hash=pl.lit(""), file_size=pl.lit(None, pl.UInt64))
    known = datasets.with_columns(hash=pl.lit("0" * 32))
    merged = merge_tables([(sessions, known), (sessions, unknown)])
    assert (merged.n_duplicates, merged.n_conflicts) == (2, 0)
    other = datasets.with_columns(hash=pl.lit("1" * 32))
    merged = merge_tables([(sessions, known), (sessions, other)])
    assert merged.conflicts.collect()["differs"].to_list() == [["hash"]]


def test_one_archive_in_two_namespaces_is_there_once(archive: Path, tmp_path: Path) -> None:
    folders = [index(archive, tmp_path / name, name) for name in ("a", "b")]
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    index(archive, folders[1], "b")
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    with pytest.warns(TableWarning, match="2 namespaces"):
        merged = merge_tables(folders, out_dir)
    assert (merged.n_sessions, merged.n_datasets) == (5, 15)
    first = polars_alf.scan_sessions(folders[0]).collect()
    assert set(first["id"]) < set(merged.sessions.collect()["id"])
    assert merged.namespace == contract.read_headers(folders[0])["datasets"].namespace
    assert set(merged.conflicts.collect()["table"]) == {"sessions"}


def test_two_folders_of_one_session_stay_two(tmp_path: Path) -> None:
    tree = {"lab/Subjects/KS001/2020-01-01": {"1": SESSION, "001": SESSION}}
    archive = make_tree(tmp_path / "archive", tree)
    folders = [index(archive, tmp_path / name, name) for name in ("a", "b")]
    with pytest.warns(TableWarning):
        merged = merge_tables(folders)
    assert (merged.n_sessions, merged.n_datasets) == (4, 12)


def test_merging_into_one_of_the_inputs_is_right(archive: Path, tmp_path: Path) -> None:
    cortex = index(archive / "cortexlab", tmp_path / "cortex")
    witten = index(archive / "wittenlab", tmp_path / "witten")
    assert merge_tables([cortex, witten], cortex).n_sessions == 4
    again = merge_tables([cortex, witten], cortex)
    assert (again.n_sessions, again.n_datasets, again.n_duplicates) == (4, 12, 4)
    with pytest.warns(TableWarning, match=r"cortexlab, .*wittenlab; they will be replaced"):
        assert merge_tables([witten], cortex).n_sessions == 1


def test_conflicts_go_with_the_tables_that_had_them(archive: Path, tmp_path: Path) -> None:
    first, second = (index(archive, tmp_path / name) for name in ("first", "second"))
    merge_tables([first, second], first)
    assert files.conflicts_path(first).exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "_remove_old", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index(archive, first)
    assert files.conflicts_path(first).exists()
    with transaction.locked_state(first):
        assert not files.conflicts_path(first).exists(), "the commit was finished"
    merge_tables([first, second], first)
    assert files.conflicts_path(first).exists()
    index(archive, first)
    assert not files.conflicts_path(first).exists()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", ["merge.sources", "verify.api"])
def test_a_table_that_goes_meanwhile_is_named(archive: Path, tmp_path: Path, command: str) -> None:
    tables = index(archive, tmp_path / "tables")
    commands = {
        "merge.sources": lambda: merge_tables(tables),
        "verify.api": lambda: polars_alf.verify_archive(archive, tables),
    }

    def scan_and_remove(*arguments: object) -> object:
        found = scan_pair(*arguments)  # type: ignore[arg-type]
        files.table_path(tables, "datasets").unlink()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"polars_alf.{command}.scan_pair", scan_and_remove)
        with pytest.raises(TableNotFoundError, match=r"tables has no datasets\.pqt"):
            commands[command]()


def test_issues_come_along(archive: Path, tmp_path: Path) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": {}})
    parts = [index(archive / lab, tmp_path / lab) for lab in ("cortexlab", "wittenlab")]
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    merge_tables(parts, out_dir)
    issues = files.scan_issues(out_dir).collect()
    assert issues["path"].to_list() == [f"{archive}/cortexlab/Subjects/KS001/2021-13-45"]


def test_tables_that_are_not_sorted_become_sorted(tmp_path: Path) -> None:
    rows = [(f"e{number % 7}", f"d{number}", f"p{number}", 1) for number in range(50)]
    sessions = [(f"e{number}", f"s{number}") for number in (3, 1, 6, 0, 5, 2, 4)]
    folder = write_tables(tmp_path / "a", make_pair(sessions, rows[::-1]))
    merged = merge_tables(folder)
    assert merged.datasets.collect().select("eid", "id").rows() == sorted(row[:2] for row in rows)


def test_columns_beyond_the_contract_are_left_out_with_a_warning() -> None:
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1)])
    with pytest.warns(TableWarning, match="default_revision"):
        merged = merge_tables([(sessions, datasets.with_columns(default_revision=True))])
    assert merged.datasets.collect_schema() == polars_schema(DATASETS)


def test_what_cannot_be_merged_is_said(archive: Path, tmp_path: Path) -> None:
    tables = index(archive, tmp_path / "tables")
    pair = make_pair([("e", "s")], [("e", "d", "p", 1)])
    with pytest.raises(OptionError, match="no tables"):
        merge_tables([])
    with pytest.raises(OptionError, match="oldest"):
        merge_tables([tables], keep="oldest")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="do not say when"):
        merge_tables([pair, tables], keep="newest")  # type: ignore[list-item]
    with pytest.raises(OptionError, match="neither a folder"):
        merge_tables([pair[0]])  # type: ignore[list-item]
    with pytest.raises(ArchiveNotFoundError):
        merge_tables([tmp_path / "nowhere"])
    with pytest.raises(ArchiveNotFoundError):
        merge_tables([tables], tmp_path / "nowhere")
    with pytest.raises(TableNotFoundError):
        merge_tables([tables, tmp_path])
    with pytest.raises(TableError, match=r"frames 2.*rel_path"):
        merge_tables([tables, (pair[0], pair[1].drop("rel_path"))])  # type: ignore[list-item]
    for column in ("eid", "id", "rel_path"):
        broken = pair[1].with_columns(pl.lit(None, pl.String).alias(column))
        with pytest.raises(TableError, match=f"frames 1 has .* without {column}"):
            merge_tables([(pair[0], broken)])  # type: ignore[list-item]
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    with transaction.locked_state(out_dir), pytest.raises(ArchiveBusyError):
        merge_tables([tables], out_dir)
    assert not (out_dir / "datasets.pqt").exists()


def test_a_broken_table_leaves_what_was_there(archive: Path, tmp_path: Path) -> None:
    tables, broken = index(archive, tmp_path / "a"), tmp_path / "b"
    shutil.copytree(tables, broken)
    file = broken / "datasets.pqt"
    content = file.read_bytes()
    # The footer is whole, the rows are not.
    file.write_bytes(b"PAR1" + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    before = (tables / "datasets.pqt").read_bytes()
    with pytest.raises(TableError):
        merge_tables([tables, broken], tables)
    assert (tables / "datasets.pqt").read_bytes() == before
    assert not list((tables / files.STATE_DIR).glob("run-*"))


def test_tables_that_are_replaced_meanwhile_are_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, out_dir = index(archive, tmp_path / "a"), tmp_path / "out"
    out_dir.mkdir()

    def replace(*arguments: object) -> pl.DataFrame:
        index(archive, tables)
        return plan_buckets(*arguments)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(api, "plan_buckets", replace)
    with pytest.raises(TableError, match="replaced while"):
        merge_tables([tables], out_dir)
    assert not (out_dir / "datasets.pqt").exists()


@pytest.mark.pandas
@pytest.mark.parametrize("size", [2, 1000])
def test_tables_of_one_1_are_merged_with_those_of_today(
    archive: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache_tables import halve_ids, write_table

    tables, old = index(archive, tmp_path / "tables"), tmp_path / "old"
    old.mkdir()
    cache = polars_alf.cache.load_tables(tables)
    sessions = halve_ids(cache["sessions"]).rename(columns={"projects": "project"})
    write_table(old / "sessions.pqt", sessions)
    write_table(old / "datasets.pqt", halve_ids(cache["datasets"]).drop(columns=["qc", "hash"]))
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    monkeypatch.setattr(api, "plan_buckets", functools.partial(plan_buckets, rows_per_bucket=size))
    merged = merge_tables([old, tables], out_dir)
    assert (merged.n_sessions, merged.n_datasets, merged.n_duplicates) == (4, 12, 16)
    for name in schema.TABLES:
        assert_frame_equal(
            pl.read_parquet(out_dir / f"{name}.pqt"), pl.read_parquet(tables / f"{name}.pqt")
        )
