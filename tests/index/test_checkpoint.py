"""Interrupted runs are taken up, and another index of the same archive is a refresh."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import SESSION, Tree, check_state, make_tree

from polars_alf import IndexReport, Progress, errors, index_archive
from polars_alf.index import api, snapshot
from polars_alf.tables import files, transaction
from polars_alf.walk import batches, lister, shards

LONG_AGO = 1_600_000_000
MANY: Tree = {
    f"lab/Subjects/S{subject}/2020-01-{day:02}/001": SESSION
    for subject in range(4)
    for day in range(1, 11)
}
"""Forty sessions, a hundred and twenty datasets."""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an archive of forty shards."""
    monkeypatch.setattr(shards, "LEAST_UNITS", 1)
    return make_tree(tmp_path / "many", MANY)


def _rows(folder: Path) -> list[pl.DataFrame]:
    return [pl.read_parquet(folder / f"{name}.pqt") for name in ("sessions", "datasets")]


def _expected(archive: Path, tmp_path: Path) -> list[pl.DataFrame]:
    """Return the tables of an undisturbed run."""
    folder = tmp_path / "undisturbed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    index_archive(archive, folder, namespace="test")
    return _rows(folder)


def _assert_equal(left: list[pl.DataFrame], right: list[pl.DataFrame]) -> None:
    assert all(a.equals(b) for a, b in zip(left, right, strict=True))


def _end_after(n_shards: int, archive: Path, options: str = 'namespace="test"') -> None:
    """Run an index that ends without a word when so many of its shards are done."""
    code = f"""
import os
from polars_alf import index_archive
from polars_alf.index import shard as scanning
from polars_alf.walk import shards
shards.LEAST_UNITS = 1
run = scanning.run_tasks
def end(*args, **kwargs):
    for n, receipt in enumerate(run(*args, **kwargs)):
        if n == {n_shards}: os._exit(9)
        yield receipt
    os._exit(9)
scanning.run_tasks = end
index_archive({str(archive)!r}, executor="serial", {options})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 9, result.stderr


# Resume


@pytest.mark.parametrize("n_shards", [0, 1, 25, 40])
def test_a_killed_run_goes_on(many: Path, tmp_path: Path, n_shards: int) -> None:
    _end_after(n_shards, many)
    assert not list(many.glob("*.pqt"))
    seen: list[Progress] = []
    report = index_archive(many, namespace="test", progress=seen.append)
    # The shard after the last is written when its result comes.
    assert report.n_resumed == min(n_shards + 1, 40)
    assert report.n_shards == 40
    assert seen[-1].n_resumed == report.n_resumed
    assert seen[-1].files == 4 * (40 - report.n_resumed)
    assert report.n_other_files == 40
    _assert_equal(_rows(many), _expected(many, tmp_path))
    check_state(many)


def test_a_killed_run_leaves_the_old_tables_and_keeps_their_ids(many: Path) -> None:
    index_archive(many)
    before = _rows(many)
    (many / "lab/Subjects/S0/2020-01-03/001/a.b.npy").touch()
    _end_after(20, many, "")
    _assert_equal(_rows(many), before)
    report = index_archive(many)
    assert (report.n_resumed, report.n_datasets) == (21, 121)
    assert report.changes is not None
    assert (report.changes["added"], report.changes["unchanged"]) == (1, 120)
    after = _rows(many)
    assert after[0].equals(before[0])
    assert before[1].join(after[1], on=["eid", "id"], how="anti").is_empty()


def test_the_issues_are_in_the_order_of_an_undisturbed_run(many: Path, tmp_path: Path) -> None:
    for subject in range(4):
        for day in range(1, 11):
            make_tree(many / f"lab/Subjects/S{subject}/2020-01-{day:02}/001/my coll", {"a.b.c": 1})
    _end_after(13, many)
    index_archive(many, namespace="test")
    _expected(many, tmp_path)
    found = files.scan_issues(many).collect()
    assert found.height == 40
    assert found.equals(files.scan_issues(tmp_path / "undisturbed").collect())


@pytest.mark.parametrize(
    "options",
    [
        {"restart": True},
        {"hash_files": True},
        {"exclude": "*.tmp"},
        {"lab": "lab"},
        {"hash_ids": False},
        {"namespace": "other"},
        {"follow_links": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_run_with_other_options_starts_afresh(many: Path, options: dict[str, object]) -> None:
    _end_after(20, many)
    arguments = {"namespace": "test"} | options
    report = index_archive(many, **arguments)  # type: ignore[arg-type]
    assert (report.n_resumed, report.n_datasets) == (0, 120)
    check_state(many)


def test_what_changed_in_between_is_seen_where_units_came_or_went(
    many: Path, tmp_path: Path
) -> None:
    _end_after(25, many)
    make_tree(many, {"lab/Subjects/S0/2020-01-05x": {}, "lab/Subjects/S0/2019-12-31/001": SESSION})
    shutil.rmtree(many / "lab/Subjects/S1/2020-01-02")
    report = index_archive(many, namespace="test")
    assert report.n_resumed == 25
    _assert_equal(_rows(many), _expected(many, tmp_path))


@posix_only
def test_what_could_not_be_read_is_tried_again(
    many: Path, archive: Path, unprivileged: Callable[[], None]
) -> None:
    closed = many / "lab/Subjects/S0/2020-01-01/001/alf"
    closed.chmod(0)
    for path in (many, *many.rglob("*")):
        if path != closed and path.is_dir():
            path.chmod(0o777)
    # The first index loads what another user may not be able to.
    code = f"""
import os
from polars_alf import index_archive
from polars_alf.index import shard as scanning
from polars_alf.walk import shards
shards.LEAST_UNITS = 1
index_archive({str(archive)!r}, executor="serial")
if os.geteuid() == 0: os.seteuid(65534)
run = scanning.run_tasks
def end(*args, **kwargs):
    yield from run(*args, **kwargs)
    os._exit(9)
scanning.run_tasks = end
index_archive({str(many)!r}, executor="serial", namespace="test")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 9, result.stderr
    closed.chmod(0o755)
    report = index_archive(many, namespace="test")
    assert (report.n_resumed, report.n_datasets, report.issues) == (39, 120, {})


def test_a_shard_that_is_damaged_is_scanned_again(many: Path, tmp_path: Path) -> None:
    _end_after(25, many)
    (run,) = (many / files.STATE_DIR).glob("run-*")
    first, second, third, fourth, fifth, sixth = sorted((run / "shards").iterdir())[:6]
    (first / "receipt.json").write_text("{")
    (second / "datasets.arrow").unlink()
    (third / "receipt.json").unlink()
    fourth.rename(fourth.with_name(f"{fourth.name}.0.tmp"))
    # As after a loss of power.
    (fifth / "datasets.arrow").write_bytes(bytes((fifth / "datasets.arrow").stat().st_size))
    (sixth / "sessions.arrow").write_bytes(b"")
    report = index_archive(many, namespace="test")
    assert report.n_resumed == 26 - 6
    _assert_equal(_rows(many), _expected(many, tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": 1}'])
def test_a_run_that_cannot_be_understood_starts_afresh(many: Path, text: str) -> None:
    _end_after(25, many)
    (run,) = (many / files.STATE_DIR).glob("run-*")
    (run / "run.json").write_text(text)
    assert index_archive(many, namespace="test").n_resumed == 0
    check_state(many)


def test_a_run_that_could_not_be_removed_goes_with_the_next(archive: Path) -> None:
    index_archive(archive)
    with pytest.MonkeyPatch.context() as patch:
        # As on NFS, where a file that is open somewhere stays.
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        index_archive(archive)
    assert list((archive / files.STATE_DIR).glob("run-*"))
    assert index_archive(archive).n_datasets == 12
    check_state(archive)


@posix_only
def test_sigkill_at_random_moments(many: Path, tmp_path: Path) -> None:
    expected = _expected(many, tmp_path)
    code = f"""
from polars_alf import index_archive
from polars_alf.index import shard as scanning
from polars_alf.walk import shards
shards.LEAST_UNITS = 1
print("ready", flush=True)
index_archive({str(many)!r}, n_jobs=2, executor="processes", namespace="test")
"""
    moments = random.Random(1)
    n_killed = 0
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait() == -signal.SIGKILL
        if len(list(many.glob("*.pqt"))) == 2:
            with transaction.locked_state(many):
                _assert_equal(_rows(many), expected)
    assert n_killed > 6
    index_archive(many, namespace="test")
    _assert_equal(_rows(many), expected)
    check_state(many)


def test_an_interrupt_says_how_to_go_on(many: Path) -> None:
    _end_after(25, many)
    result = subprocess.run(
        [sys.executable, "-m", "polars_alf", "index", str(many), "--namespace", "test"],
        capture_output=True,
        text=True,
    )
    assert "26 of " in result.stderr
    assert "--restart" in result.stderr
    assert "Resumed      26 of " in result.stdout


def test_an_archive_that_falls_silent_at_the_end_is_taken_up_again(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(many, namespace="test")
    before = [table.read_bytes() for table in sorted(many.glob("*.pqt"))]
    away = many.with_name("away")

    def scan(*arguments: object) -> object:
        result = scan_shards(*arguments)
        many.rename(away)
        return result

    scan_shards = api.scan_shards
    out_dir = tmp_path / "tables"
    out_dir.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(api, "scan_shards", scan)
        with pytest.raises(errors.ArchiveNotFoundError):
            index_archive(many, out_dir, namespace="test")
    away.rename(many)
    assert [table.read_bytes() for table in sorted(many.glob("*.pqt"))] == before
    assert not list(out_dir.glob("*.pqt"))
    assert index_archive(many, out_dir, namespace="test").n_resumed == 40
    _assert_equal(_rows(out_dir), _rows(many))


def test_an_archive_that_is_replaced_meanwhile_is_scanned_again(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tree(tmp_path / "other", {"lab/Subjects/S9/2020-01-01/001": SESSION})
    out_dir = tmp_path / "tables"
    out_dir.mkdir()

    def scan(*arguments: object) -> object:
        result = scan_shards(*arguments)
        many.rename(many.with_name("away"))
        other.rename(many)
        return result

    scan_shards = api.scan_shards
    with monkeypatch.context() as patch:
        patch.setattr(api, "scan_shards", scan)
        with pytest.raises(errors.ScanError, match="is not the folder that it was"):
            index_archive(many, out_dir, namespace="test")
    assert not list(out_dir.glob("*.pqt"))
    report = index_archive(many, out_dir, namespace="test")
    assert (report.n_resumed, report.n_sessions) == (0, 1)


def test_restart_from_the_command_line(many: Path) -> None:
    _end_after(25, many)
    command = [sys.executable, "-m", "polars_alf", "index", str(many), "--namespace", "test"]
    result = subprocess.run(
        [*command, "--restart", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["n_resumed"] == 0


# ONE's lock


def test_the_lock_of_one_is_waited_for(archive: Path) -> None:
    index_archive(archive)
    lock = archive / ".ONE.lock"
    lock.write_text("{}")
    seen: list[bool] = []

    def release() -> None:
        journal = archive / files.STATE_DIR / "commit.json"
        while not journal.exists():
            time.sleep(0.01)
        time.sleep(0.3)
        seen.append(journal.exists())
        lock.unlink()

    thread = threading.Thread(target=release)
    thread.start()
    index_archive(archive, executor="serial")
    thread.join()
    assert seen == [True]
    check_state(archive)


@pytest.mark.parametrize("ours", [False, True])
def test_a_stale_lock_is_recognised(archive: Path, ours: bool) -> None:
    index_archive(archive)
    lock = archive / ".ONE.lock"
    lock.write_text('{"by": "polars_alf"}' if ours else "")
    if not ours:
        old = time.time() - 120
        os.utime(lock, (old, old))
    index_archive(archive)
    check_state(archive)


def test_a_lock_that_stays_is_told(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_archive(archive)
    before = _rows(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    (archive / ".ONE.lock").write_text("{}")
    monkeypatch.setattr(transaction.recover, "__kwdefaults__", {"patience": 0.2})
    with pytest.raises(errors.ArchiveBusyError, match=r"\.ONE\.lock"):
        index_archive(archive)
    _assert_equal(_rows(archive), before)
    (archive / ".ONE.lock").unlink()
    with transaction.locked_state(archive):
        assert _rows(archive)[1].height == 15, "the commit is finished by whoever comes next"


# Refresh


def _age(root: Path) -> None:
    """Make every file old enough for its digest to be relied on."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO, LONG_AGO))


def _digested(archive: Path, **options: object) -> tuple[int, dict[str, int] | None]:
    seen: list[Progress] = []
    report = index_archive(archive, progress=seen.append, **options)  # type: ignore[arg-type]
    return seen[-1].n_bytes, report.changes


def test_the_first_index_has_nothing_to_compare_with(archive: Path) -> None:
    report = index_archive(archive)
    assert report.changes is None
    assert report.scan_changes().collect().is_empty()


def test_changes_are_counted_and_listed(archive: Path) -> None:
    _age(archive)
    index_archive(archive)
    session = archive / "cortexlab/Subjects/KS001/2020-01-01/001"
    (session / "alf/spikes.times.npy").write_bytes(b"longer than it was before")
    (session / "_ibl_trials.intervals_bpod.csv").unlink()
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001/a.b.npy": 7})
    shutil.rmtree(archive / "wittenlab")
    report = index_archive(archive)
    assert report.changes == {
        "added": 1,
        "changed": 1,
        "removed": 4,
        "unreadable": 0,
        "unchanged": 7,
    }
    rows = report.scan_changes().sort("path").collect().rows()
    lab = "cortexlab/Subjects/KS001/2020-01-01/001"
    other = "wittenlab/Subjects/KS001/2020-01-01/001"
    assert rows == [
        (f"{lab}/_ibl_trials.intervals_bpod.csv", "removed", None, 11),
        (f"{lab}/alf/spikes.times.npy", "changed", 25, 20),
        ("cortexlab/Subjects/KS009/2020-01-01/001/a.b.npy", "added", 7, None),
        (f"{other}/_ibl_trials.intervals_bpod.csv", "removed", None, 11),
        (f"{other}/alf/probe00/#2024-05-06#/spikes.times.npy", "removed", None, 30),
        (f"{other}/alf/spikes.times.npy", "removed", None, 20),
    ]


def test_only_changed_files_are_digested_again(archive: Path) -> None:
    _age(archive)
    assert _digested(archive, hash_files=True)[0] == 4 * 61
    first = _rows(archive)[1]
    assert _digested(archive, hash_files=True)[0] == 0
    assert _rows(archive)[1].equals(first)
    changed = archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy"
    changed.write_bytes(b"x" * 20)
    assert _digested(archive, hash_files=True)[0] == 20
    wanted = hashlib.md5(b"x" * 20).hexdigest()
    assert _rows(archive)[1].filter(hash=wanted).height == 1


def test_a_file_replaced_by_another_of_its_size_and_time_is_digested_again(archive: Path) -> None:
    _age(archive)
    index_archive(archive, hash_files=True)
    old = archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy"
    new = old.with_name("new")
    new.write_bytes(b"y" * 20)
    os.utime(new, (LONG_AGO, LONG_AGO))
    new.replace(old)
    assert _digested(archive, hash_files=True)[0] == 20


def test_a_file_of_this_moment_is_digested_again(archive: Path) -> None:
    index_archive(archive, hash_files=True)
    # It may have changed again within the same tick of its file system's clock.
    assert _digested(archive, hash_files=True)[0] == 4 * 61


def test_digests_that_hold_are_kept_by_an_index_without(archive: Path) -> None:
    _age(archive)
    index_archive(archive, hash_files=True)
    first = _rows(archive)[1]
    (archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy").write_bytes(b"x")
    index_archive(archive)
    joined = first.join(_rows(archive)[1], on=["eid", "id"])
    assert (joined["hash"] == joined["hash_right"]).sum() == 11
    assert joined.filter(file_size_right=1)["hash_right"].to_list() == [""]
    index_archive(archive)
    assert (_rows(archive)[1]["hash"] != "").sum() == 11, "also by the index after that"


@posix_only
def test_what_cannot_be_read_is_not_called_removed(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    index_archive(archive, out_dir)
    (archive / "cortexlab/Subjects/KS001/2020-01-01/001/alf").chmod(0)
    (archive / "wittenlab/Subjects/KS001").chmod(0)
    for path in (out_dir, *out_dir.rglob("*")):
        path.chmod(0o777)
    unprivileged()
    report = index_archive(archive, out_dir)
    assert report.changes is not None
    assert (report.changes["removed"], report.changes["unreadable"]) == (0, 5)


def test_a_snapshot_that_is_damaged_does_no_harm(archive: Path) -> None:
    index_archive(archive)
    (snapshot,) = (archive / files.STATE_DIR).glob("snapshot-*")
    for shard in snapshot.iterdir():
        (shard / "entries.arrow").write_bytes(b"junk")
    report = index_archive(archive)
    assert report.n_datasets == 12
    assert index_archive(archive).changes == {
        "added": 0,
        "changed": 0,
        "removed": 0,
        "unreadable": 0,
        "unchanged": 12,
    }


NAMES = st.sampled_from(["a.b.npy", "c.d.npy", "alf/a.b.npy", "alf/#r#/e.f.csv"])
SESSIONS = st.sampled_from([f"S{n}/2020-01-0{day}/00{day}" for n in (1, 2) for day in (1, 2, 3)])
FILES = st.dictionaries(st.tuples(SESSIONS, NAMES), st.integers(0, 9), max_size=12)


@settings(max_examples=40, deadline=None)
@given(before=FILES, after=FILES)
def test_changes_are_those_of_a_naive_comparison(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[tuple[str, str], int],
    after: dict[tuple[str, str], int],
) -> None:
    root = tmp_path_factory.mktemp("archive")
    out_dir = tmp_path_factory.mktemp("tables")
    old, new = ({f"{s}/{n}": size for (s, n), size in files.items()} for files in (before, after))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "LEAST_UNITS", 1)
        make_tree(root, dict(old))
        _age(root)
        _quietly(root, out_dir)
        for path in old.keys() - new.keys():
            (root / path).unlink()
        for path, size in new.items():
            if old.get(path) != size:
                make_tree(root, {path: size})
        report = _quietly(root, out_dir)
    found = {row["path"]: row["change"] for row in report.scan_changes().collect().to_dicts()}
    expected = dict.fromkeys(old.keys() - new.keys(), "removed")
    expected |= dict.fromkeys(new.keys() - old.keys(), "added")
    expected |= {path: "changed" for path in old.keys() & new.keys() if old[path] != new[path]}
    assert found == expected
    assert report.changes is not None
    assert report.changes["unchanged"] == len(new) - len(new.keys() & expected.keys())


def _quietly(root: Path, out_dir: Path) -> IndexReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NoSessionsWarning)
        return index_archive(root, out_dir, namespace="test")


# Quick


def _old_times(root: Path) -> None:
    """Make files and folders old enough to be relied on; folders have two times."""
    _age(root)
    for path in (root, *root.rglob("*")):
        if path.is_dir() and ".polars_alf" not in path.parts:
            os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def settled(archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Index an archive that nothing has changed in for long, by its own clock."""
    monkeypatch.setattr(snapshot, "GRAIN_NS", -(10**12))
    _old_times(archive)
    index_archive(archive, out_dir, namespace="test")
    return archive


def _listed(archive: Path, out_dir: Path, **options: object) -> tuple[list[str], IndexReport]:
    """Return the directories in sessions that a quick index lists, and its report."""
    listed: list[str] = []
    real = lister.Lister.open

    def note(lister: lister.Lister, directory: str, into: batches.Listing) -> int | str:
        if "/20" in directory:
            listed.append(directory)
        return real(lister, directory, into)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lister.Lister, "open", note)
        arguments = {"quick": True, "executor": "serial", "namespace": "test"} | options
        report = index_archive(archive, out_dir, **arguments)  # type: ignore[arg-type]
    return listed, report


def _assert_right(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    _assert_equal(_rows(out_dir), _expected(archive, tmp_path))


def test_quick_lists_nothing_where_nothing_changed(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    before = (out_dir / "datasets.pqt").stat().st_mtime_ns
    listed, report = _listed(settled, out_dir)
    assert listed == []
    assert report.changes is not None
    assert report.changes["unchanged"] == report.n_datasets == 12
    assert (report.n_other_files, report.n_sessions, report.n_bytes) == (4, 4, 244)
    assert report.scan_changes().collect().is_empty()
    assert (out_dir / "datasets.pqt").stat().st_mtime_ns == before
    check_state(out_dir)


def test_quick_lists_what_changed(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    make_tree(settled, {f"{session}/alf/new.file.npy": 5, f"{session}/alf/deep/x.y.npy": 6})
    (settled / session / "alf/spikes.times.npy").unlink()
    make_tree(settled, {"cortexlab/Subjects/KS007/2020-01-01/001": SESSION})
    listed, report = _listed(settled, out_dir)
    new = "cortexlab/Subjects/KS007/2020-01-01"
    assert sorted(listed) == [
        f"{session}/alf",
        f"{session}/alf/deep",
        new,
        f"{new}/001",
        f"{new}/001/alf",
        f"{new}/001/alf/probe00",
        f"{new}/001/alf/probe00/#2024-05-06#",
    ]
    assert report.changes == {
        "added": 5,
        "changed": 0,
        "removed": 1,
        "unreadable": 0,
        "unchanged": 11,
    }
    _assert_right(settled, out_dir, tmp_path)
    listed, report = _listed(settled, out_dir)
    assert listed == []
    _assert_right(settled, out_dir, tmp_path)


def test_quick_does_not_see_what_is_rewritten_in_place(settled: Path, out_dir: Path) -> None:
    file = settled / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy"
    file.write_bytes(b"longer than it was")
    assert _listed(settled, out_dir)[1].n_bytes == 244
    assert index_archive(settled, out_dir, namespace="test").n_bytes == 244 - 20 + 18


def test_quick_sees_what_went(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(settled / "wittenlab")
    shutil.rmtree(settled / "cortexlab/Subjects/KS001/2020-01-01/002")
    report = _listed(settled, out_dir)[1]
    assert report.changes is not None
    assert (report.changes["removed"], report.n_sessions) == (6, 2)
    _assert_right(settled, out_dir, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"exclude": "probe00"},
        {"follow_links": True},
        {"hash_files": True},
        {"lab": "lab"},
        {"hash_ids": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_quick_heeds_other_options(
    archive: Path, out_dir: Path, options: dict[str, object]
) -> None:
    root = archive / "cortexlab/Subjects"
    index_archive(root, out_dir, namespace="test")
    if "lab" in options:
        options = {"lab": "cortexlab"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "GRAIN_NS", -(10**12))
        index_archive(root, out_dir, namespace="test")
        _listed(root, out_dir, **options)
    other = out_dir / "other"
    other.mkdir()
    index_archive(root, other, namespace="test", **options)  # type: ignore[arg-type]
    _assert_equal(_rows(out_dir), _rows(other))


def test_quick_does_not_trust_what_changed_a_moment_ago(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, namespace="test")
    listed, _ = _listed(archive, out_dir)
    assert len(listed) == 4 * 5 - 1, "all of them: two sessions share a date"


@posix_only
def test_quick_tries_again_what_could_not_be_read(
    settled: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    file = settled / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy"
    user = os.geteuid()
    file.chmod(0)
    for path in (out_dir, *out_dir.rglob("*")):
        path.chmod(0o777)
    unprivileged()
    options = {"hash_files": True, "executor": "serial", "namespace": "test"}
    report = index_archive(settled, out_dir, **options)  # type: ignore[arg-type]
    assert report.issues == {"unreadable_content": 1}
    os.seteuid(user)
    file.chmod(0o644)  # which changes no folder
    report = index_archive(settled, out_dir, quick=True, **options)  # type: ignore[arg-type]
    assert report.issues == {}
    assert "" not in _rows(out_dir)[1]["hash"].to_list()


@posix_only
def test_quick_looks_again_at_what_had_issues(settled: Path, out_dir: Path) -> None:
    collection = settled / "cortexlab/Subjects/KS001/2020-01-01/001/alf"
    (collection / "broken.link.npy").symlink_to("nowhere")
    assert _listed(settled, out_dir)[1].issues == {"broken_link": 1}
    (collection / "nowhere").mkdir()
    (collection / "nowhere").rmdir()
    listed, report = _listed(settled, out_dir)
    assert f"{collection.relative_to(settled)}" in listed
    assert report.issues == {"broken_link": 1}


def test_quick_replaces_tables_that_are_not_of_the_last_index(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    pl.read_parquet(out_dir / "datasets.pqt").head(1).write_parquet(out_dir / "datasets.pqt")
    with pytest.warns(errors.TableWarning):
        _, report = _listed(settled, out_dir)
    assert report.n_datasets == 12
    _assert_right(settled, out_dir, tmp_path)


@pytest.mark.parametrize("threads", [1, 4])
def test_quick_with_threads(settled: Path, out_dir: Path, tmp_path: Path, threads: int) -> None:
    make_tree(settled, {"cortexlab/Subjects/KS007/2020-01-01/001": SESSION})
    make_tree(settled, {"cortexlab/Subjects/KS001/2020-01-01/001/alf/more": SESSION})
    _listed(settled, out_dir, threads=threads)
    _assert_right(settled, out_dir, tmp_path)


@settings(max_examples=30, deadline=None)
@given(before=FILES, after=FILES)
def test_quick_finds_what_a_full_index_finds(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[tuple[str, str], int],
    after: dict[tuple[str, str], int],
) -> None:
    root, tmp_path = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("tables")
    out_dir = tmp_path / "tables"
    out_dir.mkdir()
    old, new = ({f"{s}/{n}" for s, n in files} for files in (before, after))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NoSessionsWarning)
        patch.setattr(shards, "LEAST_UNITS", 1)
        patch.setattr(snapshot, "GRAIN_NS", -(10**12))
        make_tree(root, dict.fromkeys(old, 1))
        _quietly(root, out_dir)
        for path in old - new:
            (root / path).unlink()
        make_tree(root, dict.fromkeys(new - old, 2))
        _listed(root, out_dir)
        _assert_right(root, out_dir, tmp_path)


# The report that is kept


def test_info_shows_the_last_run(archive: Path) -> None:
    (archive / "cortexlab/Subjects/KS001/2020-01-01/001/my coll").mkdir()
    (archive / "cortexlab/Subjects/KS001/2020-01-01/001/my coll/a.b.npy").touch()
    index_archive(archive, exclude="*.tmp")
    command = [sys.executable, "-m", "polars_alf", "info", str(archive)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "exclude=['*.tmp']" in shown
    assert "1 invalid_collection, for example cortexlab/" in shown
    assert "Slowest shards" in shown
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    run = json.loads(shown)["run"]
    assert run["report"]["n_datasets"] == 13
    assert run["slowest_shards"][0]["n_units"] == 3
    # Tables of another hand have no such report.
    for name in ("sessions", "datasets"):
        path = archive / f"{name}.pqt"
        pl.read_parquet(path).write_parquet(path)
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown)["run"] is None
