"""The lock of ONE: waited for, stale, or there for ever."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest
from indexes import assert_equal, read_tables
from trees import SESSION, check_state, make_tree

from polars_alf import errors, index_archive, scan_datasets
from polars_alf.tables import consistent_read, files, one_lock, transaction

READERS_PATIENCE = 0.5


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = {"patience": READERS_PATIENCE}
    monkeypatch.setattr(consistent_read.read_consistently, "__kwdefaults__", patience)


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


def test_a_lock_that_was_waited_for_is_not_waited_for_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive)
    lock = archive / ".ONE.lock"
    lock.write_text("{}")
    before = time.time() - READERS_PATIENCE
    os.utime(lock, (before, before))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))
    assert scan_datasets(archive).collect().height


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
    before = read_tables(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    (archive / ".ONE.lock").write_text("{}")
    monkeypatch.setattr(transaction.recover, "__kwdefaults__", {"patience": 0.2})
    with pytest.raises(errors.ArchiveBusyError, match=r"\.ONE\.lock"):
        index_archive(archive)
    assert_equal(read_tables(archive), before)
    (archive / ".ONE.lock").unlink()
    with transaction.locked_state(archive):
        assert read_tables(archive)[1].height == 15, "the commit is finished by whoever comes next"


def test_a_lock_that_cannot_be_written_is_not_left(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})

    def fail(value: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(one_lock.json, "dumps", fail)
    with pytest.raises(OSError, match="Input/output error"), one_lock.hold_one_lock(archive, 0):
        pytest.fail("it was held")
    assert not (archive / ".ONE.lock").exists()


def test_an_interrupt_as_soon_as_there_is_a_lock_leaves_none(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, lock = Path.open, archive / ".ONE.lock"

    def open_interrupted(path: Path, mode: str = "r", *more: int, **named: str) -> object:
        file = really(path, mode, *more, **named)
        if path == lock and mode == "xb":
            file.close()
            raise KeyboardInterrupt
        return file

    monkeypatch.setattr(Path, "open", open_interrupted)
    with pytest.raises(KeyboardInterrupt), one_lock.hold_one_lock(archive, 0):
        pass
    assert not lock.exists()
    monkeypatch.undo()
    with one_lock.hold_one_lock(archive, 0):
        assert lock.exists()
