"""Commands that walk an archive: index, verify, prune."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import polars as pl
import pytest
from command_line import run, show_on_terminal
from inventories import list_by_find
from trees import SESSION, make_tree

import polars_alf

SESSION_PATH = "cortexlab/Subjects/KS001/2020-01-01/001"
BAD_DATE = {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION}


def test_index_tells_a_person(archive: Path) -> None:
    result = run("index", archive)
    assert result.returncode == 0
    for text in (
        "Sessions     4",
        "Datasets     12 (244 bytes)",
        "Other files  4",
        "Issues       0",
    ):
        assert text in result.stdout
    assert f"One(cache_dir='{archive}', mode='local')" in result.stdout
    assert "Writing tables" in result.stderr
    assert "\x1b" not in result.stderr, "no terminal, no control sequences"
    assert (archive / "sessions.pqt").exists()


def test_index_tells_a_machine(archive: Path, tmp_path: Path) -> None:
    make_tree(archive, BAD_DATE)
    out_dir = tmp_path / "tables"
    out_dir.mkdir()
    namespace = uuid.uuid4()
    result = run("index", archive, "--out", out_dir, "--json", "--namespace", namespace)
    assert result.returncode == 0
    report = json.loads(result.stdout)
    assert report["seconds"] > 0
    assert report["sessions_path"] == str(out_dir / "sessions.pqt")
    assert (report["n_sessions"], report["n_datasets"], report["n_bytes"]) == (4, 12, 244)
    assert report["issues"] == {"invalid_date": 1, "outside_session": 3}
    assert report["namespace"] == str(namespace)


def test_a_list_of_changes_is_told_of(archive: Path) -> None:
    assert run("index", archive, "-q").returncode == 0
    make_tree(archive, {f"{SESSION_PATH}/alf/new.file.npy": 3})
    lines = f"{SESSION_PATH}/alf/new.file.npy\n/elsewhere\n"
    result = run("index", archive, "--changed-from", "-", input=lines)
    assert "Paths given  2, 1 of them outside\n" in result.stdout
    assert "Changes      1 added, 12 unchanged" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="GNU find")
def test_an_inventory_comes_from_a_pipe_or_a_file(archive: Path, tmp_path: Path) -> None:
    content = list_by_find(archive).decode()
    result = run("index", archive, "--inventory", "-", input=content)
    assert "Sessions     4" in result.stdout
    result = run("index", archive, "--inventory", tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"the inventory {tmp_path} cannot be read: Is a directory; give a file" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="GNU find")
def test_reading_an_inventory_is_progress(archive: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.write_bytes(list_by_find(archive))
    result = run("index", archive, "--inventory", inventory)
    assert re.match(r"\d+ s Reading the inventory: ", result.stderr)
    result = run("index", archive, "--inventory", inventory, "--progress", "json")
    assert json.loads(result.stderr.splitlines()[0])["stage"] == "inventory"
    assert run("index", archive, "--inventory", inventory, "--quiet").stderr == ""


def test_parts_tell_how_to_go_on(archive: Path) -> None:
    result = run("index", archive, "--shard", "1/2")
    assert "Part         1 of 2\n" in result.stdout
    assert f"polars-alf index --assemble --out {archive} {archive}\n" in result.stdout
    result = run("index", archive, "--assemble")
    assert result.returncode == 1
    assert "part 2 has not begun" in result.stderr
    result = run("index", archive, "--shard", "2/2", "--json")
    report = json.loads(result.stdout)
    assert (report["part"], report["n_parts"], report["tables_dir"]) == (2, 2, str(archive))
    assert "Sessions     4" in run("index", archive, "--assemble").stdout


def test_quiet_says_nothing(archive: Path) -> None:
    result = run("index", archive, "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_options_reach_the_index(archive: Path, tmp_path: Path) -> None:
    result = run(
        "index", archive / "cortexlab", "--out", tmp_path, "--lab", "cortexlab",
        "--no-hash-ids", "--hash-files", "--jobs", 2, "--executor", "threads", "--exclude", "*.csv",
        "--exclude", "probe00/", "--follow-links", "--quiet",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    datasets = pl.read_parquet(tmp_path / "datasets.pqt")
    assert datasets["id"].to_list() == ["alf/spikes.times.npy"] * 3
    assert datasets["hash"].str.len_chars().to_list() == [32] * 3


def test_strict_turns_issues_into_an_exit_code(archive: Path) -> None:
    assert run("index", archive, "--strict").returncode == 0
    make_tree(archive, BAD_DATE)
    result = run("index", archive, "--strict")
    assert result.returncode == 3
    assert "invalid_date" in result.stdout
    assert "is no calendar date" in result.stdout
    assert (archive / "sessions.pqt").exists()
    assert run("index", archive).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["index"], 2, "Missing argument 'ROOT'"),
        (["index", "nowhere"], 1, "does not exist"),
        (["index", ".", "--out", "nowhere"], 1, "folder for the tables"),
        (["index", ".", "--jobs", "0"], 2, "--jobs"),
        (["index", ".", "--jobs", "many"], 2, "--jobs"),
        (["index", ".", "--namespace", ""], 2, "namespace"),
        (["index", ""], 2, "empty text"),
        (["index", ".", "--exclude", "!"], 2, "cannot be excluded"),
        (["issues", ".", "--kind", "bogus"], 2, "bogus"),
        (["index", ".", "--executor", "gpu"], 2, "gpu"),
        (["index", ".", "--lab", "other"], 1, "contradicts the folder"),
        (["index", ".", "--lab", "a/b"], 2, "cannot be the name of a folder"),
        (["index", ".", "--no-such-option"], 2, "--no-such-option"),
        (["index", ".", "--inventory", "nowhere"], 2, "inventory nowhere cannot be read"),
        (["index", ".", "--changed-from", "nowhere"], 2, "paths nowhere cannot be read"),
        (["index", ".", "--settings-from", "nowhere"], 2, "settings nowhere cannot be read"),
        (["conquer"], 2, "conquer"),
    ],
)
def test_failures_are_one_line_and_a_code(
    archive: Path, arguments: list[str], code: int, text: str
) -> None:
    result = run(*arguments, cwd=archive)
    assert result.returncode == code
    assert text in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if code == 1:
        assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not (archive / "sessions.pqt").exists()


def test_empty_archive_warns_and_is_done(tmp_path: Path) -> None:
    result = run("index", tmp_path)
    assert result.returncode == 0
    assert f"warning: No sessions found in {tmp_path}" in result.stderr
    assert "…/subject/yyyy-mm-dd/number" in result.stderr


def test_verify_tells_a_person_and_a_machine(archive: Path, tables: Path) -> None:
    result = run("verify", archive, "--tables-dir", tables, "--digest")
    assert result.returncode == 0
    assert "Digested" in result.stdout
    (archive / SESSION_PATH / "alf/spikes.times.npy").write_bytes(b"x" * 20)
    assert run("verify", archive, "--tables-dir", tables, "--quiet").returncode == 0
    result = run("verify", archive, "--tables-dir", tables, "--digest")
    assert result.returncode == 3
    assert f"{SESSION_PATH}/alf/spikes.times.npy" in result.stdout
    result = run("verify", archive, "--tables-dir", tables, "--digest", "--json")
    report = json.loads(result.stdout)
    assert report["counts"]["digest_changed"] == 1
    assert [row["path"] for row in report["findings"]] == [f"{SESSION_PATH}/alf/spikes.times.npy"]
    result = run(
        "verify", archive, "--tables-dir", tables, "--sample", "25%", "--seed", 3, "--json"
    )
    assert json.loads(result.stdout)["n_checked"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["verify", "nowhere"], 1, "does not exist"),
        (["verify", "."], 1, "has no tables; give the folder of its tables with --tables-dir"),
        (["verify", ".", "--sample", "some"], 2, "no share"),
        (["verify", ".", "--sample", "101%"], 2, "no share"),
        (["verify", ".", "--executor", "gpu"], 2, "gpu"),
        (["verify", ".", "--manifest", "nowhere"], 2, "no manifest nowhere"),
        (["verify", ".", "--manifest", "."], 2, "no manifest manifest.json"),
    ],
)
def test_verify_fails_in_one_line_and_a_code(
    tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_every_finding_has_a_label(archive: Path, tables: Path) -> None:
    (archive / SESSION_PATH / "alf/spikes.times.npy").unlink()
    lines = run("verify", archive, "--tables-dir", tables).stdout.splitlines()
    labels = [line[:12].rstrip() for line in lines if re.match(r"\d+$|not compared", line[13:])]
    assert labels == ["Missing", "New", "Other size", "Other digest", "Unreadable", "Unsafe path"]


STRAY = "cortexlab/Subjects/KS001/2020-01-01/001/alf/stray.times.npy"


@pytest.fixture
def strays(archive: Path) -> Path:
    """Make an archive with an index, a stray of 1,000 bytes and a session without a row."""
    assert run("index", archive, "--quiet").returncode == 0
    make_tree(archive, {STRAY: 1000, "cortexlab/Subjects/KS009/2020-01-01/001": {}})
    return archive


def test_prune_shows_a_plan(strays: Path) -> None:
    result = run("prune", strays)
    assert result.returncode == 0
    for text in (
        f"Archive      {strays}",
        "Datasets     1 (1.0 kB)",
        "1: not in the datasets table",
        "Folders      3 (1 of sessions)",
        f"  {STRAY}\n",
        "Nothing was removed; --apply removes it.",
    ):
        assert text in result.stdout
    assert "shards" in result.stderr
    assert (strays / STRAY).exists()
    assert "KS009" not in run("prune", strays, "--keep-empty-sessions").stdout
    excluded = run("prune", strays, "--exclude", "stray.*", "--exclude", "KS009/").stdout
    assert "Datasets     0 (0 bytes)" in excluded
    assert "--apply" not in excluded


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_long_lists_are_whole_in_a_pipe_and_cut_on_a_terminal(
    archive: Path, tables: Path, tmp_path: Path
) -> None:
    run("index", archive, "--quiet")
    names = [f"alf/new{n:02}.times.npy" for n in range(30)]
    make_tree(archive / SESSION_PATH, dict.fromkeys(names, 200))
    after = tmp_path / "after"
    after.mkdir()
    polars_alf.index_archive(archive, after, hash_files=True, namespace="site")
    template = tmp_path / "template.txt"
    template.write_text("\n".join(names))  # which three of four sessions lack
    for n_rows, n_shown, arguments in (
        (30, 20, ["verify", archive]),
        (30, 20, ["diff", tables, after]),
        (30, 10, ["prune", archive]),
        (90, 20, ["check", archive, "--template", template]),
    ):
        piped = run(*arguments).stdout
        assert len([line for line in piped.splitlines() if "/new" in line]) == n_rows
        assert "more" not in piped
        shown = show_on_terminal(*arguments, columns=200)[1]
        assert len([line for line in shown.splitlines() if "/new" in line]) == n_shown
        assert f"… and {n_rows - n_shown} more; --json or | cat has all" in shown


def test_prune_tells_a_machine(strays: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("sessions.pqt", "datasets.pqt"):
        (strays / name).rename(tables / name)
    arguments = ["prune", strays, "--tables-dir", tables, "--jobs", 1, "--json"]
    planned = [json.loads(line) for line in run(*arguments).stdout.splitlines()]
    assert [row["kind"] for row in planned] == ["dataset", "session", "folder", "folder"]
    assert planned[0]["path"] == STRAY
    assert planned[0]["file_size"] == 1000
    result = run(*arguments, "--apply", "--yes")
    assert result.returncode == 0
    outcomes = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["path"] for row in outcomes] == [row["path"] for row in planned]
    assert {row["result"] for row in outcomes} == {"removed"}
    assert not (strays / STRAY).exists()
    log = (tables / ".polars_alf/removals.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(log) == 8
    assert run(*arguments).stdout == ""


def test_prune_applies_only_what_is_confirmed(strays: Path) -> None:
    result = run("prune", strays, "--apply")
    assert result.returncode == 2
    assert "--yes" in result.stderr
    assert result.stdout == ""
    assert (strays / STRAY).exists()
    result = run("prune", strays, "--apply", "--yes", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (strays / STRAY).exists()
    result = run("prune", strays, "--apply", "--yes")
    assert result.returncode == 0
    assert "Datasets     0" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_prune_asks_on_a_terminal(strays: Path, answer: str, code: int) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        result = run("prune", strays, "--apply", stdin=os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.returncode == code
    assert "Remove these 4? [y/N]" in result.stderr
    assert (strays / STRAY).exists() == bool(code)
    assert ("Removed 4 of 4 (1.0 kB)." in result.stdout) == (not code)
    assert ("nothing was removed" in result.stderr) == bool(code)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_prune_says_what_it_could_not_remove(strays: Path, tmp_path: Path) -> None:
    # As a user that may do as it likes in all folders but one.
    # The plan comes first, as root, and all is imported: that user may not see the packages.
    code = """
import os, sys
from polars_alf.cli.app import main
from polars_alf.prune import apply
try:
    main()
except SystemExit:
    pass
os.geteuid() or os.seteuid(65534)
sys.argv += ["--apply", "--yes"]
main()
"""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o755)
    for path in (strays, *strays.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (strays / STRAY).parent.chmod(0o555)
    arguments = [sys.executable, "-c", code, "prune", str(strays)]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 3, result.stderr
    assert "Removed 3 of 4 (0 bytes)." in result.stdout
    assert f"  failed: {STRAY}: Permission denied" in result.stdout
    assert f"Log: {strays}/.polars_alf/removals.jsonl" in result.stdout


def test_prune_refuses_to_remove_a_lab_unless_told(strays: Path, tmp_path: Path) -> None:
    only = "otherlab/Subjects/X/2020-01-01/001/a.b.c"
    make_tree(strays, {only: 1})
    assert run("prune", strays).returncode == 0
    arguments = ["prune", strays, "--apply", "--yes", "--quiet"]
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert "nothing would be left in otherlab" in result.stderr
    assert "prune with --max-removed 15%" in result.stderr
    assert (strays / only).exists()
    trash = tmp_path / "trash"
    for options in ([], ["--yes", "--apply"]):
        result = run(*arguments[:2], *options, "--trash", tmp_path / "no" / "where")
        assert (result.returncode, result.stdout) == (1, "")
        assert f"the trash {tmp_path / 'no' / 'where'} does not exist; make it" in result.stderr
    result = run(*arguments[:-1], "--max-removed", "15%", "--trash", trash)
    assert result.returncode == 0, result.stderr
    assert "Of these, 2 were moved to the trash." in result.stdout
    assert not (strays / only).exists()
    assert (trash / only).exists()


def test_prune_warns_of_what_it_keeps(archive: Path) -> None:
    copy = archive / "backup/cortexlab/Subjects/KS001/2020-01-01/001"
    make_tree(copy, {"more.times.npy": 1})
    run("index", archive)
    result = run("prune", archive, "--quiet")
    assert result.returncode == 0
    assert result.stdout == ""
    assert result.stderr.startswith("warning: kept 1 path that no table has")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["prune"], 2, "Missing argument 'ROOT'"),
        (["prune", "nowhere"], 1, "does not exist"),
        (["prune", "."], 1, "missing or empty"),
        (["prune", ".", "--tables-dir", "nowhere"], 1, "does not exist"),
        (["prune", ".", "--jobs", "0"], 2, "--jobs"),
    ],
)
def test_prune_fails_in_one_line_and_a_code(
    archive: Path, arguments: list[str], code: int, text: str
) -> None:
    result = run(*arguments, cwd=archive)
    assert (result.returncode, result.stdout) == (code, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (archive / ".polars_alf").exists()
    forced = run("prune", ".", "--force", cwd=archive)
    assert "Datasets     12" in forced.stdout
