"""The command that checks sessions."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_a_condition_that_is_none_is_wrong_usage(archive: Path) -> None:
    result = run("check", archive, "--complete", "colour = 'red'", "--progress", "none")
    assert result.returncode == 2
    assert "colour" in result.stderr
