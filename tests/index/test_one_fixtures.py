"""The tables that ONE itself is tested with, laid out as a mirror with UUIDs in its names."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import one
import polars as pl
import pytest
from trees import make_tree

import polars_alf

FIXTURES = Path(one.__file__).parent / "tests" / "fixtures"


def read_fixture() -> pl.DataFrame:
    """Return the path of each session, and the path, id and size of its datasets."""
    if not FIXTURES.joinpath("datasets.pqt").exists():
        pytest.skip("this ONE-api has no tests/fixtures/datasets.pqt")
    table = pl.read_parquet(FIXTURES / "datasets.pqt")
    halves = table.select("id_0", "id_1").iter_rows()
    ids = [str(uuid.UUID(bytes=struct.pack("<qq", *pair))) for pair in halves]
    return table.select("session_path", "rel_path", pl.Series("id", ids))


def test_the_index_of_a_mirror_agrees_with_the_database(tmp_path: Path, out_dir: Path) -> None:
    known = read_fixture()
    assert known.height > 600
    tree = {}
    for number, (session, path, id_) in enumerate(known.iter_rows()):
        stem, dot, extension = path.rpartition(".")
        tree[f"{session}/{stem}.{id_}{dot}{extension}"] = number
    root = make_tree(tmp_path / "mirror", tree)
    report = polars_alf.index_archive(root, out_dir, uuid_filenames=True)
    joined = polars_alf.join_sessions(
        polars_alf.scan_datasets(out_dir), polars_alf.scan_sessions(out_dir)
    )
    found = joined.select(path=polars_alf.full_path(root), id="id", size="file_size").collect()
    # Paths have the numbers of sessions as ONE spells them.
    session = pl.col("session_path").str.replace(r"/(\d)$", "/00$1")
    expected = known.select(
        path=pl.concat_str(pl.lit(str(root)), session, "rel_path", separator="/"),
        id="id",
        size=pl.int_range(pl.len(), dtype=found.schema["size"]),
    )
    found, expected = found.sort("path"), expected.sort("path")
    assert found.drop("id").equals(expected.drop("id"))
    # The database has one id twice in a session: these have ids of their own, and are issues.
    is_single = ~expected["id"].is_duplicated()
    assert found.filter(is_single).equals(expected.filter(is_single))
    assert report.issues["ambiguous_id"] == (~is_single).sum()
    assert not report.issues.keys() & {"duplicate_dataset", "invalid_uuid"}
