"""Commands about tables: merge, diff, verify, info, sql."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from command_line import run

import polars_alf

SESSION = "cortexlab/Subjects/KS001/2020-01-01/001"


@pytest.fixture
def tables(archive: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, hash_files=True, namespace="site")
    return folder


@pytest.fixture
def others(archive: Path, tables: Path, tmp_path: Path) -> Path:
    """Make tables of the same archive, with one size changed since."""
    (archive / SESSION / "alf/spikes.times.npy").write_bytes(bytes(99))
    folder = tmp_path / "others"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, hash_files=True, namespace="site")
    return folder


def test_merge_tells_a_person_and_a_machine(tables: Path, others: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    result = run("merge", tables, others, "--out-dir", out_dir)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Datasets     12\n" in result.stdout
    assert "Conflicts    1 rows" in result.stdout
    assert "file_size, hash" in result.stdout
    result = run("merge", tmp_path / "*s", "--out-dir", out_dir, "--json", "--keep", "newest")
    report = json.loads(result.stdout)
    assert report["n_datasets"] == 12
    assert (report["n_duplicates"], report["n_conflicts"]) == (15, 1)
    assert [source["tables"] for source in report["sources"]] == [str(others), str(tables)]
    assert pl.read_ipc(report["conflicts_path"])["kept_size"].to_list() == [99]
    result = run("merge", tables, others, "--out-dir", out_dir, "--strict", "--quiet")
    assert (result.returncode, result.stdout) == (3, "")


def test_diff_tells_a_person_and_a_machine(tables: Path, others: Path) -> None:
    result = run("diff", tables, tables)
    assert result.returncode == 0
    assert "Datasets     12 → 12: no difference" in result.stdout
    result = run("diff", tables, others)
    assert result.returncode == 3
    assert "1 changed" in result.stdout
    assert "file_size, hash" in result.stdout
    result = run("diff", tables, others, "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 3
    assert report["counts"]["datasets"]["changed"] == 1
    (row,) = report["differences"]
    assert (row["change"], row["old_size"], row["new_size"]) == ("changed", 20, 99)
    assert row["columns"] == ["file_size", "hash"]
    result = run("diff", tables, others, "--ignore", "file_size", "--ignore", "hash", "--quiet")
    assert (result.returncode, result.stdout) == (0, "")
    assert json.loads(run("diff", tables, tables, "--json").stdout)["differences"] == []


def test_verify_tells_a_person_and_a_machine(archive: Path, tables: Path) -> None:
    result = run("verify", archive, "--tables-dir", tables, "--digest")
    assert result.returncode == 0
    assert "Digested" in result.stdout
    (archive / SESSION / "alf/spikes.times.npy").write_bytes(b"x" * 20)
    assert run("verify", archive, "--tables-dir", tables, "--quiet").returncode == 0
    result = run("verify", archive, "--tables-dir", tables, "--digest")
    assert result.returncode == 3
    assert f"{SESSION}/alf/spikes.times.npy" in result.stdout
    result = run("verify", archive, "--tables-dir", tables, "--digest", "--json")
    report = json.loads(result.stdout)
    assert report["counts"]["digest_changed"] == 1
    assert [row["path"] for row in report["findings"]] == [f"{SESSION}/alf/spikes.times.npy"]
    result = run(
        "verify", archive, "--tables-dir", tables, "--sample", "25%", "--seed", 3, "--json"
    )
    assert json.loads(result.stdout)["n_checked"] == 3


def test_info_tells_a_person_and_a_machine(tables: Path) -> None:
    result = run("info", tables, "--top", 1)
    assert result.returncode == 0
    for text in ("Sessions     4", "Datasets     12 (244 bytes)", "By lab", "cortexlab", "1 more"):
        assert text in result.stdout
    assert "\x1b" not in result.stdout
    report = json.loads(run("info", tables, "--json").stdout)
    assert report["extension"][0] == {
        "extension": "npy",
        "sessions": 4,
        "datasets": 8,
        "n_bytes": 200,
    }
    assert len(report["duplicates"]) == 3


QUERY = "SELECT lab, count(*) AS n FROM sessions GROUP BY lab ORDER BY lab"


def test_sql_answers_in_every_format(tables: Path, tmp_path: Path) -> None:
    lines = run("sql", tables, QUERY).stdout.splitlines()
    assert [line.split() for line in (lines[0], *lines[2:])] == [
        ["lab", "n"],
        ["cortexlab", "3"],
        ["wittenlab", "1"],
    ]
    assert run("sql", tables, QUERY, "--format", "csv").stdout == (
        "lab,n\ncortexlab,3\nwittenlab,1\n"
    )
    lines = run("sql", tables, QUERY, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["n"] for line in lines] == [3, 1]
    command = [sys.executable, "-m", "polars_alf", "sql", str(tables), QUERY, "--format", "parquet"]
    content = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    expected = [("cortexlab", 3), ("wittenlab", 1)]
    assert pl.read_parquet(io.BytesIO(content)).rows() == expected
    for name, read in (
        ("a.csv", pl.read_csv),
        ("a.jsonl", pl.read_ndjson),
        ("a.parquet", pl.read_parquet),
    ):
        result = run("sql", tables, QUERY, "--output", tmp_path / name)
        assert (result.returncode, result.stdout) == (0, "")
        assert read(tmp_path / name).rows() == expected
    assert not list(tmp_path.glob(".*.tmp"))


def test_long_answers_are_cut_with_a_word(tables: Path) -> None:
    query = "SELECT a.id FROM datasets a CROSS JOIN datasets b"
    result = run("sql", tables, query)
    assert "… and 44 more" in result.stdout
    assert len(run("sql", tables, query, "--format", "csv").stdout.splitlines()) == 145


def test_parquet_is_refused_on_a_terminal(tables: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "polars_alf", "sql", str(tables), QUERY, "--format", "parquet"]
    result = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    os.close(ours)
    assert result.returncode == 2
    assert "nothing for a terminal" in result.stderr


def test_nothing_of_a_name_reaches_the_terminal_as_a_command(archive: Path) -> None:
    sessions = polars_alf.index_archive(archive).sessions_path
    frame = polars_alf.scan_sessions(archive).drop("origin").collect()
    frame.with_columns(lab=pl.lit("\x1b[31m[bold]red\n")).write_parquet(sessions)
    shown = run("info", archive).stdout
    assert "\x1b" not in shown
    assert "\\x1b[31m[bold]red\\x0a" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["merge", "."], 2, "--out-dir"),
        (["merge", "--out-dir", "."], 2, "DIR"),
        (["merge", "nowhere", "--out-dir", "."], 1, "does not exist"),
        (["merge", ".", "--out-dir", "nowhere"], 1, "does not exist"),
        (["merge", ".", "--out-dir", "."], 1, "no sessions.pqt"),
        (["merge", ".", "--out-dir", ".", "--keep", "best"], 2, "first, newest"),
        (["diff", "."], 2, "NEW"),
        (["diff", ".", "nowhere"], 1, "no sessions.pqt"),
        (["verify", "nowhere"], 1, "does not exist"),
        (["verify", "."], 1, "no sessions.pqt"),
        (["verify", ".", "--sample", "some"], 2, "no share"),
        (["verify", ".", "--sample", "101%"], 2, "no share"),
        (["verify", ".", "--executor", "gpu"], 2, "gpu"),
        (["info", "nowhere"], 1, "does not exist"),
        (["sql", ".", "SELECT 1"], 1, "no sessions.pqt"),
        (["sql", ".", "DROP TABLE sessions"], 2, "begins with SELECT"),
        (["sql", ".", "SELECT * FROM read_csv('x')"], 2, "only the tables"),
        (["sql", ".", "SHOW TABLES", "--format", "xml"], 2, "xml"),
        (["sql", ".", "SHOW TABLES", "--output", "answer.xml"], 2, "answer.xml"),
        (["sql", ".", "SHOW TABLES", "--format", "table", "--output", "x"], 2, "for reading"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_queries_that_fail_while_they_run_are_wrong_too(tables: Path, tmp_path: Path) -> None:
    output = tmp_path / "answer.csv"
    query = "SELECT CAST(subject AS INT) AS x FROM sessions"
    for options in ([], ["--output", output]):
        result = run("sql", tables, query, *options)
        assert (result.returncode, result.stdout) == (2, "")
        assert "cannot be answered: conversion from" in result.stderr
    assert not list(tmp_path.glob("*answer*"))
