"""Digests in the tables' own files: what they cover, and what becomes of them elsewhere."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree

from polars_alf import index_archive, scan_datasets, scan_sessions
from polars_alf.errors import NoSessionsWarning, TableError
from polars_alf.tables.checksums import KEY
from polars_alf.tables.parquet import open_table, scan_table


def test_every_byte_is_covered(path: Path) -> None:
    content = path.read_bytes()
    whole = pq.read_table(path).to_pylist()
    for position in range(len(content)):
        with path.open("r+b") as file:
            file.seek(max(position - 1, 0))
            file.write(content[max(position - 1, 0) : position])
            file.write(bytes([content[position] ^ 0x10]))
        try:
            with open_table(path) as table:
                rows = table.read()
        except TableError:
            continue
        # Nobody looks at the first letters, and without their key the checksums are a text of no
        # meaning: the rows are those of another program then, but the same.
        assert table.checksums is None or position < 4
        assert rows.to_pylist() == whole


def test_only_what_is_read_is_checked(path: Path) -> None:
    column = pq.read_metadata(path).row_group(0).column(0)
    assert column.path_in_schema == "rel_path"
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + 30] ^= 1
    path.write_bytes(content)
    scanned = scan_table(path)
    assert len(scanned.select("eid", "file_size").collect()) == 12
    for query in (scanned, scanned.filter(pl.col("rel_path") == "x").select("eid")):
        with pytest.raises(TableError, match="row group 0 is not what was written"):
            query.collect()


def test_other_programs_read_it_and_drop_it(path: Path) -> None:
    ours, content = pl.read_parquet(path), path.read_bytes()
    assert_frame_equal(scan_table(path).collect(), ours)
    for write in (
        lambda: pq.write_table(pq.read_table(path), path),
        lambda: pq.write_table(pq.ParquetFile(path).read(), path),
        lambda: pq.write_table(pq.ParquetFile(path).read(), path, store_schema=False),
        lambda: pl.read_parquet(path).write_parquet(path),
    ):
        path.write_bytes(content)
        write()
        with open_table(path) as table:
            assert table.checksums is None
        assert_frame_equal(scan_datasets(path.parent).collect()["rel_path"].to_frame(),
                           ours.select("rel_path"))  # fmt: skip


def test_names_may_spell_the_key(tmp_path: Path) -> None:
    lab = f"{KEY.decode()}{'0' * 16}"
    root = make_tree(tmp_path / "archive", {f"{lab}/Subjects/S/2020-01-01/001": SESSION})
    index_archive(root)
    assert scan_sessions(root).collect()["lab"].to_list() == [lab]
    assert scan_datasets(root).collect().height == 3


def test_tables_without_rows_have_checksums(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", {"empty": {}})
    with pytest.warns(NoSessionsWarning):
        index_archive(root)
    assert scan_datasets(root).collect().is_empty()
    with open_table(root / "sessions.pqt") as table:
        assert table.checksums is not None
