"""The folder of a run: room for it, and removal of nothing that is not its own."""

from __future__ import annotations

import contextlib
import errno
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import storage
from storage import measure_quickly as bench
from trees import SESSION, make_tree

from polars_alf import index_archive, plan_removals, verify_archive
from polars_alf.bench import machine
from polars_alf.errors import (
    ArchivePermissionError,
    KeptWarning,
    StorageFullError,
)


def test_what_another_run_has_left_is_named_and_is_no_session(tmp_path: Path) -> None:
    left = "polars_alf_bench_0123456789ab"
    tree = {"lab/Subjects/S/2020-01-01/001": SESSION}
    root = make_tree(tmp_path / "target", tree | {f"{left}/archive": tree})
    with pytest.warns(KeptWarning, match=rf"target/{left} is of another bench"):
        bench(root, operations=["stat"])
    with pytest.warns(KeptWarning, match=left):
        bench(root, operations=["stat"], read_only=True)
    assert (root / left / "archive/lab").is_dir()
    tables = make_tree(tmp_path / "tables", {})
    report = index_archive(root, tables)
    assert (report.n_sessions, report.issues) == (1, {})
    assert verify_archive(root, tables).findings.is_empty()
    assert plan_removals(root, tables).is_empty()
    alone = make_tree(tmp_path / "alone", {})
    assert index_archive(root / left / "archive", alone).n_sessions == 1


def test_a_folder_that_may_not_be_written(tmp_path: Path, unprivileged: Callable[[], None]) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o555)
    for name in machine.NEEDED:
        importlib.import_module(name)  # from a folder that may be root's alone
    unprivileged()
    with pytest.raises(ArchivePermissionError, match="cannot be written to: Permission denied"):
        bench(folder)
    assert not list(folder.iterdir())


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"precious.txt": "precious"})
    target = tmp_path / "target"
    target.mkdir()

    def meddle(done: int, total: int, text: str) -> None:
        (folder,) = target.iterdir()
        if done == total == 0 and text.startswith("removing"):
            (folder / "archive/link").symlink_to(outside)
            (folder / "scratch/theirs.txt").write_text("theirs")

    def progress(done: int, total: int, text: str) -> None:
        if any(target.iterdir()):
            meddle(done, total, text)

    with pytest.warns(KeptWarning, match=r"scratch/theirs\.txt"):
        bench(target, operations=["stat"], progress=progress)
    left = {str(path.relative_to(target)).partition("/")[2] for path in target.rglob("*")}
    assert left == {"", "archive", "archive/link", "scratch", "scratch/theirs.txt"}
    assert (outside / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("step", "error"),
    [("writing", KeyboardInterrupt), ("rename", ValueError), ("index", KeyboardInterrupt)],
)
def test_errors_leave_nothing(tmp_path: Path, step: str, error: type[BaseException]) -> None:
    target = tmp_path / "target"
    target.mkdir()

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith(step):
            raise error

    with pytest.raises(error):
        bench(target, operations=["rename", "index"], progress=stop)
    assert not list(target.iterdir())


def test_storage_that_is_too_small(tmp_path: Path) -> None:
    with storage.mount_tmpfs(tmp_path / "small", "2M") as folder:
        with pytest.raises(StorageFullError, match=r"MB free.*--files"):
            bench(folder)
        assert not list(folder.iterdir())
    with storage.mount(
        tmp_path / "few", "-t", "tmpfs", "-o", "size=200M,nr_inodes=100", "tmpfs"
    ) as folder:
        with pytest.raises(StorageFullError, match="inodes free"):
            bench(folder)
        assert not list(folder.iterdir())


@pytest.mark.parametrize("step", ["writing", "index"])
def test_storage_that_fills_up_meanwhile(tmp_path: Path, step: str) -> None:
    with storage.mount_tmpfs(tmp_path / "storage", "30M") as folder:
        filler = folder / "filler"

        def fill(done: int, total: int, text: str) -> None:
            if text.startswith(step):
                with contextlib.suppress(OSError), filler.open("wb", 0) as file:
                    while file.write(bytes(1 << 20)):
                        pass

        with pytest.raises(OSError, match="No space") as raised:
            bench(folder, files=40, progress=fill)
        assert raised.value.errno == errno.ENOSPC
        assert list(folder.iterdir()) == [filler]
