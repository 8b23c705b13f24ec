"""Removal: refused, interrupted, killed, and its log."""

from __future__ import annotations

import errno
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from apart import run_apart
from removals import KS001, STRAY, files_of, list_names, list_results, read_log
from trees import make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ArchiveBusyError,
    StalePlanError,
)
from polars_alf.prune import apply, folders
from polars_alf.prune.examine import OUTCOMES
from polars_alf.schema import polars_schema
from polars_alf.tables import files, transaction

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.ELOOP, errno.EMLINK])
def test_a_link_on_the_way_is_a_change_on_every_system(number: int) -> None:
    assert apply._judge_error(OSError(number, ""))[0] == "changed"


def test_other_kinds_are_not_removed(strays: Path) -> None:
    plan = plan_removals(strays).with_columns(kind=pl.lit("tree"))
    before = files_of(strays)
    assert set(apply_removals(strays, plan)["result"]) == {"changed"}
    assert files_of(strays) == before
    assert (strays / "cortexlab/Subjects/KS009/2020-01-01/001").is_dir()


@posix_only
def test_what_may_not_be_removed_fails_by_itself(
    strays: Path, unprivileged: Callable[[], None]
) -> None:
    for folder in (
        strays,
        strays / files.STATE_DIR,
        strays / "cortexlab/Subjects/KS009/2020-01-01",
    ):
        folder.chmod(0o777)
    for path in (strays / files.STATE_DIR).iterdir():
        path.chmod(0o666)
    plan = plan_removals(strays)
    unprivileged()
    outcomes = apply_removals(strays, plan)
    failed = outcomes.filter(result="failed")
    assert len(failed) == 5
    assert set(failed["message"]) == {"Permission denied"}
    assert outcomes.filter(result="removed")["kind"].to_list() == ["session"]


def test_a_plan_is_worth_nothing_once_the_tables_are_replaced(strays: Path, tmp_path: Path) -> None:
    plan = plan_removals(strays)
    index_archive(strays)  # now they have the strays
    with pytest.raises(StalePlanError, match="plan again"):
        apply_removals(strays, plan)
    assert (strays / STRAY).exists()
    assert plan_removals(strays).is_empty()
    with pytest.raises(StalePlanError):
        apply_removals(strays, plan, tmp_path)


def test_a_plan_waits_for_nobody(strays: Path) -> None:
    plan = plan_removals(strays)
    with transaction.locked_state(strays), pytest.raises(ArchiveBusyError):
        apply_removals(strays, plan)
    assert (strays / STRAY).exists()


def test_the_log_says_what_was_and_what_became_of_it(strays: Path) -> None:
    plan = plan_removals(strays)
    log = files.removals_path(strays)
    log.write_text('{"cut off', encoding="utf-8")
    outcomes = apply_removals(strays, plan)
    first, *lines = log.read_text(encoding="utf-8").splitlines()
    assert first == '{"cut off'
    records = [json.loads(line) for line in lines]
    assert [record["event"] for record in records] == ["removing"] * 6 + ["removed"] * 6
    assert [record["path"] for record in records] == outcomes["path"].to_list() * 2
    first = records[0]
    assert first.pop("time").endswith("+00:00")
    planned = (
        plan.filter(path=first["path"]).drop("tables", "lab", "n_lab", "n_archive").to_dicts()[0]
    )
    assert first == {"event": "removing", "root": str(strays)} | planned


@pytest.mark.parametrize("rows", [1, 2, 512])
def test_an_interrupt_leaves_a_truthful_log(
    strays: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(apply, "ROWS_PER_NOTE", rows)
    original = folders.Folder.remove_file
    done: list[str] = []

    def remove_two(folder: folders.Folder, name: str) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        original(folder, name)
        done.append(name)

    monkeypatch.setattr(folders.Folder, "remove_file", remove_two)
    plan = plan_removals(strays)
    with pytest.raises(KeyboardInterrupt):
        apply_removals(strays, plan)
    events = read_log(strays)
    assert [Path(str(e["path"])).name for e in events if e["event"] == "removed"] == done
    announced = {e["path"] for e in events if e["event"] == "removing"}
    assert {path for path in plan["path"] if not (strays / path).exists()} <= announced
    monkeypatch.undo()
    assert (
        sorted(list_results(apply_removals(strays, plan)).values())
        == ["gone"] * 2 + ["removed"] * 4
    )


KILLED = """
import os, signal, sys
from polars_alf import apply_removals, plan_removals
from polars_alf.prune import apply, folders

apply.ROWS_PER_NOTE = 7
remove, left = folders.Folder.remove_file, [int(sys.argv[2])]

def remove_some(folder, name):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    remove(folder, name)

folders.Folder.remove_file = remove_some
apply_removals(sys.argv[1], plan_removals(sys.argv[1]), max_removed=1.0)
"""


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("n_removed", [0, 3, 7, 20])
def test_a_run_that_was_killed_can_be_repeated(archive: Path, n_removed: int) -> None:
    index_archive(archive)
    indexed = files_of(archive)
    make_tree(archive / KS001, {f"alf/stray{i:02}.times.npy": i for i in range(30)})
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001/alf/a.b.c": 1})
    result = run_apart(KILLED, [str(archive), str(n_removed)])
    assert result.returncode == -signal.SIGKILL, result.stderr
    events = read_log(archive)
    announced = {event["path"] for event in events if event["event"] == "removing"}
    removed = {event["path"] for event in events if event["event"] == "removed"}
    left = files_of(archive)
    assert indexed <= left
    assert len(left) == len(indexed) + 31 - n_removed
    assert not removed & left
    gone = {f"{KS001}/alf/stray{i:02}.times.npy" for i in range(30)} - left
    assert len(gone) == n_removed
    assert removed <= gone <= announced
    assert len(removed) == n_removed // 7 * 7
    plan = plan_removals(archive)
    assert set(list_names(plan)) == left - indexed
    assert set(apply_removals(archive, plan, max_removed=1.0)["result"]) == {"removed"}
    assert files_of(archive) == indexed
    assert plan_removals(archive).is_empty()
    assert not (archive / "cortexlab/Subjects/KS009").exists()


def test_an_empty_plan_does_nothing(archive: Path) -> None:
    index_archive(archive)
    outcomes = apply_removals(archive, plan_removals(archive))
    assert outcomes.is_empty()
    assert outcomes.schema == polars_schema(OUTCOMES)
