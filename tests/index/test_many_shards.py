"""Archives with more shards than a process may have open files, or maps."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from indexes import read_tables
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import (
    check_archive,
    compare_tables,
    index_archive,
    plan_removals,
    scan_archive,
    verify_archive,
)
from polars_alf.index import mapped_files

N_SHARDS = 60


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tune(monkeypatch, least_folders=1)
    dates = [f"S{n % 3}/20{n % 89 + 10}-01-{n % 28 + 1:02}" for n in range(N_SHARDS)]
    return make_tree(tmp_path / "archive", {f"lab/Subjects/{date}/001": SESSION for date in dates})


def test_shards_with_digests_and_without_are_merged(archive: Path) -> None:
    index_archive(archive, hash_files=True)
    new = {f"lab/Subjects/S{n}/2009-01-01/001": SESSION for n in range(3)}
    make_tree(archive, new)
    index_archive(archive)
    hashes = read_tables(archive)[1]["hash"]
    assert hashes.null_count() == 0
    assert (hashes == "").sum() == 3 * 3
    assert (hashes.str.len_chars() == 32).sum() == 3 * N_SHARDS


@contextmanager
def few_files() -> Iterator[None]:
    """Let this process open a few files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 60, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "refresh": lambda archive, other: index_archive(archive),
    "quick": lambda archive, other: index_archive(archive, quick=True),
    "paths as ids": lambda archive, other: index_archive(archive, other, hash_ids=False),
    "ids from": lambda archive, other: index_archive(archive, other, ids_from=[archive]),
    "digests": lambda archive, other: index_archive(archive, other, hash_files=True),
    "verify": lambda archive, other: verify_archive(archive),
    "prune": lambda archive, other: plan_removals(archive),
    "check": lambda archive, other: check_archive(archive),
    "scan": lambda archive, other: scan_archive(archive).collect(),
    "diff": lambda archive, other: compare_tables(archive, archive),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_few_open_files_are_enough(archive: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "other").mkdir()
    with few_files():
        assert index_archive(archive, jobs=2).n_shards == N_SHARDS
        COMMANDS[command](archive, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("hash_ids", [True, False])
def test_few_maps_are_enough(
    archive: Path, monkeypatch: pytest.MonkeyPatch, most: int, hash_ids: bool
) -> None:
    index_archive(archive, hash_ids=hash_ids)
    before = read_tables(archive)
    monkeypatch.setattr(mapped_files, "_MOST_MAPS", most)
    index_archive(archive, hash_ids=hash_ids)
    for one, other in zip(read_tables(archive), before, strict=True):
        assert_frame_equal(one, other)
