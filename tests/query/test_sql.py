"""SQL over the tables, and over nothing else."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import polars_alf
from polars_alf import query_tables
from polars_alf.errors import ArchiveNotFoundError, OptionError, QueryError, TableError


@pytest.fixture
def tables(archive: Path) -> Path:
    polars_alf.index_archive(archive)
    return archive


def test_both_tables_can_be_asked(tables: Path) -> None:
    answer = query_tables(
        tables,
        """
        -- the largest of each lab
        WITH both AS (SELECT * FROM datasets JOIN sessions ON sessions.id = datasets.eid)
        SELECT lab, max(file_size) AS largest, count(*) AS n FROM both
        WHERE qc = 'NOT_SET' GROUP BY lab ORDER BY lab
        """,
    )
    assert answer.collect().rows() == [("cortexlab", 30, 9), ("wittenlab", 30, 3)]
    assert query_tables(tables, "SHOW TABLES").collect()["name"].to_list() == [
        "datasets",
        "sessions",
    ]
    assert "origin" not in query_tables(tables, "SELECT * FROM sessions").collect_schema()


def test_of_several_folders_rows_tell_their_own(tables: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    polars_alf.index_archive(tables / "wittenlab", other)
    query = "SELECT origin, count(*) AS n FROM sessions GROUP BY origin ORDER BY n"
    answer = query_tables([tables, other], query).collect()
    assert answer.rows() == [(str(other), 1), (str(tables), 4)]


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["csv", "parquet", "ipc", "json", "ndjson"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_{extension}('{file}')",
        "SELECT * FROM READ_{extension}('{file}')",
        "SELECT * FROM \"read_{extension}\"('{file}')",
        "SELECT * FROM `read_{extension}`('{file}')",
        "SELECT * FROM read_{extension} /* x */ ('{file}')",
        "WITH x AS (SELECT * FROM read_{extension}('{file}')) SELECT * FROM x",
        "SELECT (SELECT count(*) FROM read_{extension}('{file}')) FROM sessions",
        "SELECT '' AS x, * FROM read_{extension}('{file}') -- '",
        "SELECT * FROM '{file}'",
        'SELECT * FROM "{file}"',
    ],
)
def test_other_files_cannot_be_read(tables: Path, extension: str, query: str) -> None:
    file = tables / f"secret.{extension}"
    frame = pl.DataFrame({"secret": [1]})
    getattr(frame, {"json": "write_ndjson"}.get(extension, f"write_{extension}"))(file)
    with pytest.raises(QueryError):
        query_tables(tables, query.format(extension=extension, file=file)).collect()


def test_no_other_frame_can_be_read(tables: Path) -> None:
    secret = pl.DataFrame({"secret": [1]})
    with pytest.raises(QueryError, match="no table 'secret', only sessions and datasets"):
        query_tables(tables, "SELECT * FROM secret")
    assert len(secret) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "begins with SELECT"),
        ("SELEC 1", "begins with SELECT"),
        ("DROP TABLE sessions", "begins with SELECT"),
        ("/* SELECT */ DELETE FROM sessions", "begins with SELECT"),
        ("-- SELECT\nTRUNCATE sessions", "begins with SELECT"),
        ("CREATE TABLE x AS SELECT * FROM sessions", "begins with SELECT"),
        ("SELECT 1; DROP TABLE sessions", "one \\(and only one\\) statement"),
        ("SELECT FROM sessions WHERE", "parser error"),
        ("SELECT subjekt FROM sessions", '"subjekt"'),
        ("SELECT * FROM session", "no table 'session', only .*; perhaps sessions is meant"),
        ("SELECT * FROM Dataset", "no table 'Dataset', only .*; perhaps datasets is meant"),
        ("DESCRIBE dataset", "no table 'dataset', only .*; perhaps datasets is meant"),
        ("SELECT nonsense(subject) FROM sessions", "nonsense"),
        ("SELECT subject + date FROM sessions", "cannot be answered"),
    ],
)
def test_wrong_queries_are_said(tables: Path, query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        query_tables(tables, query)
    assert isinstance(caught.value, OptionError)
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError):
        query_tables(tmp_path / "nowhere", "SHOW TABLES")
    with pytest.raises(TableError, match=r"no sessions\.pqt"):
        query_tables(tmp_path, "SHOW TABLES")
