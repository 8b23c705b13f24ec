"""Windows and macOS, as near as this system can be made to them: the same tables come out.

`other_system.py` tells what the package sees there. Names that only differ by case, or by how an
accent is written, are one on those systems: a file system of ours in Python has them so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from trees import SESSION, make_tree

from polars_alf import index_archive, plan_removals, scan_datasets, scan_issues
from polars_alf.errors import TableWarning

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this is where the others are not")

SYSTEMS = ("windows", "macos")

TESTS = Path(__file__).parent

LONG = "/".join(["collection_of_a_long_name" + "_" * 20] * 8)

ARCHIVE = {
    "lab/Subjects/S1/2020-01-01/001": {**SESSION, f"{LONG}/spikes.times.npy": "long"},
    "lab/Subjects/S1/2020-01-02/001": SESSION,
    "lab/Subjects/con/2020-01-01/001": {"aux.times.npy": "a name that Windows reserves"},
    "lab/Subjects/Zoé/2020-01-01/001": SESSION,
}

STRAY = "lab/Subjects/S1/2020-01-02/001/alf/stray.times.npy"


def run(system: str, *arguments: object, code: int = 0, has_proc: bool = False) -> str:
    """Run a command as on another system, and return its stdout."""
    command = [sys.executable, str(TESTS / "other_system.py"), system, "-m", "polars_alf"]
    hidden: list[str] = []
    if system == "macos" and not has_proc and os.geteuid() == 0 and shutil.which("unshare"):
        # There is no /proc.
        hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh"]
        if subprocess.run([*hidden, "true"], capture_output=True).returncode:
            hidden = []
    ended = subprocess.run(
        [*hidden, *command, *map(str, arguments)],
        env=os.environ | {"POLARS_ALF_NATIVE": "0"},  # where Windows lists by Python, too
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == code, ended
    assert "Traceback" not in ended.stderr
    return ended.stdout


def read(folder: Path) -> pl.DataFrame:
    return scan_datasets(folder).drop("origin").collect().sort("eid", "rel_path")


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_an_index_is_the_same(tmp_path: Path, system: str, executor: str) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    here, there = (make_tree(tmp_path / name, {}) for name in ("here", "there"))
    index_archive(root, here, namespace="test", hash_files=True)
    workers = ("--executor", executor, "--jobs", "2", "--progress", "none")
    more = ("--namespace", "test", "--hash-files", *workers)
    run(system, "index", root, "--out", there, *more)
    assert read(there).equals(read(here))
    assert len(read(here)) == 11
    make_tree(root, {STRAY: "new"})
    run(system, "index", root, "--out", there, "--quick", *workers)
    index_archive(root, here, quick=True)
    assert read(there).equals(read(here))
    assert scan_issues(there).collect().equals(scan_issues(here).collect())


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_commands_of_a_whole_life(tmp_path: Path, system: str) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    run(system, "index", root, "--hash-files", "--progress", "none")
    before = read(root)
    stray = root / STRAY
    stray.write_text("stray")
    trash = tmp_path / "trash"
    trash.mkdir()
    run(system, "verify", root, "--digest", "--progress", "none", code=3)
    run(system, "prune", root, "--apply", "--yes", "--trash", trash)
    assert not stray.exists()
    assert [path.read_text() for path in trash.rglob("*.npy")] == ["stray"]
    run(system, "verify", root, "--digest", "--progress", "none")
    merged = make_tree(tmp_path / "merged", {})
    run(system, "merge", root, "--out", merged)
    assert len(read(merged)) == len(before)
    shutil.rmtree(root / "lab/Subjects/S1/2020-01-02")
    run(system, "index", root, "--max-removed", "100%", "--progress", "none")
    assert len(read(root)) < len(before)
    run(system, "history", root)
    run(system, "restore", root)
    assert read(root).equals(before)
    assert run(system, "sql", root, "SELECT count(*) AS n FROM datasets")


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_measurement(tmp_path: Path, system: str) -> None:
    target = make_tree(tmp_path / "target", {})
    sizes = ("--files", "40", "--threads", "1,2", "--repeats", "1", "--duration", "0.01")
    # Python itself looks there for the descriptors of a process that it starts on Linux.
    run(system, "bench", target, "--out", tmp_path / "report", "--quiet", *sizes, has_proc=True)
    assert not [*target.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_writer_that_was_killed_is_replaced(tmp_path: Path, system: str) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    run(system, "index", root, "--progress", "none")
    (lock,) = (root / ".polars_alf").glob("lock-*.free")
    lock.rename(lock.with_suffix(""))
    os.utime(lock.with_suffix(""), (1, 1))
    # Without /proc it cannot be seen whether it lives, so it is watched first.
    run(system, "index", root, "--progress", "none")


def test_accents_that_a_copy_writes_otherwise_lose_no_file(tmp_path: Path) -> None:
    names = {form: unicodedata.normalize(form, "Zoé") for form in ("NFC", "NFD")}
    plain = "S1/2020-01-01/001"
    linux = make_tree(tmp_path / "a", {f"{names['NFC']}/2020-01-01/001": SESSION, plain: SESSION})
    mac = make_tree(tmp_path / "b", {f"{names['NFD']}/2020-01-01/001": SESSION, plain: SESSION})
    assert index_archive(linux).n_sessions == 2
    for table in linux.glob("*.pqt"):
        shutil.copy(table, mac)
    assert plan_removals(mac).is_empty()
    # A letter and its accent are two characters, and the second is none of ALF's.
    with pytest.warns(TableWarning, match="is of another archive"):
        report = index_archive(mac, max_removed=1.0)
    assert (report.n_sessions, report.issues) == (1, {"invalid_subject": 1, "outside_session": 3})
    assert all(path.startswith(names["NFD"]) for path in scan_issues(mac).collect()["path"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "cure"),
    [("windows", "unset PYTHONLEGACYWINDOWSFSENCODING"), ("macos", "start it with PYTHONUTF8=1")],
)
def test_names_that_are_not_decoded_as_utf8_are_refused(
    tmp_path: Path, system: str, cure: str
) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    code = f"import polars_alf; polars_alf.index_archive({str(root)!r})"
    ended = subprocess.run(
        [sys.executable, str(TESTS / "other_system.py"), system, "-c", code],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert cure in ended.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reader_of_stdout_that_ends(tmp_path: Path, system: str) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    index_archive(root)
    command = [sys.executable, str(TESTS / "other_system.py"), system, "-m", "polars_alf", "sql"]
    query = "SELECT a.rel_path FROM datasets a CROSS JOIN datasets b CROSS JOIN datasets c"
    many = f"{query} CROSS JOIN datasets d"
    with subprocess.Popen(
        [*command, str(root), many, "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == b""
    assert running.returncode == 141


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "code", "message"),
    [("windows", 141, ""), ("macos", 1, "error: the result cannot be written to stdout")],
)
def test_windows_names_a_broken_pipe_otherwise(
    tmp_path: Path, system: str, code: int, message: str
) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    index_archive(root)
    try:
        # Without room of a whole block, what is written to it is an invalid argument.
        stdout = os.open(tmp_path / "stdout", os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system has no direct writes")
    command = [sys.executable, str(TESTS / "other_system.py"), system, "-m", "polars_alf", "info"]
    try:
        ended = subprocess.run(
            [*command, str(root)], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120
        )
    finally:
        os.close(stdout)
    assert (ended.returncode, message in ended.stderr) == (code, True)
    assert ended.stderr.count("\n") == bool(message)
