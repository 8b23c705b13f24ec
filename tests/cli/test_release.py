"""Commands about releases: subset, publish, and verify with a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run

import polars_alf

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"


@pytest.fixture
def release(tables: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    result = run("subset", tables, "--out", folder, "--where", "lab = 'cortexlab'", "--tag", "r")
    assert (result.returncode, result.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if " " in line)
    assert (lines["Sessions"], lines["Datasets"]) == ("3", "9 (183 bytes)")
    assert "Cite as      sha256:" in result.stdout
    return folder


def test_subset_takes_ids_from_a_file(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    eids = polars_alf.scan_sessions(tables).collect()["id"].to_list()
    file = tmp_path / "eids.csv"
    file.write_text("\n".join(["session_uuid", *eids[:2]]))
    result = run("subset", tables, "--out", out, "--eids", file, "--json")
    values = json.loads(result.stdout)
    assert values["manifest"]["n_sessions"] == 2
    assert Path(values["manifest_path"]).is_file()
    like = run("subset", tables, "--out", out, "--like", out, "--quiet")
    assert (like.returncode, like.stdout) == (0, "")
    file.write_text("nothing\n")
    result = run("subset", tables, "--out", out, "--eids", file)
    assert (result.returncode, "'nothing' is no session" in result.stderr) == (2, True)


def test_publish_tells_what_it_wrote(release: Path) -> None:
    result = run("publish", release, "--url", "https://data.lab.org")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"Bundle          {release / 'cache.zip'}" in result.stdout
    assert '"https://data.lab.org/cache.zip"' in result.stdout
    assert json.loads(run("publish", release, "--json").stdout)["info"]["database_tags"] == ["r"]
    assert run("publish", release, "--quiet").stdout == ""


@pytest.mark.slow
def test_files_are_verified_with_a_manifest(release: Path, archive: Path, tmp_path: Path) -> None:
    arguments = ("verify", archive, "--manifest", release / "manifest.json", "--progress", "none")
    whole = run(*arguments, "--digest")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "the tables are as it says" in whole.stdout
    assert "Digested     9" in whole.stdout
    assert run("verify", archive, "--manifest", release).returncode == 0, "its folder will do"
    (archive / KS001 / "new.data.npy").write_bytes(b"new")
    assert run(*arguments).returncode == 0, "the archive goes on"
    (archive / KS001 / "alf/spikes.times.npy").write_bytes(b"other")
    changed = run(*arguments, "--json")
    assert changed.returncode == 3
    values = json.loads(changed.stdout)
    assert [row["kind"] for row in values["findings"]] == ["size_changed"]
    assert values["manifest"]["problems"] == []


def test_tables_are_verified_with_a_manifest(release: Path, archive: Path, tables: Path) -> None:
    manifest = release / "manifest.json"
    result = run("verify", archive, "--manifest", manifest, "--tables-dir", tables)
    assert result.returncode == 3
    assert "sessions.pqt has 4 rows instead of 3" in result.stdout
    result = run("verify", archive, "--manifest", release / "nothing.json")
    assert (result.returncode, "no manifest" in result.stderr) == (2, True)
