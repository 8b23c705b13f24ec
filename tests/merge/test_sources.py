"""Tables that are missing, broken, replaced meanwhile, or old."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import polars as pl
import pytest
from merges import NAMESPACE, index, make_pair
from polars.testing import assert_frame_equal

import polars_alf
import polars_alf.cache
from polars_alf import index_archive, merge_tables, schema
from polars_alf.errors import (
    ArchiveBusyError,
    ArchiveNotFoundError,
    OptionError,
    TableError,
    TableNotFoundError,
)
from polars_alf.merge import api
from polars_alf.merge.buckets import plan_buckets
from polars_alf.query.scan import scan_pair
from polars_alf.tables import files, transaction


@pytest.mark.parametrize("command", ["merge.sources", "verify.tables"])
def test_a_table_that_goes_meanwhile_is_named(archive: Path, tmp_path: Path, command: str) -> None:
    tables = index(archive, tmp_path / "tables")
    commands = {
        "merge.sources": lambda: merge_tables(tables),
        "verify.tables": lambda: polars_alf.verify_archive(archive, tables),
    }

    def scan_and_remove(*arguments: object) -> object:
        found = scan_pair(*arguments)  # type: ignore[arg-type]
        files.table_path(tables, "datasets").unlink()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"polars_alf.{command}.scan_pair", scan_and_remove)
        with pytest.raises(TableNotFoundError, match=r"tables has no datasets\.pqt"):
            commands[command]()


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
        index_archive(archive, tables, namespace=NAMESPACE, restart=True)
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
