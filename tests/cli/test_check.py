"""The command that checks sessions."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import run
from trees import make_tree

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"


def test_a_clean_archive_ends_with_0(archive: Path) -> None:
    result = run("check", archive, "--progress", "none")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Checked      4 sessions, 12 datasets, and 4 other names" in result.stdout
    assert run("check", archive, "--quiet").stdout == ""


def test_findings_end_with_3(archive: Path, tmp_path: Path) -> None:
    make_tree(archive / KS001, {"alf/spike.amps.npy": 9})
    result = run("check", archive, "--progress", "none")
    assert result.returncode == 3
    assert "Misspelt name 1\n" in result.stdout
    assert "cortexlab/Subjects/KS001/2020-01-01/001/alf/spike.amps.npy" in result.stdout
    assert "alf/spikes.amps.npy" in result.stdout
    result = run("check", archive, "--json", "--progress", "none")
    values = json.loads(result.stdout)
    assert values["counts"]["misspelt_name"] == 1
    assert [row["likely"] for row in values["findings"]] == ["alf/spikes.amps.npy"]


def test_a_template_is_made_and_used(archive: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.txt"
    arguments = ["--complete", "subject = 'KS002'", "--save-template", template]
    (archive / KS001 / "alf/spikes.times.npy").unlink()
    made = run("check", archive, *arguments, "--json", "--quiet")
    used = run("check", archive, "--template", template, "--json", "--quiet")
    assert (made.returncode, used.returncode) == (3, 3)
    findings = [json.loads(result.stdout)["findings"] for result in (made, used)]
    assert findings[0] == findings[1]
    assert [row["rel_path"] for row in findings[0]] == ["alf/spikes.times.npy"]
    assert "alf/spikes.times.npy\n" in template.read_text()
    again = run("check", archive, *arguments)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    inside = run("check", archive, "--save-template", tmp_path / "other.txt")
    assert (inside.returncode, "no template to save" in inside.stderr) == (2, True)


def test_folders_of_tables_are_checked_by_their_tables(tables: Path, archive: Path) -> None:
    result = run("check", tables, "--against", tables)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(
        f"Tables       {tables}\nChecked      4 sessions, 12 datasets\n"
    )
    assert run("check", tables.parent / "t*s").stdout.startswith("Tables")
    run("index", archive, "--quiet")
    assert run("check", archive, "--progress", "none").stdout.startswith("Archive")


def test_a_condition_that_is_none_is_wrong_usage_before_the_walk(archive: Path) -> None:
    result = run("check", archive, "--complete", "colour = 'red'")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: the condition \"colour = 'red'\" cannot be answered")
    assert "subject = 'KS001'" in result.stderr, "the cure"
    result = run("check", archive, "--complete", "id IN (SELECT eid FROM datasets)", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_template_that_cannot_be_saved_is_told_before_the_walk(
    archive: Path, tmp_path: Path
) -> None:
    arguments = ["check", archive, "--complete", "true", "--save-template"]
    result = run(*arguments, tmp_path / "nowhere/template.txt")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: the folder of --save-template {tmp_path / 'nowhere'} does not exist; make it, or "
        "give another\n"
    )
    if sys.platform == "linux":  # where nobody may write, not even root
        result = run(*arguments, "/proc/template.txt")
        assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
        assert "--save-template /proc cannot be written to" in result.stderr


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_template_that_cannot_be_read_is_wrong_usage(archive: Path, name: str) -> None:
    result = run("check", archive, "--template", name, cwd=archive)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"template {name}" in result.stderr
    assert "; " in result.stderr, "the cure"


def test_an_archive_without_sessions_is_told_of(tmp_path: Path) -> None:
    make_tree(tmp_path, {"lab/notes.txt": 1})
    result = run("check", tmp_path, "--quiet")
    assert (result.returncode, result.stderr) == (
        0,
        f"warning: No sessions found in {tmp_path}; the folder of a session is "
        "…/subject/yyyy-mm-dd/number\n",
    )
