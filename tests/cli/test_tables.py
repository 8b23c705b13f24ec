"""Commands that read tables: issues, changes, merge, diff, info, sql."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from command_line import run
from trees import SESSION, make_tree

import polars_alf
from polars_alf.cli import tables as commands
from polars_alf.index.changes import ChangeKind
from polars_alf.merge.sources import KEEPS

SESSION_PATH = "cortexlab/Subjects/KS001/2020-01-01/001"


@pytest.fixture
def others(archive: Path, tables: Path, tmp_path: Path) -> Path:
    """Make tables of the same archive, with one size changed since."""
    (archive / SESSION_PATH / "alf/spikes.times.npy").write_bytes(bytes(99))
    folder = tmp_path / "others"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, hash_files=True, namespace="site")
    return folder


def test_issues_are_listed(archive: Path) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION})
    run("index", archive)
    result = run("issues", archive)
    first, *others = result.stdout.splitlines()
    assert [line.split("\t")[0] for line in others] == ["outside_session"] * 3
    kind, path, message = first.split("\t")
    assert (kind, path) == ("invalid_date", "cortexlab/Subjects/KS001/2021-13-45")
    assert "rename" in message
    lines = run("issues", archive, "--json", "--kind", kind).stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [path]
    assert run("issues", archive, "--kind", "vanished").stdout == ""
    assert run("issues", archive / "cortexlab").returncode == 1


def test_merge_tells_a_person_and_a_machine(tables: Path, others: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    result = run("merge", tables, others, "--out", out_dir, "--progress", "none")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Datasets     12\n" in result.stdout
    assert "Conflicts    1 row left out" in result.stdout
    assert f"polars-alf conflicts {out_dir}" in result.stdout
    result = run("merge", tmp_path / "*s", "--out", out_dir, "--json", "--keep", "newest")
    report = json.loads(result.stdout)
    assert report["n_datasets"] == 12
    assert (report["n_duplicates"], report["n_conflicts"]) == (15, 1)
    assert [source["tables"] for source in report["sources"]] == [str(others), str(tables)]
    assert pl.read_ipc(report["conflicts_path"])["kept_size"].to_list() == [99]
    result = run("merge", tables, others, "--out", out_dir, "--strict", "--quiet")
    assert (result.returncode, result.stdout) == (3, "")


@pytest.mark.slow
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


def test_info_tells_a_person_and_a_machine(tables: Path) -> None:
    result = run("info", tables, "--top", 1)
    assert result.returncode == 0
    for text in ("Sessions     4", "Datasets     12 (244 bytes)", "By lab", "cortexlab"):
        assert text in result.stdout
    assert "wittenlab\t" not in result.stdout, "a summary is one in a pipe, too"
    assert "\n… and 1 more; --top 2 or --json has all\n" in result.stdout
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


@pytest.mark.slow
def test_sql_answers_in_every_format(tables: Path, tmp_path: Path) -> None:
    assert run("sql", tables, QUERY).stdout == "cortexlab\t3\nwittenlab\t1\n"
    nothing = run("sql", tables, "SELECT id FROM sessions WHERE subject = 'nobody'")
    assert (nothing.stdout, nothing.stderr) == ("", "no rows\n")
    lines = run("sql", tables, QUERY, "--format", "table").stdout.splitlines()
    assert [line.split() for line in (lines[0], *lines[2:])] == [
        *(["lab", "n"], ["cortexlab", "3"], ["wittenlab", "1"], [], ["2", "rows"]),
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
        result = run("sql", tables, QUERY, "--out", tmp_path / name)
        assert (result.returncode, result.stdout) == (0, "")
        size = (tmp_path / name).stat().st_size
        assert result.stderr == f"the answer is in {tmp_path / name} ({size} bytes)\n"
        assert read(tmp_path / name).rows() == expected
    assert not list(tmp_path.glob(".*.tmp"))


def test_long_answers_are_cut_with_a_word(tables: Path) -> None:
    query = "SELECT a.id FROM datasets a CROSS JOIN datasets b"
    result = run("sql", tables, query, "--format", "table")
    assert result.stdout.endswith("\n100 of 144 rows; --limit 0 prints all\n")
    for options, n_lines in (([], 144), (["--limit", 7], 7), (["--limit", 0], 144)):
        assert len(run("sql", tables, query, *options).stdout.splitlines()) == n_lines
    result = run("sql", tables, query, "--format", "table", "--limit", 0)
    assert result.stdout.endswith("\n144 rows\n")
    assert len(run("sql", tables, query, "--format", "csv").stdout.splitlines()) == 145


def test_parquet_is_refused_on_a_terminal(tables: Path) -> None:
    pty = pytest.importorskip("pty", reason="terminals as on POSIX")
    ours, theirs = pty.openpty()
    result = run("sql", tables, QUERY, "--format", "parquet", stdout=os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)
    assert result.returncode == 2
    assert "nothing for a terminal" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["merge", "."], 2, "--out"),
        (["merge", "--out", "."], 2, "DIR"),
        (["merge", "nowhere", "--out", "."], 1, "does not exist"),
        (["merge", ".", "--out", "nowhere"], 1, "does not exist"),
        (["merge", ".", "--out", "."], 1, "no sessions.pqt"),
        (["merge", ".", "--out", ".", "--keep", "best"], 2, "'first', 'newest'"),
        (["diff", "."], 2, "NEW"),
        (["diff", ".", "nowhere"], 1, "no sessions.pqt"),
        (["info", "nowhere"], 1, "does not exist"),
        (["sql", ".", "SELECT 1"], 1, "no sessions.pqt"),
        (["sql", ".", "DROP TABLE sessions"], 2, "begins with SELECT"),
        (["sql", ".", "SELECT * FROM read_csv('x')"], 2, "only the tables"),
        (["sql", ".", "SHOW TABLES", "--format", "xml"], 2, "xml"),
        (["sql", ".", "SHOW TABLES", "--out", "answer.xml"], 2, "answer.xml"),
        (["sql", ".", "SHOW TABLES", "--format", "table", "--out", "x"], 2, "for reading"),
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
    for options in ([], ["--out", output]):
        result = run("sql", tables, query, *options)
        assert (result.returncode, result.stdout) == (2, "")
        assert "cannot be answered: conversion from" in result.stderr
    assert not list(tmp_path.glob("*answer*"))


def test_an_answer_is_written_over_nothing(archive: Path, tables: Path, tmp_path: Path) -> None:
    report = tables / ".polars_alf/report.json"
    for file in (archive / SESSION_PATH / "alf/spikes.times.npy", report, tables / "sessions.pqt"):
        before = file.read_bytes()
        result = run("sql", tables, QUERY, "--out", file, "--format", "csv", "--force")
        assert (result.returncode, result.stdout) == (1, "")
        assert "give another --out" in result.stderr
        assert file.read_bytes() == before
    answer = tmp_path / "answer.csv"
    answer.write_text("mine")
    result = run("sql", tables, QUERY, "--out", answer)
    assert (result.returncode, "add --force" in result.stderr) == (1, True)
    assert answer.read_text() == "mine"
    assert run("sql", tables, QUERY, "--out", answer, "--force").returncode == 0
    assert answer.read_text().startswith("lab,n\n")


def test_choices_are_those_of_the_rooms_that_answer() -> None:
    assert list(commands.Change) == list(ChangeKind)
    assert get_args(commands.Keep) == KEEPS


@pytest.mark.slow
def test_changes_are_listed(archive: Path) -> None:
    run("index", archive)
    (archive / SESSION_PATH / "alf/spikes.times.npy").unlink()
    make_tree(archive / SESSION_PATH, {"alf/new.times.npy": 7})
    run("index", archive)
    lines = run("changes", archive).stdout.splitlines()
    assert sorted(line.split("\t")[0] for line in lines) == ["added", "removed"]
    result = run("changes", archive, "--kind", "added", "--json")
    assert json.loads(result.stdout)["path"] == f"{SESSION_PATH}/alf/new.times.npy"
    result = run("changes", archive, "--kind", "moved")
    assert (result.returncode, result.stdout) == (2, "")
    assert ": 'moved' is not one of 'added', 'changed', 'removed', 'unreadable'" in result.stderr
    run("index", archive, "--hash-files")
    result = run("changes", archive)
    assert (result.returncode, result.stdout) == (0, "")
    assert "UTC found 1 added, 1 removed: polars-alf changes" in result.stderr
    generation = result.stderr.split()[-1]
    assert run("changes", archive, "--generation", generation).stdout.splitlines() == lines
    result = run("changes", archive / "nowhere")
    assert result.returncode == 1
    assert f"{archive / 'nowhere'} does not exist; give another" in result.stderr
