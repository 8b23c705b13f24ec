"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest
from trees import TWO_LABS, make_tree

from polars_alf import native, one
from polars_alf.native import twin, twin_md5

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A script has put the tests in the background, and what they start would ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of ours."""
    parser.addoption("--update-snapshots", action="store_true", help="record outputs anew")
    parser.addoption(
        "--one-in",
        type=int,
        default=1,
        metavar="N",
        help="leave out all but one in N of the tests marked slow or thorough",
    )
    parser.addoption("--seed", default="", metavar="TEXT", help="choose which of them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out, as far as asked to: the same ones in all processes."""
    n, seed = config.getoption("--one-in"), config.getoption("--seed")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_chosen = crc32(f"{seed} {item.nodeid}".encode()) % n == 0
        is_long = any(map(item.get_closest_marker, ("slow", "thorough")))
        (kept if is_chosen or not is_long else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture
def check_snapshot(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Give a function that compares a text with a file, or writes it there if that is wanted."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-snapshots"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), "record it with --update-snapshots"
        assert text == path.read_text(encoding="utf-8"), "if it is right, --update-snapshots"

    return check


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Wait for no disk: no test of this process takes the power away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True)
def ones_own() -> Iterator[None]:
    """Leave ONE its own functions at the end of each test: examples of the pages enable ours."""
    yield
    one.disable()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Make a clean archive of two labs."""
    return make_tree(tmp_path / "archive", TWO_LABS)


@pytest.fixture
def out_dir(tmp_path: Path) -> Path:
    """Make a folder for tables outside the archive."""
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Give a function that drops the privileges of root until the end of the test."""
    was = os.geteuid()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o077 == 0:  # as pytest makes them
            folder.chmod(0o755)

    def drop() -> None:
        if was == 0:
            os.seteuid(65534)

    yield drop
    os.seteuid(was)


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk and digest in Python, where a test puts something in the place of a system's call."""
    for name in ("list_directories", "examine_files"):
        monkeypatch.setattr(native, name, getattr(twin, name))
    for name in ("count_md5_lanes", "start_md5", "update_md5s", "finish_md5"):
        monkeypatch.setattr(native, name, getattr(twin_md5, name))
