"""The command report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run


@pytest.mark.slow
def test_report_writes_a_page(tables: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    result = run("report", tables, "--out", file)
    assert (result.returncode, result.stdout[:10]) == (0, "Report    ")
    assert str(file) in result.stdout
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    again = run("report", tables, "--out", file)
    assert (again.returncode, again.stdout) == (1, "")
    assert "add --force" in again.stderr
    assert run("report", tables, "--out", file, "--force", "--quiet").stdout == ""


@pytest.mark.slow
def test_report_tells_a_machine(tables: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    result = run("report", tables, "--out", file, "--json", "--quiet")
    assert json.loads(result.stdout) == {
        "page": str(file),
        "labels": ["tables"],
        "folders": [str(tables)],
    }


@pytest.mark.slow
def test_report_chooses_a_file_here(tables: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    result = run("report", tables, "--json", "--quiet", cwd=here)
    assert result.returncode == 0, result.stderr
    (file,) = here.iterdir()
    assert file.name.startswith("polars_alf_report-tables-")
    assert json.loads(result.stdout)["page"] == file.name


def test_report_writes_into_no_archive(archive: Path, tables: Path) -> None:
    result = run("report", tables, "--out", archive / "page.html")
    assert result.returncode == 1
    assert "would lie in the archive" in result.stderr
    assert not (archive / "page.html").exists()
