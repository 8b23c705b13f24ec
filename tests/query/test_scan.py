"""Tables of any age, from any number of folders, as lazy frames."""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from cache_tables import (
    halve_ids,
    write_table,
)
from one.alf import cache as one_cache
from one.api import One
from polars.testing import assert_frame_equal
from trees import make_tree
from written import convert_frame, write_bare

from polars_alf import errors, index_archive, merge_tables, scan_datasets, scan_sessions
from polars_alf.cache import load_tables
from polars_alf.schema import DATASETS, SESSIONS, polars_schema

pytestmark = pytest.mark.pandas
ROW = {"id": "a", "lab": "l", "subject": "s", "date": date(2020, 1, 1), "number": 1}
DATASET = {"eid": "a", "id": "b", "rel_path": "a.b.npy"}


@pytest.fixture
def tables(archive: Path) -> Path:
    index_archive(archive, default_revisions=False)
    return archive


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
        index_archive(archive, folder, hash_ids=hash_ids, default_revisions=False)
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
            found,
            convert_frame(cache[name], schema),
            check_row_order=False,
            categorical_as_str=True,
        )


def test_an_archive_without_sessions(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    with pytest.warns(RuntimeWarning, match="No sessions"):
        one_cache.make_parquet_db(make_tree(tmp_path / "archive", {"a": {}}), out_dir=folder)
    assert scan_sessions(folder).drop("origin").collect_schema() == polars_schema(SESSIONS)
    assert scan_datasets(folder).drop("origin").collect_schema() == polars_schema(DATASETS)
    assert scan_datasets(folder).collect().is_empty()


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
    write_bare(tmp_path / "new", "sessions", ROW | {"qc": "PASS", "extra": 1.5})
    write_bare(tmp_path / "newer", "sessions", ROW | {"extra": 2})
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
    write_bare(tmp_path, "sessions", ROW | {"origin": 7})
    assert scan_sessions(tmp_path).select("origin").collect().item() == str(tmp_path)


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


def test_columns_of_their_own_that_do_not_go_together(tmp_path: Path) -> None:
    extras = {"a": "text", "b": 1, "c": True, "d": [1, 2], "e": timedelta(days=1)}
    extras |= {"f": datetime(2020, 1, 1), "g": None}
    for folder, extra in extras.items():
        write_bare(tmp_path / folder, "sessions", ROW | {"extra": extra})
        write_bare(tmp_path / folder, "datasets", DATASET)
    found = scan_sessions(f"{tmp_path}/*").collect()["extra"]
    texts = ["text", "1", "true", "[1, 2]", "P1D", "2020-01-01 00:00:00.000000", None]
    assert found.to_list() == texts
    # As in merged tables, of which one is alone here.
    for folder, text in zip(extras, texts, strict=True):
        pair = [tmp_path / folder, tmp_path / "a"]
        merged = merge_tables(pair).sessions.collect()["extra"].to_list()
        assert merged == [text or "text"]
        if folder != "g":
            assert scan_sessions(pair).collect()["extra"].to_list()[0] == text


def test_times_of_several_zones_are_those_of_utc(tmp_path: Path) -> None:
    noon = datetime(2020, 1, 1, 12, tzinfo=UTC)
    for folder, zone in (("a", "Europe/Berlin"), ("b", "UTC"), ("c", "Asia/Tokyo")):
        times = pl.Series([noon], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
        write_bare(tmp_path / folder, "sessions", ROW | {"start_time": times})
    found = scan_sessions(f"{tmp_path}/*").collect()["start_time"]
    assert found.dtype == pl.Datetime("us", "UTC")
    assert found.to_list() == [noon] * 3


def test_a_column_that_is_not_there(tables: Path) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="colour"):
        scan_datasets(tables).select("colour").collect()
