"""Storage that is slow per call, or hangs: threads list ahead, tables stay the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
import slow_storage
from command_line import run
from polars.testing import assert_frame_equal
from trees import ODD, ODD_POSIX, SESSION, TWO_LABS, Link, Tree, make_tree
from tuning import tune

from polars_alf import index_archive, scan_archive
from polars_alf.alf.root import open_root
from polars_alf.errors import ScanError
from polars_alf.schema import ENTRIES
from polars_alf.walk import prefetch, walker
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

PATIENCE = 120
"""Seconds after which a run that was to end has not."""


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


ODD_TREE: Tree = {
    f"archive{i}": tree for i, (_, tree, *_) in enumerate([*ODD, *ODD_POSIX])
} | TWO_LABS


LARGE: Tree = {
    "cortexlab/Subjects/KS001/2020-01-01/001": {
        f"c{i}": {f"object{j}.attribute{i}.npy": j for j in range(i)} for i in range(35)
    }
}


def walk(root: Path, **options: object) -> tuple[list[str], pl.DataFrame, pl.DataFrame, int]:
    """Return dated folders, entries and issues in their order, and the number of other files."""
    walker = Walker(open_root(root), WalkOptions(**options))  # type: ignore[arg-type]
    folders = sorted(walker.survey())
    table = pa.Table.from_batches(list(walker.walk(folders)), schema=ENTRIES)
    names = pl.col("directory", "name").cast(pl.String)
    entries = pl.DataFrame(table).with_columns(names)
    return folders, entries, pl.DataFrame(walker.issues()), walker.n_other_files


def kinds(issues: pl.DataFrame) -> list[tuple[str, str]]:
    return issues.select("path", "kind").rows()


# The walk is the same


@posix_only
@pytest.mark.parametrize("tree", [ODD_TREE, LARGE], ids=["odd", "large"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"follow_links": True},
        {"exclude": ("archive3/", "c2*/")},
        {"exclude": ("*.*_times.npy", "archive1*/**/alf/x*"), "follow_links": True},
        {"exclude": ("*.*", "!*.npy", "!/**/.snapshot/")},
    ],
    ids=str,
)
@pytest.mark.parametrize("threads", [2, 16])
def test_threads_find_the_same_in_the_same_order(
    tmp_path: Path, tree: Tree, options: dict[str, object], threads: int
) -> None:
    root = make_tree(tmp_path / "archive", tree)
    folders, entries, issues, n_others = walk(root, threads=1, **options)
    prefetch = walk(root, threads=threads, **options)
    assert len(entries) >= 20
    assert prefetch[0] == folders
    assert_frame_equal(prefetch[1], entries)
    assert sorted(kinds(prefetch[2])) == sorted(kinds(issues))
    assert prefetch[3] == n_others


@posix_only
@pytest.mark.parametrize("tree", [ODD_TREE, LARGE], ids=["odd", "large"])
@pytest.mark.parametrize("n_files", [1, 7, 100])
@pytest.mark.parametrize("options", [{}, {"follow_links": True}, {"exclude": ("c2*/", "*3.npy")}])
def test_listings_that_are_cut_short_lose_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tree: Tree,
    n_files: int,
    options: dict[str, object],
) -> None:
    root = make_tree(tmp_path / "archive", tree)
    expected = walk(root, threads=2, **options)
    monkeypatch.setattr(walker, "_FILES_AT_ONCE", n_files)
    monkeypatch.setattr(walker, "FOLDERS_AT_ONCE", 3)
    found = walk(root, threads=1, **options)
    columns = ["directory", "name"]
    assert_frame_equal(found[1].sort(columns), expected[1].sort(columns))
    assert found[1]["directory"].rle().len() == found[1]["directory"].n_unique()
    assert sorted(kinds(found[2])) == sorted(kinds(expected[2]))
    assert found[3] == expected[3]


def test_names_that_never_repeat_keep_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The table of names is begun anew while threads still refer to the one before.
    monkeypatch.setitem(walker.Walker.__init__.__kwdefaults__, "rows_per_batch", 10)
    monkeypatch.setattr(walker, "ROWS_PER_BATCH", 10)
    root = make_tree(tmp_path / "archive", LARGE)
    assert_frame_equal(walk(root, threads=8)[1], walk(root, threads=1)[1])


def test_little_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prefetch.Prefetch.__init__.__kwdefaults__, "most_waiting", 2)
    root = make_tree(tmp_path / "archive", LARGE)
    assert_frame_equal(walk(root, threads=4)[1], walk(root, threads=1)[1])


@posix_only
def test_a_low_limit_of_open_files_is_kept(tmp_path: Path) -> None:
    import resource

    root = make_tree(tmp_path / "archive", LARGE)
    n_open = len(list(Path("/dev/fd").iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 100, hard))
    try:
        _, entries, issues, _ = walk(root, threads=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert issues.is_empty()
    assert len(entries) == sum(range(35))


def test_errors_in_threads_come_through(
    archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str, flags: int) -> int:
        raise MemoryError(path)

    monkeypatch.setattr("polars_alf.native.twin.os.open", fail)
    with pytest.raises(MemoryError):
        walk(archive, threads=4)


def test_scan_takes_threads_and_stops_early(archive: Path) -> None:
    frame = scan_archive(archive, threads=4, op_timeout=60)
    assert len(frame.collect()) == 12
    assert len(frame.head(2).collect()) == 2


# What hangs, in this process


@pytest.fixture
def release(twins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let directories called ``hangs`` hang until the event, and ``slow`` ones take a moment."""
    event = threading.Event()
    real = os.open

    def hold(path: str, *args: int, **options: int) -> int:
        name = os.path.basename(path)
        if name.startswith("hangs"):
            event.wait()
        elif name == "slow":
            time.sleep(0.1)
        return real(path, *args, **options)

    monkeypatch.setattr("polars_alf.native.twin.os.open", hold)
    yield event
    event.set()


ONE_HANGS: Tree = {
    "S/2020-01-01/001": {"hangs": SESSION, "alf/a.b.npy": 1},
    "S/2020-01-02/001/a.b.npy": 1,
}


@pytest.mark.parametrize("threads", [1, 4, None])
def test_what_hangs_is_an_issue_and_the_rest_is_there(
    tmp_path: Path, release: threading.Event, threads: int | None
) -> None:
    root = make_tree(tmp_path / "archive", ONE_HANGS)
    _, entries, issues, _ = walk(root, threads=threads, op_timeout=0.3)
    assert kinds(issues) == [("S/2020-01-01/001/hangs", "timed_out")]
    assert entries["directory"].to_list() == ["S/2020-01-01/001/alf", "S/2020-01-02/001"]


def test_a_quick_index_lists_again_what_hung(
    tmp_path: Path, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, clock_ns=-(10**12))
    root = make_tree(tmp_path / "archive", ONE_HANGS)
    out = tmp_path / "tables"
    out.mkdir()
    report = index_archive(root, out, op_timeout=0.3)
    assert (report.n_datasets, report.issues) == (2, {"timed_out": 1})
    release.set()
    report = index_archive(root, out, quick=True)
    assert (report.n_datasets, report.issues) == (5, {})


def test_rows_that_come_late_are_not_taken(tmp_path: Path, release: threading.Event) -> None:
    deep = "/".join(["slow"] * 15)
    tree = {"S/2020-01-01/001/hangs": SESSION, f"S/2020-01-01/002/{deep}/a.b.npy": 1}
    root = make_tree(tmp_path / "archive", tree)
    # The session hangs with all that lies below it, then the directory by itself.
    threading.Timer(1.0, release.set).start()
    _, entries, issues, _ = walk(root, threads=2, op_timeout=0.4)
    assert release.is_set(), "the walk was over before anything could come late"
    assert kinds(issues) == [("S/2020-01-01/001/hangs", "timed_out")]
    assert entries["name"].to_list() == ["a.b.npy"]


def test_what_is_slow_is_waited_for(tmp_path: Path, release: threading.Event) -> None:
    root = make_tree(tmp_path / "archive", ONE_HANGS)
    threading.Timer(1.5, release.set).start()
    _, entries, issues, _ = walk(root, threads=2)
    assert issues.is_empty()
    assert len(entries) == 5


def test_a_survey_passes_over_what_hangs(tmp_path: Path, release: threading.Event) -> None:
    root = make_tree(tmp_path / "archive", TWO_LABS | {"cortexlab/Subjects/hangs": ONE_HANGS})
    _, entries, issues, _ = walk(root, op_timeout=0.3)
    assert kinds(issues) == [("cortexlab/Subjects/hangs", "timed_out")]
    assert len(entries) == 12


def test_a_root_that_hangs_ends_the_walk(tmp_path: Path, release: threading.Event) -> None:
    root = make_tree(tmp_path / "hangs", TWO_LABS)
    with pytest.raises(ScanError, match=r"did not answer within 0\.3 s"):
        walk(root, op_timeout=0.3)


def test_storage_that_hangs_everywhere_ends_the_run(
    tmp_path: Path, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "MOST_HUNG", 5)
    tree: Tree = {f"S/2020-01-01/001/hangs{i}": SESSION for i in range(20)}
    root = make_tree(tmp_path / "archive", tree)
    with pytest.raises(ScanError, match="hang at once"):
        walk(root, op_timeout=0.3)


def test_an_index_of_nothing_but_what_hangs_does_not_empty_the_tables(
    tmp_path: Path, release: threading.Event
) -> None:
    root = make_tree(tmp_path / "archive", {"hangs/2020-01-01/001": SESSION})
    with pytest.raises(ScanError, match=r"no session .* could be read"):
        index_archive(root, op_timeout=0.3)


# Real processes on storage that is slow, or hangs


needs_library = pytest.mark.skipif(
    slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
)


Index = Callable[..., tuple[int, dict[str, object], str]]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_storage.build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Make an archive that is worth two processes."""
    tree: Tree = {f"lab/Subjects/S{i}/2021-02-{i % 28 + 1:02}/001": SESSION for i in range(160)}
    tree["lab/Subjects/S0/2021-02-01/001/linked.data.npy"] = Link("alf/spikes.times.npy")
    return make_tree(tmp_path / "archive", tree)


def index(
    root: Path, folder: Path, environment: dict[str, str], *arguments: str
) -> tuple[int, dict[str, object], str]:
    """Index in a process of its own; return exit code, report and stderr."""
    folder.mkdir()
    command = [sys.executable, "-m", "polars_alf", "index", str(root), "--out", str(folder)]
    options = ["--json", "--quiet", "--namespace", "site", *arguments]
    result = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=PATIENCE,
    )
    return result.returncode, json.loads(result.stdout or "{}"), result.stderr


def read(folder: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{table}.pqt")


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("arguments", [(), ("--threads", "5"), ("--executor", "threads")], ids=str)
def test_latency_changes_no_table(
    many: Path, tmp_path: Path, library: Path, arguments: tuple[str, ...]
) -> None:
    code, plain, stderr = index(many, tmp_path / "plain", {}, "--threads", "1")
    assert (code, plain["n_datasets"]) == (0, 160 * 3 + 1), stderr
    slowly = slow_storage.slow_down(library, many, 0.5)
    code, report, stderr = index(many, tmp_path / "slow", slowly, *arguments)
    assert code == 0, stderr
    assert report["issues"] == {}
    for table in ("sessions", "datasets"):
        assert_frame_equal(read(tmp_path / "slow", table), read(tmp_path / "plain", table))


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize(
    ("executor", "call"),
    [("processes", None), ("processes", "stat"), ("serial", "open"), ("threads", "readdir")],
)
def test_a_directory_that_hangs_is_the_only_one_missing(
    many: Path, tmp_path: Path, library: Path, executor: str, call: str | None
) -> None:
    session = "lab/Subjects/S7/2021-02-08/001"
    folder = tmp_path / "tables"
    hanging = slow_storage.hang(library, many / session / "alf", call)  # type: ignore[arg-type]
    options = ("--op-timeout", "1", "--strict", "--executor", executor)
    code, report, stderr = index(many, folder, hanging, *options)
    assert code == 3, stderr
    assert report["issues"] == {"timed_out": 1}
    # Two datasets lie in it, or below.
    assert report["n_datasets"] == 160 * 3 + 1 - 2
    issues = run("issues", folder)
    assert issues.stdout.startswith(f"timed_out\t{session}/alf\tdid not answer within 1 s")


@pytest.mark.slow
@needs_library
def test_a_file_that_hangs_takes_its_directory_along(
    many: Path, tmp_path: Path, library: Path
) -> None:
    session = many / "lab/Subjects/S7/2021-02-08/001"
    hanging = slow_storage.hang(library, session / "_ibl_trials.intervals_bpod.csv", "stat")
    code, report, stderr = index(many, tmp_path / "tables", hanging, "--op-timeout", "1")
    assert code == 0, stderr
    assert report["issues"] == {"timed_out": 1}
    assert (report["n_sessions"], report["n_datasets"]) == (159, 159 * 3 + 1)


@pytest.mark.slow
@needs_library
def test_a_subject_that_hangs_in_the_survey(many: Path, tmp_path: Path, library: Path) -> None:
    hanging = slow_storage.hang(library, many / "lab/Subjects/S7", "readdir")
    code, report, stderr = index(many, tmp_path / "tables", hanging, "--op-timeout", "1")
    assert code == 0, stderr
    assert report["issues"] == {"timed_out": 1}
    assert report["n_sessions"] == 159


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("call", ["open", "readdir"])
def test_an_archive_that_hangs_is_an_error(
    many: Path, tmp_path: Path, library: Path, call: str
) -> None:
    hanging = slow_storage.hang(library, many, call)  # type: ignore[arg-type]
    code, _, stderr = index(many, tmp_path / "tables", hanging, "--op-timeout", "1")
    assert code == 1
    assert "did not answer within 1 s" in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("--threads", "0"), ("--op-timeout", "0"), ("--op-timeout", "soon")], ids=str
)
def test_wrong_usage(archive: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, _, stderr = index(archive, tmp_path / "tables", {}, *arguments)
    assert code == 2, stderr
