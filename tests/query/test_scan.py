"""Tables of any age, from any number of folders, as lazy frames."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from cache_tables import (
    break_columns,
    datasets_frames,
    halve_ids,
    sessions_frames,
    spell_ids,
    write_table,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import cache as one_cache
from one.api import One
from polars.testing import assert_frame_equal
from trees import make_tree

from polars_alf import errors, index_archive, scan_datasets, scan_sessions
from polars_alf.alf.grammar import QC_DTYPE
from polars_alf.cache import load_tables
from polars_alf.schema import DATASETS, SESSIONS, polars_schema
from polars_alf.tables import contract
from polars_alf.tables.checksums import checksummed_writer

pytestmark = pytest.mark.pandas

ROW = {"id": "a", "lab": "l", "subject": "s", "date": date(2020, 1, 1), "number": 1}
DATASET = {"eid": "a", "id": "b", "rel_path": "a.b.npy"}


@pytest.fixture
def tables(archive: Path) -> Path:
    index_archive(archive)
    return archive


def write(folder: Path, name: str, columns: dict[str, object]) -> Path:
    """Write a table of one row, or of the columns given as Series, without any metadata."""
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame(
        {key: value if isinstance(value, pl.Series) else [value] for key, value in columns.items()}
    )
    path = folder / f"{name}.pqt"
    pq.write_table(frame.to_arrow(), path)
    return path


def expected(frame: pd.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return what the pandas shim loaded, in the columns of a scan."""
    flat = frame.reset_index()
    values = {
        column: [
            None if value is None or value is pd.NA or value != value else value
            for value in (map(str, flat[column]) if column in ("id", "eid") else flat[column])
        ]
        for column in flat.columns
    }
    return pl.DataFrame(values, schema_overrides=dict(schema)).select(schema.names())


# What comes out


def test_tables_of_the_index(tables: Path) -> None:
    sessions, datasets = scan_sessions(tables), scan_datasets(tables)
    for frame, schema in ((sessions, SESSIONS), (datasets, DATASETS)):
        assert isinstance(frame, pl.LazyFrame)
        assert frame.collect_schema() == {**polars_schema(schema), "origin": pl.String()}
        assert frame.select("origin").unique().collect().rows() == [(str(tables),)]
    assert_frame_equal(
        sessions.drop("origin").collect(),
        pl.read_parquet(tables / "sessions.pqt").select(SESSIONS.names),
    )
    assert datasets.select(pl.len()).collect().item() == 12


@pytest.mark.parametrize(
    ("writer", "hash_ids"),
    [
        ("ours", True),
        ("ours", False),
        ("make_parquet_db", True),
        ("make_parquet_db", False),
        ("save_cache", True),
    ],
)
def test_every_writer_gives_the_same(
    archive: Path, tmp_path: Path, writer: str, hash_ids: bool
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    if writer == "make_parquet_db":
        one_cache.make_parquet_db(archive, out_dir=folder, hash_ids=hash_ids)
    else:
        index_archive(archive, folder, hash_ids=hash_ids)
    if writer == "save_cache":
        one = One(cache_dir=archive, tables_dir=folder, mode="local")
        saved = tmp_path / "saved"
        saved.mkdir()
        one.save_cache(save_dir=saved, clobber=True)
        folder = saved
    cache = load_tables(folder)
    for scan, name, schema in (
        (scan_sessions, "sessions", polars_schema(SESSIONS)),
        (scan_datasets, "datasets", polars_schema(DATASETS)),
    ):
        found = scan(folder).drop("origin").collect()
        assert found.schema == schema
        assert_frame_equal(
            found, expected(cache[name], schema), check_row_order=False, categorical_as_str=True
        )


def test_an_archive_without_sessions(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    with pytest.warns(RuntimeWarning, match="No sessions"):
        one_cache.make_parquet_db(make_tree(tmp_path / "archive", {"a": {}}), out_dir=folder)
    assert scan_sessions(folder).drop("origin").collect_schema() == polars_schema(SESSIONS)
    assert scan_datasets(folder).drop("origin").collect_schema() == polars_schema(DATASETS)
    assert scan_datasets(folder).collect().is_empty()


# Older tables


@given(sessions_frames(min_size=1), datasets_frames(min_size=1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_tables_of_one_1_are_read_as_the_shim_reads_them(
    tmp_path_factory: pytest.TempPathFactory,
    sessions: pd.DataFrame,
    datasets: pd.DataFrame,
    halved: bool,
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    spell = halve_ids if halved else spell_ids
    old_sessions = spell(sessions).rename(columns={"projects": "project"})
    old_datasets = spell(datasets).drop(columns="qc").assign(session_path="lab/Subjects/s")
    if halved:  # the oldest have the halves of eid beside the index
        old_datasets = old_datasets.reset_index(["eid_0", "eid_1"])
    write_table(folder / "sessions.pqt", old_sessions)
    write_table(folder / "datasets.pqt", old_datasets)
    cache = load_tables(folder)
    for scan, name, schema in (
        (scan_sessions, "sessions", polars_schema(SESSIONS)),
        (scan_datasets, "datasets", polars_schema(DATASETS)),
    ):
        found = scan(folder).drop("origin").collect()
        assert found.schema == schema
        assert_frame_equal(found, expected(cache[name], schema), check_row_order=False)


def test_integer_ids_are_those_uuids(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=0x0123456789ABCDEF << 64)]
    ids += [uuid.uuid4() for _ in range(1000)]
    frame = pd.DataFrame(ROW | {"id": ids}).set_index("id")
    write_table(tmp_path / "sessions.pqt", halve_ids(frame))
    found = scan_sessions(tmp_path).select("id").collect(engine="streaming")
    assert found["id"].to_list() == [str(uid) for uid in ids]


def test_an_index_without_names(tmp_path: Path) -> None:
    frame = pd.DataFrame(DATASET, index=[0]).set_index(["eid", "id"])
    frame.index.names = [None, None]
    write_table(tmp_path / "datasets.pqt", frame)
    assert scan_datasets(tmp_path).select("eid", "id").collect().rows() == [("a", "b")]


@pytest.mark.parametrize(
    ("column", "values", "read"),
    [
        ("date", ["2020-02-29"], date(2020, 2, 29)),
        ("date", [datetime(2020, 2, 29, 12)], date(2020, 2, 29)),
        ("number", [3.0], 3),
        ("number", [7], 7),
        ("number", pl.Series([None]), None),
        ("lab", pl.Series(["l"], dtype=pl.Categorical), "l"),
        ("projects", pl.Series([None]), None),
    ],
)
def test_types_of_sessions(tmp_path: Path, column: str, values: object, read: object) -> None:
    write(tmp_path, "sessions", ROW | {column: pl.Series(values)})
    frame = scan_sessions(tmp_path)
    assert frame.collect_schema()[column] == polars_schema(SESSIONS)[column]
    assert frame.select(column).collect().item() == read


@pytest.mark.parametrize(
    ("column", "values", "read"),
    [
        ("qc", ["fail"], "FAIL"),
        ("qc", [30], "WARNING"),
        ("qc", pl.Series(["PASS"], dtype=pl.Categorical), "PASS"),
        ("qc", pl.Series([None]), None),
        ("file_size", [float("nan")], None),
        ("file_size", pl.Series([None]), None),
        ("file_size", [12.0], 12),
        ("exists", [1], True),
        ("hash", pl.Series([None]), None),
    ],
)
def test_types_of_datasets(tmp_path: Path, column: str, values: object, read: object) -> None:
    write(tmp_path, "datasets", DATASET | {column: pl.Series(values)})
    frame = scan_datasets(tmp_path)
    assert frame.collect_schema()[column] == polars_schema(DATASETS)[column]
    assert frame.select(column).collect().item() == read


def test_qc_compares_by_value(tmp_path: Path) -> None:
    outcomes = ["WARNING", "CRITICAL", "NOT_SET", "FAIL", "PASS"]
    columns = {key: pl.Series([value] * 5) for key, value in DATASET.items()}
    write(tmp_path, "datasets", columns | {"qc": pl.Series(outcomes)})
    frame = scan_datasets(tmp_path)
    assert frame.sort("qc").collect()["qc"].to_list() == list(QC_DTYPE.categories)
    assert frame.filter(pl.col("qc") >= "FAIL").collect().height == 2


# Many folders


def test_folders_are_given_by_path_list_and_pattern(tables: Path, tmp_path: Path) -> None:
    for name in ("b", "a", "none"):
        (tmp_path / "many" / name).mkdir(parents=True)
    for name in ("b", "a"):
        for table in ("sessions", "datasets"):
            shutil.copy(tables / f"{table}.pqt", tmp_path / "many" / name)
    (tmp_path / "many/notes.txt").write_text("")
    pattern = f"{tmp_path}/many/*"
    origins = scan_sessions(pattern).select(pl.col("origin").unique(maintain_order=True)).collect()
    assert origins["origin"].to_list() == [f"{tmp_path}/many/a", f"{tmp_path}/many/b"]
    listed = scan_sessions([tables, f"{tmp_path}/m*/b", pattern]).collect()
    assert listed["origin"].unique(maintain_order=True).to_list() == [
        str(tables),
        f"{tmp_path}/many/b",
        f"{tmp_path}/many/a",
    ]
    assert listed.height == 3 * 4
    assert scan_datasets(Path(pattern)).select(pl.len()).collect().item() == 2 * 12
    assert scan_datasets(f"{tmp_path}/**/b").select(pl.len()).collect().item() == 12


def test_a_folder_whose_name_is_a_pattern(tables: Path, tmp_path: Path) -> None:
    folder = tables.rename(tmp_path / "[ab]*")
    assert scan_sessions(folder).collect()["origin"].unique().to_list() == [str(folder)]


def test_relative_folders_and_links_are_the_same_folder(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tables)
    monkeypatch.chdir(tmp_path)
    frame = scan_sessions([tables.name, tmp_path / "link"]).collect()
    assert frame["origin"].to_list() == [str(tables)] * 4


def test_tables_of_every_age_together(tables: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(ROW | {"id": [uuid.uuid4()], "project": "p"}).set_index("id")
    (tmp_path / "old").mkdir()
    write_table(tmp_path / "old/sessions.pqt", halve_ids(frame))
    write(tmp_path / "new", "sessions", ROW | {"qc": "PASS", "extra": 1.5})
    write(tmp_path / "newer", "sessions", ROW | {"extra": 2})
    folders = [tables, tmp_path / "old", tmp_path / "new", tmp_path / "newer"]
    found = scan_sessions(folders)
    assert found.collect_schema().names() == [*SESSIONS.names, "qc", "extra", "origin"]
    rows = found.select("projects", "qc", "extra").collect().rows()
    assert rows == [("", None, None)] * 4 + [
        ("p", None, None),
        (None, "PASS", 1.5),
        (None, None, 2),
    ]


def test_an_origin_of_the_tables_own_gives_way(tmp_path: Path) -> None:
    write(tmp_path, "sessions", ROW | {"origin": 7})
    assert scan_sessions(tmp_path).select("origin").collect().item() == str(tmp_path)


# What is read of a file


@pytest.fixture
def in_row_groups(tmp_path: Path) -> Path:
    """Make datasets of ten sessions, a row group each; all but that of session 3 are broken."""
    folder = tmp_path / "groups"
    folder.mkdir()
    columns = {
        "eid": [f"eid-{row // 5}" for row in range(50)],
        "id": [f"id-{row:02}" for row in range(50)],
        "rel_path": [f"alf/a{row}.b.npy" for row in range(50)],
        "file_size": pl.Series(range(50), dtype=pl.Int64),
        "qc": ["PASS"] * 50,
    }
    path = folder / "datasets.pqt"
    rows = pl.DataFrame(columns).to_arrow()
    with checksummed_writer(path, rows.schema, use_dictionary=False) as write:
        for start in range(0, len(rows), 5):
            write(rows.slice(start, 5))
    break_columns(path, lambda group, column: group != 3)
    return folder


def test_a_filter_on_eid_reads_one_row_group(in_row_groups: Path) -> None:
    datasets = scan_datasets(in_row_groups)
    found = datasets.filter(pl.col("eid") == "eid-3").collect()
    assert found["file_size"].to_list() == [15, 16, 17, 18, 19]
    assert found["qc"].dtype == QC_DTYPE
    several = datasets.filter(
        pl.col("eid").is_in(["eid-3"]), pl.col("rel_path").str.contains("17"), pl.col("qc") > "FAIL"
    )
    assert several.collect().is_empty()
    with pytest.raises(errors.TableError, match="is damaged"):
        datasets.filter(pl.col("eid") == "eid-4").collect()


def test_a_filter_reads_one_row_group_of_one_file_among_many(
    in_row_groups: Path, tables: Path
) -> None:
    frame = scan_datasets([tables, in_row_groups])
    assert frame.filter(pl.col("eid") == "eid-3").collect().height == 5


def test_columns_that_are_not_asked_for_are_not_read(tables: Path) -> None:
    break_columns(tables / "datasets.pqt", lambda _, column: column not in ("eid", "file_size"))
    total = scan_datasets(tables).group_by("eid").agg(pl.col("file_size").sum()).collect()
    assert total["file_size"].to_list() == [61] * 4


def test_the_index_leaves_statistics(archive: Path) -> None:
    index_archive(archive)
    metadata = pq.read_metadata(archive / "datasets.pqt").row_group(0)
    for index in range(metadata.num_columns):
        assert metadata.column(index).is_stats_set
        assert metadata.column(index).statistics.has_min_max


# What cannot be


@pytest.mark.parametrize("tables", [3, None, [3], [None], b"x", {"a": 1}.items()])
def test_what_is_no_folder(tables: object) -> None:
    with pytest.raises(errors.OptionError, match="is no folder of tables; give a path"):
        scan_sessions(tables)  # type: ignore[arg-type]


def test_no_folder_and_empty_names(tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match="no folder of tables was given"):
        scan_sessions([])
    with pytest.raises(errors.OptionError, match="empty text"):
        scan_datasets("")
    with pytest.raises(errors.ArchiveNotFoundError, match="no folder with tables matches"):
        scan_datasets(f"{tmp_path}/*")
    with pytest.raises(FileNotFoundError, match="does not exist; give another"):
        scan_datasets(tmp_path / "nowhere")


def test_a_file_in_the_place_of_a_folder(tables: Path) -> None:
    with pytest.raises(errors.ArchiveNotADirectoryError, match="is a file; give a folder"):
        scan_datasets(tables / "datasets.pqt")


def test_a_folder_without_the_table(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(
        errors.TableNotFoundError, match=r"no sessions\.pqt; give a folder"
    ) as caught:
        scan_sessions(tmp_path)
    assert isinstance(caught.value, FileNotFoundError | errors.TableError)
    (tables / "datasets.pqt").unlink()
    assert scan_sessions(f"{tables}*").collect().height == 4
    with pytest.raises(errors.TableNotFoundError, match=r"no datasets\.pqt"):
        scan_datasets([tables])


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no table", b"PAR1" + bytes(100) + b"PAR1"], ids=len
)
def test_a_file_that_is_no_table(tables: Path, content: bytes) -> None:
    path = tables / "sessions.pqt"
    path.write_bytes(content)
    with pytest.raises(errors.TableError, match="restore the file") as caught:
        scan_sessions(tables)
    assert str(path) in str(caught.value)


def test_a_truncated_table(tables: Path) -> None:
    path = tables / "datasets.pqt"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(errors.TableError, match="no readable table"):
        scan_datasets(tables)


def test_a_folder_in_the_place_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "sessions.pqt").mkdir()
    with pytest.raises(errors.TableError, match="no readable table"):
        scan_sessions(tmp_path)


def test_a_table_that_may_not_be_read(tables: Path, unprivileged: Callable[[], None]) -> None:
    (tables / "sessions.pqt").chmod(0)
    unprivileged()
    with pytest.raises(errors.TableError, match="no readable table"):
        scan_sessions(tables)


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


def test_a_foreign_table(tmp_path: Path) -> None:
    write(tmp_path, "sessions", {"a": 1})
    with pytest.raises(errors.MissingIdsError, match=r"sessions.pqt .*holds the ids id"):
        scan_sessions(tmp_path)
    write(tmp_path, "datasets", {"eid": "a", "id": "b"})
    with pytest.raises(errors.ColumnsError, match=r"datasets.pqt .*no column rel_path"):
        scan_datasets(tmp_path)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sessions", ROW | {"id": 7}),
        ("sessions", ROW | {"subject": [1]}),
        ("sessions", ROW | {"date": 2.5}),
        ("datasets", DATASET | {"exists": "yes"}),
        ("datasets", DATASET | {"qc": 2.5}),
    ],
)
def test_types_that_make_no_sense(tmp_path: Path, name: str, columns: dict[str, object]) -> None:
    path = write(tmp_path, name, columns)
    scan = {"sessions": scan_sessions, "datasets": scan_datasets}[name]
    with pytest.raises(errors.TableError, match=r"its column \w+ is .*, not .*restore") as caught:
        scan(tmp_path)
    assert str(path) in str(caught.value)


def test_columns_of_their_own_that_do_not_go_together(tmp_path: Path) -> None:
    write(tmp_path / "a", "sessions", ROW | {"extra": "text"})
    write(tmp_path / "b", "sessions", ROW | {"extra": 1})
    with pytest.raises(errors.TableError, match=r"extra is Int64 in .*b/sessions.pqt, but String"):
        scan_sessions(f"{tmp_path}/*")


def test_tables_of_two_runs(tables: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    index_archive(tables, other)
    shutil.copy(other / "datasets.pqt", tables)
    with pytest.raises(errors.TornPairError, match="different runs"):
        scan_sessions(tables)


def test_unknown_qc_is_named_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, "datasets", DATASET | {"qc": "splendid"})
    frame = scan_datasets(tmp_path)
    assert frame.select("id").collect().item() == "b"
    with pytest.raises(pl.exceptions.InvalidOperationError, match="SPLENDID"):
        frame.collect()


def test_a_column_that_is_not_there(tables: Path) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="colour"):
        scan_datasets(tables).select("colour").collect()


def test_headers_say_where_tables_come_from(tables: Path) -> None:
    header = contract.read_header(tables / "sessions.pqt")
    assert header.origins == (str(tables),)
    assert header.one["origin"] == str(tables)
    assert header.index == ("id",)
    assert json.loads(pq.read_metadata(header.path).metadata[b"polars_alf"]) == {
        "generation": header.generation,
        "namespace": str(header.namespace),
    }
