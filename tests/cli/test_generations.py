"""Commands about earlier generations of tables: history, restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from command_line import run
from trees import make_tree

import polars_alf
from polars_alf.cli import generations
from polars_alf.query.summary import GROUPS


def read_pair(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.pqt")}


def test_an_index_is_undone_and_done_again(archive: Path) -> None:
    run("index", archive)
    first = read_pair(archive)
    run("index", archive, "--keep-generations", 2, "--restart")
    second = read_pair(archive)
    result = run("restore", archive)
    assert result.returncode == 0
    assert "12" in result.stdout
    assert "Replaced" in result.stdout
    assert read_pair(archive) == first
    result = run("restore", archive, "--json")
    values = json.loads(result.stdout)
    assert (values["n_sessions"], values["n_datasets"]) == (4, 12)
    assert values["sessions_path"] == str(archive / "sessions.pqt")
    assert read_pair(archive) == second
    assert run("restore", archive, "--quiet").stdout == ""
    result = run("restore", archive, "--generation", values["generation"][:10])
    assert result.returncode == 0, result.stderr
    assert read_pair(archive) == second


def test_history_is_listed(archive: Path) -> None:
    run("index", archive)
    run("merge", archive, "--out", archive)
    result = run("history", archive)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[1] for line in lines] == ["index", "merge"]
    assert [line[3] for line in lines] == ["kept", "current"]
    assert all(line[0].endswith("Z") for line in lines)
    rows = [json.loads(line) for line in run("history", archive, "--json").stdout.splitlines()]
    assert [row["run"] for row in rows] == ["index", "merge"]
    assert rows[0].keys() == {*polars_alf.read_history(archive).columns}


def test_growth_is_listed(archive: Path) -> None:
    run("index", archive)
    result = run("history", archive, "--by", "lab")
    assert "no earlier tables are kept" in result.stderr
    make_tree(archive, {"wittenlab/Subjects/NEW/2020-01-01/001/a.b.npy": 9})
    run("index", archive)
    result = run("history", archive, "--by", "lab", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["lab"], row["more_bytes"]) for row in rows[-2:]] == [
        ("wittenlab", 9),
        ("cortexlab", 0),
    ]
    assert get_args(generations.Group) == GROUPS


@pytest.mark.slow
def test_there_may_be_nothing_to_restore(archive: Path) -> None:
    run("index", archive)
    run("index", archive, "--keep-generations", 0)
    result = run("restore", archive)
    assert result.returncode == 1
    assert "no earlier generation" in result.stderr
    for command in ("restore", "changes"):
        assert run(command, archive, "--generation", "x").returncode == 2
    run("index", archive)
    result = run("restore", archive, "--generation", "x")
    assert result.returncode == 2
    assert "those kept are" in result.stderr
    assert run("history", archive / "missing").returncode == 1
    assert run("index", archive, "--keep-generations", -1).returncode == 2
    merged = run("merge", archive, "--out", archive, "--keep-generations", 0)
    assert merged.returncode == 0
    assert not list((archive / ".polars_alf").glob("generation-*"))
