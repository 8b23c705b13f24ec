"""The contract with ONE: columns, types, metadata, and headers of other programs' tables."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polars_alf import errors, index_archive, scan_sessions
from polars_alf.tables import contract

QC = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]


@pytest.mark.parametrize("hash_ids", [True, False])
def test_columns_and_types_are_those_of_one(archive: Path, hash_ids: bool) -> None:
    index_archive(archive, hash_ids=hash_ids, default_revisions=False)
    sessions = pq.read_schema(archive / "sessions.pqt")
    datasets = pq.read_schema(archive / "datasets.pqt")
    expected = {
        "lab": pa.string(),
        "subject": pa.string(),
        "date": pa.date32(),
        "number": pa.uint16(),
        "task_protocol": pa.string(),
        "projects": pa.string(),
    }
    identifier = {"id": pa.string()}
    expected = expected | identifier if hash_ids else identifier | expected
    assert list(zip(sessions.names, sessions.types, strict=True)) == list(expected.items())
    expected = {
        "rel_path": pa.string(),
        "file_size": pa.uint64(),
        "hash": pa.string(),
        "exists": pa.bool_(),
        "qc": pa.dictionary(pa.int8(), pa.string(), ordered=True),
    }
    identifier = {"eid": pa.string(), "id": pa.string()}
    expected = expected | identifier if hash_ids else identifier | expected
    assert list(zip(datasets.names, datasets.types, strict=True)) == list(expected.items())
    assert all(field.nullable for field in (*sessions, *datasets))
    qc = pq.read_table(archive / "datasets.pqt").column("qc")
    assert qc.combine_chunks().dictionary.to_pylist() == QC


@pytest.mark.parametrize("hash_ids", [True, False])
def test_metadata_is_that_of_one(archive: Path, hash_ids: bool) -> None:
    before = datetime.now().replace(second=0, microsecond=0)
    report = index_archive(archive, hash_ids=hash_ids, default_revisions=False)
    for name in ("sessions", "datasets"):
        metadata = pq.read_metadata(archive / f"{name}.pqt").metadata
        one = json.loads(metadata[b"one_metadata"])
        assert one.keys() == {"date_created", "origin"}
        assert one["origin"] == str(archive)
        created = datetime.strptime(one["date_created"], "%Y-%m-%d %H:%M")
        assert before <= created <= datetime.now()
        ours = json.loads(metadata[b"polars_alf"])
        assert ours["namespace"] == str(report.namespace)


def test_both_tables_name_one_generation(archive: Path) -> None:
    def generations() -> set[str]:
        return {
            json.loads(pq.read_metadata(archive / f"{name}.pqt").metadata[b"polars_alf"])[
                "generation"
            ]
            for name in ("sessions", "datasets")
        }

    index_archive(archive)
    first = generations()
    index_archive(archive, restart=True)
    assert len(first) == len(generations()) == 1
    assert generations() != first


@pytest.mark.parametrize("one_metadata", [b"{", b"[]", b"\xff"])
def test_metadata_that_is_no_json(tables: Path, one_metadata: bytes) -> None:
    path = tables / "sessions.pqt"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"one_metadata": one_metadata}), path)
    with pytest.raises(errors.TableError, match=r"sessions.pqt: its metadata one_metadata is"):
        scan_sessions(tables)


@pytest.mark.parametrize(
    ("origin", "origins"),
    [("/data", ("/data",)), (["a", "b"], ("a", "b")), (None, ()), ("", ()), (5, ())],
)
def test_origins_of_any_kind(tables: Path, origin: object, origins: tuple[str, ...]) -> None:
    path = tables / "sessions.pqt"
    metadata = {b"one_metadata": json.dumps({"origin": origin}).encode(), b"pandas": b"{}"}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    assert contract.read_header(path).origins == origins
    assert scan_sessions(tables).collect().height == 4


def test_tables_of_two_runs(tables: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    index_archive(tables, other)
    shutil.copy(other / "datasets.pqt", tables)
    with pytest.raises(errors.TornPairError, match="different runs"):
        scan_sessions(tables)


def test_headers_say_where_tables_come_from(tables: Path) -> None:
    header = contract.read_header(tables / "sessions.pqt")
    assert header.origins == (str(tables),)
    assert header.one["origin"] == str(tables)
    assert header.index == ("id",)
    assert json.loads(pq.read_metadata(header.path).metadata[b"polars_alf"]) == {
        "generation": header.generation,
        "namespace": str(header.namespace),
    }
