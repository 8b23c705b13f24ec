"""Commands about to run, and what must be true when they have ended, whatever happened."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from trees import SESSION, Tree, make_tree

import polars_alf
from polars_alf.bench.results import read_report
from polars_alf.schema import SCHEMAS
from polars_alf.tables import files, journal, transaction

NAMESPACE = "test"

ARCHIVE: Tree = {
    f"{lab}/Subjects/S{subject}/2020-01-0{day}/001": SESSION
    for lab in ("a", "b")
    for subject in (1, 2)
    for day in (1, 2)
}
"""Eight sessions, twenty-four datasets."""

NEW = "a/Subjects/S3/2020-02-02/001"
GONE = "b/Subjects/S2/2020-01-02"
STRAYS = [
    *(f"a/Subjects/S{n}/2020-01-01/001/alf/stray.times.npy" for n in (1, 2)),
    "b/Subjects/S1/2020-01-02/001/new/stray.times.npy",
    *(f"b/Subjects/S9/2020-01-01/001/{name}" for name in ("a.b.npy", "c.d.npy")),
]

_SWITCHES = ("hash_files", "insertions")

STATE = {
    "changes.arrow",
    "commit.json",
    "conflicts.arrow",
    "history.jsonl",
    "issues.arrow",
    "namespace",
    "removals.jsonl",
    "report.json",
}

Rows = dict[str, pl.DataFrame]


def read_rows(folder: Path) -> Rows | None:
    """Return the tables as our readers find them, None where there are none."""
    if not files.table_path(folder, "sessions").exists():
        transaction.wait_for_commit(folder)
        if not files.table_path(folder, "sessions").exists():
            return None
    sessions = polars_alf.scan_sessions(folder).drop("origin").collect()
    rows = {
        "sessions": sessions,
        "datasets": polars_alf.scan_datasets(folder).drop("origin").collect(),
    }
    if files.table_path(folder, "insertions").exists():
        rows["insertions"] = polars_alf.scan_insertions(folder).collect()
        assert rows["insertions"]["eid"].is_in(sessions["id"].implode()).all()
    return rows


def same(left: Rows | None, right: Rows | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.keys() == right.keys() and all(left[name].equals(right[name]) for name in left)


def list_files(folder: Path) -> dict[str, int]:
    """Return the sizes of all files below a folder, by their paths; folders have none."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size if path.is_file() else -1
        for path in folder.rglob("*")
    }


def paths_of(rows: Rows) -> pl.DataFrame:
    """Return the path of each dataset relative to the root, with its size and hash."""
    return polars_alf.join_sessions(rows["datasets"], rows["sessions"]).select(
        path=polars_alf.full_path("").str.strip_prefix("/"), size="file_size", hash="hash"
    )


@dataclass
class Scene:
    """A command, what is there before it, and what must be there after it.

    Parameters
    ----------
    base
        Folder of all of it.
    arguments
        Of the command line.
    check
        Checks what must be true after a run that ended with an exit code; what could not be removed
        may have been kept, ``is_litter_kept``.
    again
        Runs the command again, in this process, and checks that all is as if nothing had happened.
    """

    base: Path
    arguments: list[str]
    check: Callable[..., None] = field(repr=False)
    again: Callable[[], None] = field(repr=False)


def index_scene(base: Path, *options: str, old: bool = False) -> Scene:
    """Index an archive into a folder beside it, for the first time or again."""
    archive, tables = make_tree(base / "archive", ARCHIVE), base / "tables"
    tables.mkdir(exist_ok=True)
    keywords = {name: f"--{name.replace('_', '-')}" in options for name in _SWITCHES}
    if old:
        polars_alf.index_archive(archive, tables, namespace=NAMESPACE, **keywords)
        _change(archive)
    before, files = read_rows(tables), list_files(archive)
    expected = _undisturbed(base, archive, **keywords)

    def check(code: int, *, is_litter_kept: bool = False) -> None:
        assert code in (0, 1)
        assert list_files(archive) == files, "the archive is as it was"
        check_folder(tables, is_litter_kept=is_litter_kept)
        rows = read_rows(tables)
        if code == 0 or not same(rows, before):
            _check_index(rows, expected, tables)
            if not is_litter_kept:
                check_kept(tables, before)
        elif not is_litter_kept:
            check_kept(tables)

    def again() -> None:
        report = polars_alf.index_archive(
            archive, tables, namespace=None if old else NAMESPACE, executor="serial", **keywords
        )
        assert report.issues == {}
        assert same(read_rows(tables), expected)
        check_folder(tables, is_settled=True)

    arguments = ["index", str(archive), "--out", str(tables), "--json", *options]
    arguments += [] if old else ["--namespace", NAMESPACE]
    return Scene(base, arguments, check, again)


def _change(archive: Path) -> None:
    make_tree(archive, {NEW: SESSION})
    shutil.rmtree(archive / GONE)
    (archive / "a/Subjects/S1/2020-01-01/001/alf/spikes.times.npy").write_bytes(
        b"longer than it was"
    )


def _undisturbed(base: Path, archive: Path, **keywords: bool) -> Rows:
    folder = base / "undisturbed"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, namespace=NAMESPACE, executor="serial", **keywords)
    rows = read_rows(folder)
    assert rows
    shutil.rmtree(folder)
    return rows


def _check_index(rows: Rows | None, expected: Rows, tables: Path) -> None:
    """Check that what tables lack, or say otherwise, is among the issues, and no row is made up."""
    assert rows is not None
    ids = rows["datasets"]["id"]
    assert ids.n_unique() == len(ids)
    assert set(rows["datasets"]["eid"]) <= set(rows["sessions"]["id"])
    assert set(ids) <= set(expected["datasets"]["id"])
    reported = set(files.scan_issues(tables).collect()["path"])
    found = paths_of(rows)
    missing = paths_of(expected).join(found, on=["path", "size", "hash"], how="anti")
    for path in missing["path"]:
        assert is_below(path, reported), f"{path} is lost without a word"
    sessions = expected["sessions"].join(rows["sessions"], on="id", how="anti")
    for lab, subject, date, number in sessions["lab", "subject", "date", "number"].iter_rows():
        path = f"{lab}/Subjects/{subject}/{date}/{number:03}"
        assert is_below(path, reported), f"{path} is lost without a word"
    changes = files.scan_changes(tables).collect()
    removed = changes.filter(change="removed")["path"].to_list()
    vanished = set(files.scan_issues(tables).filter(kind="vanished").collect()["path"])
    wrong = [p for p in removed if not p.startswith(GONE) and not is_below(p, vanished)]
    assert not wrong, "removed, although it stood still"


def is_below(path: str, folders: set[str]) -> bool:
    parts = path.split("/")
    return "." in folders or any("/".join(parts[: n + 1]) in folders for n in range(len(parts)))


def check_folder(tables: Path, *, is_settled: bool = False, is_litter_kept: bool = False) -> None:
    """Check that in a folder of tables there is nothing but what is to be there."""
    names = {path.name for path in tables.iterdir()}
    if is_litter_kept:
        names.discard(".ONE.lock")
    assert names <= {*(f"{name}.pqt" for name in SCHEMAS), files.STATE_DIR}, names
    state = tables / files.STATE_DIR
    inside = sorted(path.name for path in state.iterdir()) if state.is_dir() else []
    more = [
        name
        for name in inside
        if name not in STATE and not re.fullmatch(r"lock-\d+(\.free)?", name)
    ]
    runs = [name for name in more if name.startswith("run-")]
    assert len(runs) <= (0 if is_settled else 1), runs
    if not is_litter_kept:
        # What a commit could not remove, the next run does.
        own = ("run-", "snapshot-", "generation-", *(() if is_settled else ("dropped-",)))
        assert all(name.startswith(own) for name in more), more
    if is_settled:
        assert "commit.json" not in inside
        assert not any(name.startswith("dropped-") for name in inside)
        assert sum(name.startswith("snapshot-") for name in more) <= 1
        # The one before, and the last with other files.
        assert sum(name.startswith("generation-") for name in more) <= 2


def check_kept(tables: Path, *generations: Rows | None) -> None:
    """Check that each generation that is kept is whole, and is one of these.

    Reading the tables has finished a commit that was cut off, unless a lock of ONE's seems to be
    held: a run was killed before it had written into that.
    """
    if journal.is_under_way(tables):
        assert (tables / ".ONE.lock").exists()
        return
    for folder in (tables / files.STATE_DIR).glob("generation-*"):
        rows = read_rows(folder)
        assert rows is not None, "not half of one"
        assert any(same(rows, known) for known in generations)


def merge_scene(base: Path) -> Scene:
    """Merge the tables of two archives into a folder that has those of one."""
    folders = []
    for lab in ("a", "b"):
        folder = make_tree(base / lab, {f"{lab}/Subjects": ARCHIVE_OF[lab]})
        polars_alf.index_archive(folder, namespace=NAMESPACE, insertions=True)
        folders.append(folder)
    tables, whole = base / "tables", base / "undisturbed"
    for folder in (tables, whole):
        folder.mkdir(exist_ok=True)
    polars_alf.merge_tables(folders[0], tables)
    polars_alf.merge_tables(folders, whole)
    before, expected = read_rows(tables), read_rows(whole)
    sources = [list_files(folder) for folder in folders]

    def check(code: int, *, is_litter_kept: bool = False) -> None:
        assert code in (0, 1)
        assert [list_files(folder) for folder in folders] == sources
        check_folder(tables, is_litter_kept=is_litter_kept)
        rows = read_rows(tables)
        assert same(rows, expected) or (code == 1 and same(rows, before))
        check_kept(tables, *([before, expected] if same(rows, expected) else []))

    def again() -> None:
        polars_alf.merge_tables(folders, tables)
        assert same(read_rows(tables), expected)
        check_folder(tables, is_settled=True)

    arguments = ["merge", *map(str, folders), "--out", str(tables), "--json"]
    return Scene(base, arguments, check, again)


def restore_scene(base: Path) -> Scene:
    """Put back the tables that an index has replaced."""
    archive, tables = make_tree(base / "archive", ARCHIVE), base / "tables"
    tables.mkdir()
    pairs = []
    for change in (lambda _: None, _change):
        change(archive)
        polars_alf.index_archive(archive, tables, namespace=NAMESPACE, insertions=True)
        pairs.append(read_rows(tables))
    old, new = pairs
    sources = list_files(archive)

    def check(code: int, *, is_litter_kept: bool = False) -> None:
        assert code in (0, 1)
        assert list_files(archive) == sources
        check_folder(tables, is_litter_kept=is_litter_kept)
        rows = read_rows(tables)
        is_back = same(rows, old)
        assert is_back or (code == 1 and same(rows, new))
        check_kept(tables, new if is_back else old)
        assert len([*(tables / files.STATE_DIR).glob("generation-*")]) == 1

    def again() -> None:
        if same(read_rows(tables), new):
            polars_alf.restore_tables(tables)
        assert same(read_rows(tables), old)
        polars_alf.restore_tables(tables)
        assert same(read_rows(tables), new)
        check_folder(tables, is_settled=True)
        report = polars_alf.index_archive(archive, tables, executor="serial")
        assert report.changes
        assert report.changes["unchanged"] == len(new["datasets"]) if new else 0
        check_folder(tables, is_settled=True)

    return Scene(base, ["restore", str(tables), "--json"], check, again)


ARCHIVE_OF: dict[str, Tree] = {
    lab: {f"S{n}/2020-01-0{day}/001": SESSION for n in (1, 2) for day in (1, 2)} for lab in "ab"
}


def prune_scene(base: Path, strays: list[str] = STRAYS) -> Scene:
    """Remove what was put into an archive since it was indexed."""
    archive, tables = make_tree(base / "archive", ARCHIVE), base / "tables"
    tables.mkdir()
    polars_alf.index_archive(archive, tables, namespace=NAMESPACE)
    clean = list_files(archive)
    make_tree(archive, dict.fromkeys(strays, 7))
    make_tree(archive, {"b/Subjects/S8/2020-01-01/001": {}})
    before = list_files(archive)
    plan = set(polars_alf.plan_removals(archive, tables)["path"])
    written = {path.name: path.read_bytes() for path in tables.glob("*.pqt")}

    def check(code: int, *, is_litter_kept: bool = False) -> None:
        assert code in (0, 1, 3)
        check_folder(tables, is_litter_kept=is_litter_kept)
        assert {path.name: path.read_bytes() for path in tables.glob("*.pqt")} == written
        now = list_files(archive)
        gone = before.keys() - now.keys()
        assert gone <= plan, "more was removed than was planned"
        assert now.items() <= before.items()
        check_log(tables, gone)
        if code == 0:
            # What could not be listed is kept.
            assert clean.items() <= now.items()

    def again() -> None:
        plan_again = polars_alf.plan_removals(archive, tables)
        polars_alf.apply_removals(archive, plan_again, tables, max_removed=1.0)
        gone = before.keys() - list_files(archive).keys()
        assert gone <= plan
        # A new plan does not know folders above a session that is gone already.
        assert all((archive / path).is_dir() for path in plan - gone)
        left = {path: size for path, size in list_files(archive).items() if path not in clean}
        assert set(left.values()) <= {-1}, "only folders are left"
        check_log(tables, gone)

    arguments = ["prune", str(archive), "--tables-dir", str(tables), "--apply", "--yes", "--json"]
    return Scene(base, [*arguments, "--max-removed", "100%", "--jobs", "1"], check, again)


def check_log(tables: Path, gone: set[str]) -> None:
    """Check that the log announces all that is gone, and says of nothing else that it is."""
    log = files.removals_path(tables)
    records = []
    for line in log.read_text().splitlines() if log.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:  # cut off
            continue
    assert gone <= {record["path"] for record in records if record["event"] == "removing"}
    assert {record["path"] for record in records if record["event"] == "removed"} <= gone


BENCH_FOLDER = "polars_alf_bench_"
REPORT = {"result.json", "report.html"} | {
    f"{name}.parquet" for name in ("measurements", "latencies", "rates")
}


def bench_scene(base: Path) -> Scene:
    """Measure the storage of a folder that has something in it."""
    target, report = base / "target", base / "report"
    for folder in (target, report):
        folder.mkdir(exist_ok=True)
    make_tree(target, {"precious": 7})

    def check(code: int, *, is_litter_kept: bool = False) -> None:
        assert code in (0, 1)
        names = {path.name for path in target.iterdir()}
        left = {name for name in names if name.startswith(BENCH_FOLDER)}
        assert names - left == {"precious"}
        assert is_litter_kept or not left, "what was measured is still there"
        # Who keeps result.json relies on it.
        written = {path.name for path in report.iterdir() if path.suffix != ".png"}
        assert written == REPORT if code == 0 else is_litter_kept or written <= REPORT, written
        if "result.json" in written:
            assert read_report(report).label

    def again() -> None:
        names = {path.name for path in target.iterdir()}
        found = polars_alf.bench_storage(target, files=40, threads=[1], duration=0.01, repeats=1)
        found.write(report)
        assert {path.name for path in target.iterdir()} == names

    sizes = ["--files", "40", "--threads", "1", "--repeats", "1", "--duration", "0.01"]
    arguments = ["bench", str(target), "--out", str(report), "--json", "--quiet", *sizes]
    return Scene(base, arguments, check, again)


SCENES: dict[str, Callable[[Path], Scene]] = {
    "index": lambda base: index_scene(base, "--executor", "serial"),
    "refresh": lambda base: index_scene(base, "--executor", "serial", old=True),
    "hash": lambda base: index_scene(base, "--executor", "serial", "--hash-files", old=True),
    "insertions": lambda base: index_scene(base, "--executor", "serial", "--insertions", old=True),
    "merge": merge_scene,
    "restore": restore_scene,
    "prune": prune_scene,
    "bench": bench_scene,
}


def make_scene(name: str, base: Path) -> Scene:
    base.mkdir(parents=True)
    return SCENES[name](base)
