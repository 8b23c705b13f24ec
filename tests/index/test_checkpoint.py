"""Interrupted runs are taken up."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from apart import run_apart
from command_line import run
from indexes import assert_equal, index_undisturbed, read_tables
from trees import SESSION, Tree, check_state, make_tree
from tuning import SMALL_SHARDS, tune

from polars_alf import Progress, errors, index_archive
from polars_alf.index import run as run_module
from polars_alf.tables import files, transaction

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
    tune(monkeypatch, least_folders=1)
    return make_tree(tmp_path / "many", MANY)


def _end_after(n_shards: int, archive: Path, options: str = 'namespace="test"') -> None:
    """Run an index that ends without a word when so many of its shards are done."""
    code = f"""
import os
from polars_alf import index_archive
from polars_alf.walk import walk
{SMALL_SHARDS}
run = walk.run_tasks
def end(*args, **kwargs):
    for n, result in enumerate(run(*args, **kwargs)):
        if n == {n_shards}: os._exit(9)
        yield result
    os._exit(9)
walk.run_tasks = end
index_archive({str(archive)!r}, executor="serial", {options})
"""
    result = run_apart(code)
    assert result.returncode == 9, result.stderr


@pytest.mark.slow
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
    assert_equal(read_tables(many), index_undisturbed(many, tmp_path))
    check_state(many)


@pytest.mark.slow
def test_a_killed_run_leaves_the_old_tables_and_keeps_their_ids(many: Path) -> None:
    index_archive(many)
    before = read_tables(many)
    (many / "lab/Subjects/S0/2020-01-03/001/a.b.npy").touch()
    _end_after(20, many, "")
    assert_equal(read_tables(many), before)
    report = index_archive(many)
    assert (report.n_resumed, report.n_datasets) == (21, 121)
    assert report.changes is not None
    assert (report.changes["added"], report.changes["unchanged"]) == (1, 120)
    after = read_tables(many)
    assert after[0].equals(before[0])
    assert before[1].join(after[1], on=["eid", "id"], how="anti").is_empty()


@pytest.mark.slow
def test_the_issues_are_in_the_order_of_an_undisturbed_run(many: Path, tmp_path: Path) -> None:
    for subject in range(4):
        for day in range(1, 11):
            make_tree(many / f"lab/Subjects/S{subject}/2020-01-{day:02}/001/my coll", {"a.b.c": 1})
    _end_after(13, many)
    index_archive(many, namespace="test")
    index_undisturbed(many, tmp_path)
    found = files.scan_issues(many).collect()
    assert found.height == 40
    assert found.equals(files.scan_issues(tmp_path / "undisturbed").collect())


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_changed_in_between_is_seen_where_units_came_or_went(
    many: Path, tmp_path: Path
) -> None:
    _end_after(25, many)
    make_tree(many, {"lab/Subjects/S0/2020-01-05x": {}, "lab/Subjects/S0/2019-12-31/001": SESSION})
    shutil.rmtree(many / "lab/Subjects/S1/2020-01-02")
    report = index_archive(many, namespace="test")
    assert report.n_resumed == 25
    assert_equal(read_tables(many), index_undisturbed(many, tmp_path))


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
from polars_alf.walk import walk
{SMALL_SHARDS}
index_archive({str(archive)!r}, executor="serial")
if os.geteuid() == 0: os.seteuid(65534)
run = walk.run_tasks
def end(*args, **kwargs):
    yield from run(*args, **kwargs)
    os._exit(9)
walk.run_tasks = end
index_archive({str(many)!r}, executor="serial", namespace="test")
"""
    result = run_apart(code)
    assert result.returncode == 9, result.stderr
    closed.chmod(0o755)
    report = index_archive(many, namespace="test")
    assert (report.n_resumed, report.n_datasets, report.issues) == (39, 120, {})


@pytest.mark.slow
def test_a_shard_that_is_damaged_is_scanned_again(many: Path, tmp_path: Path) -> None:
    _end_after(25, many)
    (run,) = (many / files.STATE_DIR).glob("run-*")
    first, second, third, fourth, fifth, sixth = sorted((run / "shards").iterdir())[:6]
    (first / "summary.json").write_text("{")
    (second / "datasets.arrow").unlink()
    (third / "summary.json").unlink()
    fourth.rename(fourth.with_name(f"{fourth.name}.0.tmp"))
    # As after a loss of power.
    (fifth / "datasets.arrow").write_bytes(bytes((fifth / "datasets.arrow").stat().st_size))
    (sixth / "sessions.arrow").write_bytes(b"")
    report = index_archive(many, namespace="test")
    assert report.n_resumed == 26 - 6
    assert_equal(read_tables(many), index_undisturbed(many, tmp_path))


@pytest.mark.slow
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


@pytest.mark.slow
@posix_only
def test_sigkill_at_random_moments(many: Path, tmp_path: Path) -> None:
    expected = index_undisturbed(many, tmp_path)
    code = f"""
from polars_alf import index_archive
from polars_alf.walk import walk
{SMALL_SHARDS}
print("ready", flush=True)
index_archive({str(many)!r}, jobs=2, executor="processes", namespace="test")
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
                assert_equal(read_tables(many), expected)
    assert n_killed > 6
    index_archive(many, namespace="test")
    assert_equal(read_tables(many), expected)
    check_state(many)


def test_an_interrupt_says_how_to_go_on(many: Path) -> None:
    _end_after(25, many)
    result = run("index", many, "--namespace", "test")
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
        result = index_shards(*arguments)
        many.rename(away)
        return result

    index_shards = run_module.index_shards
    out_dir = tmp_path / "tables"
    out_dir.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "index_shards", scan)
        with pytest.raises(errors.ArchiveNotFoundError):
            index_archive(many, out_dir, namespace="test")
    away.rename(many)
    assert [table.read_bytes() for table in sorted(many.glob("*.pqt"))] == before
    assert not list(out_dir.glob("*.pqt"))
    assert index_archive(many, out_dir, namespace="test").n_resumed == 40
    assert_equal(read_tables(out_dir), read_tables(many))


def test_an_archive_that_is_replaced_meanwhile_is_scanned_again(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tree(tmp_path / "other", {"lab/Subjects/S9/2020-01-01/001": SESSION})
    out_dir = tmp_path / "tables"
    out_dir.mkdir()

    def scan(*arguments: object) -> object:
        result = index_shards(*arguments)
        many.rename(many.with_name("away"))
        other.rename(many)
        return result

    index_shards = run_module.index_shards
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "index_shards", scan)
        with pytest.raises(errors.ScanError, match="is not the folder that it was"):
            index_archive(many, out_dir, namespace="test")
    assert not list(out_dir.glob("*.pqt"))
    report = index_archive(many, out_dir, namespace="test")
    assert (report.n_resumed, report.n_sessions) == (0, 1)


def test_restart_from_the_command_line(many: Path) -> None:
    _end_after(25, many)
    result = run("index", many, "--namespace", "test", "--restart", "--json")
    assert json.loads(result.stdout)["n_resumed"] == 0
