"""What other users of a machine can rely on: modes, names of temporary files, no side effects."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from test_paths_out import WATCHED
from trees import SESSION, make_tree

from polars_alf import apply_removals, index_archive, plan_removals, query_tables
from polars_alf.errors import ArchivePermissionError, QueryError
from polars_alf.tables.transaction import locked_state

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links as on POSIX")

NEW = {"cortexlab/Subjects/KS001/2020-01-01/001/alf/new.x.npy": 1}
EVERYTHING = (
    "import polars_alf as p, json; a, out = {archive!r}, {out!r}; "
    "p.index_archive(a, hash_files=True, jobs=1); p.index_archive(a, jobs=1); "
    "p.merge_tables([a], out); p.verify_archive(a, digest=True, jobs=1); "
    "p.apply_removals(a, p.plan_removals(a, jobs=1)); p.compare_tables(a, out); "
    "p.summarize_tables(a); p.query_tables(a, 'SELECT * FROM datasets').collect(); "
    "p.scan_archive(a, jobs=1).collect(); p.cache.load_tables(a)"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mask",
    [0o027, *(pytest.param(mask, marks=pytest.mark.thorough) for mask in (0o022, 0o002, 0o077))],
)
def test_modes_are_those_of_the_umask(archive: Path, out_dir: Path, mask: int) -> None:
    before = {*archive.rglob("*")}

    def run(*arguments: object) -> None:
        command = [sys.executable, "-m", "polars_alf", *map(str, arguments)]
        subprocess.run(command, check=True, umask=mask, stdout=subprocess.DEVNULL)

    run("index", archive, "--hash-files", "--executor", "processes", "--jobs", 2)
    run("merge", archive, "--out", out_dir)
    make_tree(archive, NEW)
    run("prune", archive, "--apply", "--yes")
    run("sql", archive, "SHOW TABLES", "--out", out_dir / "answer.csv")
    made = {*archive.rglob("*"), *out_dir.rglob("*")} - before
    names = {re.sub(r"^lock-\d+\.free$", "lock", path.name) for path in made}
    assert {"sessions.pqt", "datasets.pqt", "lock", "removals.jsonl", "answer.csv"} <= names
    assert {"issues.arrow", "namespace", "report.json", "entries.arrow", "summary.json"} <= names
    for path in made:
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~mask, path


@pytest.mark.thorough
@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_modes_of_a_report_are_those_of_the_umask(tmp_path: Path, mask: int) -> None:
    target = make_tree(tmp_path / "target", {})
    bench(target, tmp_path / "report", umask=mask)
    for path in ((tmp_path / "report"), *(tmp_path / "report").iterdir()):
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~mask, path


def bench(target: Path, out: Path, *before: str, umask: int = -1) -> None:
    sizes = ("--files", "40", "--threads", "1", "--repeats", "1", "--duration", "0.01")
    command = (sys.executable, str(WATCHED), str(out.with_name("log")), "bench", str(target))
    subprocess.run(
        [*before, *command, "--out", str(out), "--quiet", *sizes],
        check=True,
        umask=umask,
        env=os.environ | {"XDG_STATE_HOME": str(out.with_name("state"))},
    )


# Temporary files

_SECRET = r"[0-9a-f]{32}"
_GUESSABLE = re.compile(rf"{_SECRET}|tmp[a-z0-9_]{{8}}|/[a-z0-9_]{{8}}$|sem\.\w+")
"""What stands in names that nobody can guess, as uuid4, tempfile and glibc make them."""


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.thorough
def test_nothing_is_made_at_names_that_others_can_guess(archive: Path, out_dir: Path) -> None:
    trace = out_dir.with_name("trace")
    script = EVERYTHING.format(archive=str(archive), out=str(out_dir))
    log = str(out_dir.with_name("log"))
    subprocess.run(
        ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=openat,open,creat,mkdir,mkdirat",
         "-o", str(trace), sys.executable, str(WATCHED), log, "-c", script],
        check=True, capture_output=True,
    )  # fmt: skip
    made: set[str] = set()
    opened = []
    for line in trace.read_text(errors="replace").splitlines():
        call = re.search(r'(\w+)\((?:AT_FDCWD, )?"([^"]+)", ?(.*?)(?:\) *= *(-?\d+)|$)', line)
        if not call or call[4] == "-1":
            continue
        name, path, flags, _ = call.groups()
        if name.startswith("mkdir"):
            made.add(path)
        elif "O_CREAT" in flags and path != log:
            opened.append((path, flags))
    shared = (str(archive), str(out_dir), "/tmp", "/dev/shm")
    places = [(path, flags) for path, flags in opened if path.startswith(shared)]
    assert len(places) > 20
    for path, flags in places:
        if str(Path(path).parent) in made and _GUESSABLE.search(str(Path(path).parent)):
            continue  # in a folder that this run has made, under a name that nobody could know
        assert "O_EXCL" in flags or "O_NOFOLLOW" in flags, path
        assert _GUESSABLE.search(path) or FIXED.fullmatch(Path(path).name), path


FIXED = re.compile(r"lock-\d+|removals\.jsonl|history\.jsonl|\.ONE\.lock")
"""Names that have to be known; links there are not followed."""


@pytest.mark.parametrize(
    "name",
    [".polars_alf/lock-9", ".polars_alf/removals.jsonl", ".polars_alf/history.jsonl", ".ONE.lock"],
)
def test_links_at_names_that_are_known_are_not_followed(
    archive: Path, tmp_path: Path, name: str
) -> None:
    index_archive(archive)
    make_tree(archive, NEW)
    victim = make_tree(tmp_path, {"victim": "precious"}) / "victim"
    (archive / name).unlink(missing_ok=True)
    (archive / name).symlink_to(victim)
    os.utime(victim, (1, 1))
    plan = plan_removals(archive)
    for act in (lambda: apply_removals(archive, plan), lambda: index_archive(archive)):
        with contextlib.suppress(OSError):
            act()
    assert victim.read_text() == "precious"
    assert victim.stat().st_mtime == 1


@pytest.mark.parametrize("name", ["sessions.pqt", "datasets.pqt", ".polars_alf/report.json"])
def test_links_in_the_place_of_results_are_replaced(
    archive: Path, tmp_path: Path, name: str
) -> None:
    index_archive(archive)
    victim = make_tree(tmp_path, {"victim": "precious"}) / "victim"
    (archive / name).unlink()
    (archive / name).symlink_to(victim)
    if name.endswith("pqt"):
        with pytest.warns(UserWarning, match="no readable table"):
            index_archive(archive)
    else:
        index_archive(archive)
    assert victim.read_text() == "precious"
    assert not (archive / name).is_symlink()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes such links"
)
def test_a_state_that_another_user_has_linked_is_refused(archive: Path, tmp_path: Path) -> None:
    victim = make_tree(tmp_path / "victim", {f"run-{'0' * 32}": {"precious": 1}})
    state = archive / ".polars_alf"
    state.symlink_to(victim)
    os.chown(state, 12345, 12345, follow_symlinks=False)
    with pytest.raises(ArchivePermissionError, match="a link of another user, 12345"):
        index_archive(archive)
    assert [path.name for path in victim.rglob("*")] == [f"run-{'0' * 32}", "precious"]
    os.chown(state, 0, 0, follow_symlinks=False)
    with locked_state(archive):
        pass


# Side effects


@pytest.mark.slow
def test_nothing_is_run_unpickled_or_fetched(archive: Path, out_dir: Path) -> None:
    log = out_dir.with_name("log")
    script = EVERYTHING.format(archive=str(archive), out=str(out_dir))
    subprocess.run([sys.executable, str(WATCHED), str(log), "-c", script], check=True)
    notes = log.read_text().splitlines()
    assert len(notes) > 50
    harmless = ("open", "os.scandir", "os.listdir", "os.remove", "os.rmdir", "os.rename",
                "os.link", "os.mkdir", "shutil.rmtree", "os.chmod", "os.utime", "marshal.loads",
                "ctypes.dlopen")  # fmt: skip
    others = {note for note in notes if note.partition(" ")[0] not in harmless}
    assert not others


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.thorough
def test_a_bench_speaks_with_nobody_and_makes_nothing_that_others_can_guess(tmp_path: Path) -> None:
    target, out = make_tree(tmp_path / "target", {}), make_tree(tmp_path / "out", {})
    trace = tmp_path / "trace"
    calls = "trace=%network,execve,openat,creat,mkdir"
    bench(target, out, "strace", "-f", "-qq", "-y", "-s", "4096", "-e", calls, "-o", str(trace))
    lines = trace.read_text(errors="replace").splitlines()
    assert not [line for line in lines if re.search(r" (connect|sendto|sendmsg)\(.*AF_INET", line)]
    run = [line for line in lines if " execve(" in line]
    assert all(f' execve("{sys.executable}"' in line for line in run), "loky's, and no other"
    notes = (tmp_path / "log").read_text().splitlines()
    assert not [note for note in notes if note.startswith(("subprocess.", "pickle.", "os.system"))]
    made = [line for line in lines if "O_CREAT" in line and f'"{out}/' in line]
    assert len(made) > 5
    assert all("O_EXCL" in line and re.search(_SECRET, line) for line in made)
    inside = [line for line in lines if "O_CREAT" in line and f'"{target}/' in line]
    assert len(inside) > 40
    (folder,) = {line.partition(f'"{target}/')[2].partition("/")[0] for line in inside}
    assert re.fullmatch(r"polars_alf_bench_[0-9a-f]{12}", folder)
    assert any(re.search(rf'mkdir\("{target}/{folder}", 0700\) += 0', line) for line in lines)


@pytest.mark.thorough
def test_workers_are_all_that_is_run(archive: Path, out_dir: Path) -> None:
    # loky starts workers of this very Python, and speaks with them through pipes.
    many = {f"lab/Subjects/S{n}/2020-01-01/001": SESSION for n in range(20)}
    make_tree(archive, many)
    log = out_dir.with_name("log")
    script = (
        f"import polars_alf as p; p.index_archive({str(archive)!r}, executor='processes', jobs=2)"
    )
    subprocess.run([sys.executable, str(WATCHED), str(log), "-c", script], check=True)
    notes = log.read_text().splitlines()
    assert not [note for note in notes if note.startswith(("socket.", "urllib.", "os.system"))]
    run = [note for note in notes if note.startswith(("subprocess.", "os.posix_spawn", "os.exec"))]
    assert all(sys.executable in note for note in run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    ["SELECT * FROM read_csv('{victim}')", "SELECT * FROM '{victim}'", 'SELECT * FROM "{victim}"',
     "WITH x AS (SELECT * FROM read_parquet('{victim}')) SELECT * FROM x",
     "SELECT * FROM datasets WHERE id IN (SELECT a FROM read_csv('{victim}'))",
     "SELECT * FROM scan_csv('{victim}')", "SELECT * FROM/**/read_csv/**/('{victim}')",
     "SELECT * FROM READ_csv('{victim}')", "SELECT * FROM\nread_csv\n('{victim}')",
     "SELECT * FROM \"read_csv\"('{victim}')", "SELECT * FROM `read_csv`('{victim}')",
     "SELECT * FROM datasets JOIN read_csv('{victim}') v ON true", "FROM '{victim}'",
     "SELECT (SELECT a FROM read_csv('{victim}'))", "TABLE '{victim}'", "SELECT * FROM victim",
     "SELECT 1; SELECT * FROM read_csv('{victim}')", "COPY datasets TO '{victim}'",
     "CREATE TABLE x AS SELECT * FROM '{victim}'", "SELECT * INTO '{victim}' FROM datasets",
     "DROP TABLE datasets", "DELETE FROM datasets", "INSERT INTO datasets VALUES (1)",
     "TRUNCATE datasets", "WITH x AS (DELETE FROM datasets) SELECT * FROM x",
     "SELECT * FROM 'file://{victim}'", "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
     "EXPLAIN SELECT * FROM datasets", "SET x = 1", "LOAD '{victim}'"],
)  # fmt: skip
def test_a_query_opens_nothing_but_the_tables(archive: Path, tmp_path: Path, query: str) -> None:
    index_archive(archive)
    victim = tmp_path / "victim.csv"
    pl.DataFrame({"a": ["precious"]}).write_csv(victim)
    before = {path: path.read_bytes() for path in (victim, *archive.glob("*.pqt"))}
    with pytest.raises(QueryError):
        query_tables(archive, query.format(victim=victim)).collect()
    assert {path: path.read_bytes() for path in before} == before


def test_a_query_knows_nothing_of_what_the_caller_has(archive: Path) -> None:
    index_archive(archive)
    secret = pl.DataFrame({"a": ["precious"]})
    with pytest.raises(QueryError, match="secret"):
        query_tables(archive, "SELECT * FROM secret").collect()
    assert len(secret)
