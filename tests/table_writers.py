"""One pair of tables, as each program writes it that may have had it in hand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cache_tables import halve_ids
from iblutil.io import parquet
from one.alf import cache as one_cache
from one.api import One

from polars_alf import merge_tables
from polars_alf.alf.grammar import QC
from polars_alf.schema import DATASETS, SESSIONS, polars_schema

EIDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"session {n}")) for n in range(2)]
IDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"dataset {n}")) for n in range(4)]

SESSIONS_TABLE = pl.DataFrame(
    [
        (EIDS[0], "lab", "KS1", date(2021, 2, 28), 1, "biased", "ibl"),
        (EIDS[1], "lab", "Éa", date(1999, 12, 31), 12, "", ""),
    ],
    polars_schema(SESSIONS),
    orient="row",
)

DATASETS_TABLE = pl.DataFrame(
    [
        (EIDS[0], IDS[0], "alf/spikes.times.npy", 2**53 + 1, "a" * 32, True, "PASS"),
        (EIDS[0], IDS[1], "alf/#2021-03-01#/spikes.times.npy", 0, "", True, "NOT_SET"),
        (EIDS[0], IDS[2], "alf/probe00/_ibl_é.times.npy", 2**40, "", False, "CRITICAL"),
        (EIDS[1], IDS[3], "alf/spikes.times.npy", 10, "b" * 32, True, "FAIL"),
    ],
    polars_schema(DATASETS),
    orient="row",
)

ONE_METADATA = {"date_created": "2024-01-02 03:04", "origin": "lab"}

Writer = Callable[[Path, pl.DataFrame, pl.DataFrame], None]
WRITERS: dict[str, Writer] = {}


def _writer(write: Writer) -> Writer:
    WRITERS[write.__name__.removeprefix("write_")] = write
    return write


# Frames, as the programs have them


def _index(frame: pl.DataFrame, name: str) -> pd.DataFrame:
    """Return a table as ONE has it, but for its ids, which are strings."""
    flat = pd.DataFrame(frame.to_dict(as_series=False))
    dtypes = {"sessions": one_cache.SESSIONS_COLUMNS, "datasets": one_cache.DATASETS_COLUMNS}
    index = {"sessions": ["id"], "datasets": ["eid", "id"]}
    return flat.astype(dtypes[name]).set_index(index[name]).sort_index()


def _write_pandas(
    folder: Path, sessions: pd.DataFrame, datasets: pd.DataFrame, metadata: Any = ONE_METADATA
) -> None:
    for name, frame in (("sessions", sessions), ("datasets", datasets)):
        parquet.save(folder / f"{name}.pqt", frame, metadata)


def _write_arrow(folder: Path, name: str, table: pa.Table) -> None:
    metadata = {"one_metadata": json.dumps(ONE_METADATA), **(table.schema.metadata or {})}
    pq.write_table(table.replace_schema_metadata(metadata), folder / f"{name}.pqt")


# Ours and ONE's


@_writer
def write_ours(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    merge_tables([(sessions, datasets)], folder)


@_writer
def write_one(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    one = One(cache_dir=folder, mode="local")
    one._cache["sessions"] = one_cache.cast_index_object(_index(sessions, "sessions"))
    one._cache["datasets"] = one_cache.cast_index_object(_index(datasets, "datasets"))
    one.save_cache(save_dir=folder, clobber=True)


@_writer
def write_make_parquet_db(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    _write_pandas(folder, _index(sessions, "sessions"), _index(datasets, "datasets"))


@_writer
def write_one_2(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """With columns for the copies of a database, and before QC had a type of its own."""
    old = (
        _index(datasets, "datasets")
        .astype({"qc": str})
        .assign(exists_aws=True, exists_flatiron=True, default_revision=True)
    )
    metadata = ONE_METADATA | {"min_api_version": "2.0.0", "origin": ["alyx"]}
    _write_pandas(folder, _index(sessions, "sessions"), old, metadata)


@_writer
def write_one_1_strings(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    metadata = ONE_METADATA | {"min_api_version": "1.5.0"}
    old_sessions = _index(sessions, "sessions").rename(columns={"projects": "project"})
    old_datasets = _index(datasets, "datasets").assign(session_path="lab/Subjects/x")
    _write_pandas(folder, old_sessions, old_datasets, metadata)


@_writer
def write_one_1_integers(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    old_sessions = halve_ids(one_cache.cast_index_object(_index(sessions, "sessions")))
    old_datasets = halve_ids(one_cache.cast_index_object(_index(datasets, "datasets")))
    old_datasets = old_datasets.reset_index(["eid_0", "eid_1"])
    _write_pandas(folder, old_sessions.rename(columns={"projects": "project"}), old_datasets)


# pandas


@_writer
def write_pandas(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """As `to_parquet` writes them: without what ONE notes."""
    _index(sessions, "sessions").to_parquet(folder / "sessions.pqt")
    _index(datasets, "datasets").to_parquet(folder / "datasets.pqt")


@_writer
def write_pandas_columns(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """With ids as columns and a count of rows, and dates and numbers as pandas infers them."""
    flat = _index(sessions, "sessions").reset_index()
    flat["date"] = pd.to_datetime(flat["date"])
    flat["number"] = flat["number"].astype(float)
    _write_pandas(folder, flat, _index(datasets, "datasets").reset_index().convert_dtypes())


@_writer
def write_pandas_arrow(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """With columns that pandas holds in Arrow, and UUID objects for ids."""
    frames = []
    for name, frame in (("sessions", sessions), ("datasets", datasets)):
        flat = _index(frame, name).convert_dtypes(dtype_backend="pyarrow")
        frames.append(one_cache.cast_index_object(flat))
    _write_pandas(folder, *frames)


@_writer
def write_pandas_unnamed(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    frames = [_index(sessions, "sessions"), _index(datasets, "datasets")]
    for frame in frames:
        frame.index.names = [None] * frame.index.nlevels
    _write_pandas(folder, *frames)


# Polars


@_writer
def write_polars(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    sessions.write_parquet(folder / "sessions.pqt")
    datasets.write_parquet(folder / "datasets.pqt")


@_writer
def write_polars_types(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """As `write_polars`, with the other types that a query may have left."""
    ids = pl.col("eid", "id").str.replace_all("-", "").str.decode("hex")
    sessions.with_columns(
        pl.col("id").str.replace_all("-", "").str.decode("hex"),
        pl.col("lab", "projects").cast(pl.Categorical),
        pl.col("date").cast(pl.Datetime("ms", "Europe/Berlin")).dt.offset_by("3h"),
        pl.col("number").cast(pl.Int64),
    ).write_parquet(folder / "sessions.pqt", metadata={"one_metadata": json.dumps(ONE_METADATA)})
    datasets.with_columns(
        ids,
        pl.col("file_size").cast(pl.Int64),
        pl.col("exists").cast(pl.UInt8),
        pl.col("qc").cast(pl.Categorical),
    ).write_parquet(folder / "datasets.pqt", metadata={"one_metadata": json.dumps(ONE_METADATA)})


# DuckDB


@_writer
def write_duckdb(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """With its own types: UUID, TIMESTAMPTZ, HUGEINT and ENUM."""
    outcomes = ", ".join(f"'{outcome.name}'" for outcome in QC)
    copy = f"(FORMAT parquet, KV_METADATA {{one_metadata: '{json.dumps(ONE_METADATA)}'}})"
    with duckdb.connect() as connection:
        connection.register("s", sessions.to_arrow())
        connection.register("d", datasets.with_columns(pl.col("qc").cast(pl.String)).to_arrow())
        connection.sql(f"CREATE TYPE outcome AS ENUM ({outcomes})")
        connection.sql("SET TimeZone = 'UTC'")
        connection.sql(
            "COPY (SELECT * REPLACE (id::UUID AS id, date::TIMESTAMPTZ AS date) FROM s) "
            f"TO '{folder}/sessions.pqt' {copy}"
        )
        connection.sql(
            "COPY (SELECT * REPLACE (eid::UUID AS eid, id::UUID AS id, qc::outcome AS qc, "
            f"file_size::DECIMAL(38, 0) AS file_size) FROM d) TO '{folder}/datasets.pqt' {copy}"
        )


@_writer
def write_duckdb_plain(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    with duckdb.connect() as connection:
        connection.register("s", sessions.to_arrow())
        connection.register("d", datasets.with_columns(pl.col("qc").cast(pl.String)).to_arrow())
        connection.sql(f"COPY s TO '{folder}/sessions.pqt' (FORMAT parquet)")
        connection.sql(f"COPY d TO '{folder}/datasets.pqt' (FORMAT parquet)")


# pyarrow


def _set(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def _octets(ids: pl.Series) -> list[bytes]:
    return [uuid.UUID(uid).bytes for uid in ids]


@_writer
def write_pyarrow_uuids(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    _write_octets(folder, sessions, datasets, pa.uuid())


@_writer
def write_pyarrow_octets(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    _write_octets(folder, sessions, datasets, pa.binary(16))


def _write_octets(
    folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame, dtype: pa.DataType
) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    midnights = [datetime.combine(day, time(), east) for day in sessions["date"]]
    table = _set(
        sessions.to_arrow(),
        id=pa.array(_octets(sessions["id"]), pa.binary(16)).cast(dtype),
        date=pa.array(midnights, pa.timestamp("us", "+05:30")),
    )
    _write_arrow(folder, "sessions", table)
    qc = [QC[outcome].value for outcome in datasets["qc"]]
    table = _set(
        datasets.to_arrow(),
        eid=pa.array(_octets(datasets["eid"]), pa.binary(16)).cast(dtype),
        id=pa.array(_octets(datasets["id"]), pa.binary(16)).cast(dtype),
        qc=pa.array(qc, pa.int8()),
    )
    _write_arrow(folder, "datasets", table)


@_writer
def write_pyarrow_codes(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    """With texts as codes of distinct ones, dates as texts, and each column of a name twice."""
    table = sessions.to_arrow()
    days = pa.array([f"{day}T10:11:12+05:30" for day in sessions["date"]])
    table = _set(table, id=table["id"].cast(pa.string()).dictionary_encode(), date=days)
    _write_arrow(folder, "sessions", table.append_column("lab", pa.array(["other"] * len(table))))
    table = datasets.to_arrow()
    encoded = {
        name: table[name].cast(pa.string()).dictionary_encode() for name in ("eid", "rel_path")
    }
    _write_arrow(folder, "datasets", _set(table, **encoded).append_column("hash", table["id"]))


# fastparquet


@_writer
def write_fastparquet(folder: Path, sessions: pl.DataFrame, datasets: pl.DataFrame) -> None:
    fastparquet = pytest.importorskip("fastparquet", reason="fastparquet is not installed")
    flat = _index(sessions, "sessions")
    flat["date"] = pd.to_datetime(flat["date"]).astype("datetime64[ns]")  # it has no dates
    metadata = {"one_metadata": json.dumps(ONE_METADATA)}
    fastparquet.write(str(folder / "sessions.pqt"), flat, custom_metadata=metadata)
    table = _index(datasets, "datasets").reset_index()
    fastparquet.write(str(folder / "datasets.pqt"), table, custom_metadata=metadata)
