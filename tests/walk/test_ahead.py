"""Directories that are listed while libraries are loaded: they are used, and tables the same."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import slow_storage
from polars.testing import assert_frame_equal
from trees import ODD, ODD_POSIX, SESSION, TWO_LABS, Tree, make_tree
from tuning import tune

from polars_alf import index_archive, native, scan_issues
from polars_alf.cli.app import app
from polars_alf.walk import ahead, concurrency
from polars_alf.walk.known import KnownListings
from polars_alf.walk.walk import Survey, Walk

LAB = "cortexlab/Subjects"

ODDER: list[tuple[str, Tree]] = [
    ("no date", {f"{LAB}/S/2020-02-31/001": SESSION, f"{LAB}/S/2020-02-28/001": SESSION}),
    ("no number", {f"{LAB}/S/2020-01-01/backup/001": SESSION, f"{LAB}/S/2020-01-01/1": SESSION}),
    ("stray", {f"{LAB}/S/2020-01-01": {"a.b.npy": 1, "002": SESSION, "note.txt": 2}}),
    ("no subject", {"2020-01-01/001": SESSION, "a b/2020-01-01/001": SESSION}),
    ("nothing", {}),
    ("files alone", {"a.b.npy": 3}),
]

TREES = [(name, tree) for name, tree, *_ in (*ODD, *ODD_POSIX)] + ODDER


def index(root: Path, out: Path) -> list[pl.DataFrame]:
    """Index an archive; return its tables, and the issues in an order of their own."""
    out.mkdir()
    report = index_archive(root, out, namespace="tests")
    tables = [pl.read_parquet(path) for path in (report.sessions_path, report.datasets_path)]
    figures = {"others": report.n_other_files, "sessions": report.n_sessions}
    issues = scan_issues(out).collect().sort(pl.all())
    return [*tables, issues, pl.DataFrame(figures)]


@pytest.fixture(autouse=True)
def any_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the functions in Python list ahead, too: they would only be in the way."""
    monkeypatch.setattr(native, "IMPLEMENTATION", "native")


def check(root: Path, folder: Path) -> None:
    """Assert that an index is the same where all of an archive was listed before."""
    alone = index(root, folder / "alone")
    with ahead.listing_ahead(str(root)):
        found = ahead.find_ahead(str(root.resolve()))
        assert found is not None
        found.wait()
        together = index(root, folder / "ahead")
    for one, other in zip(alone, together, strict=True):
        assert_frame_equal(one, other)


@pytest.mark.filterwarnings("ignore::polars_alf.errors.NoSessionsWarning")
@pytest.mark.parametrize(
    "tree", [pytest.param(tree, id=name.replace(" ", "_")) for name, tree in TREES]
)
def test_tables_are_those_of_a_walk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree
) -> None:
    monkeypatch.setattr(ahead, "_DATED_AT_ONCE", 1)
    check(make_tree(tmp_path / "archive", tree), tmp_path)


@pytest.fixture
def seeming_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have any storage taken for slow, and worth four threads."""
    monkeypatch.setattr(ahead, "find_concurrency", lambda _: concurrency.Concurrency(4))
    monkeypatch.setattr(ahead, "_count_threads", lambda _: 4)
    monkeypatch.setattr(ahead, "IDLE", math.inf)
    monkeypatch.setattr(ahead, "WINDOW_SECONDS", 1e-9)
    monkeypatch.setattr(ahead, "_SEEMS_SLOW_SECONDS", 0.0)


@pytest.mark.usefixtures("seeming_slow")
@pytest.mark.filterwarnings("ignore::polars_alf.errors.NoSessionsWarning")
@pytest.mark.parametrize(
    "tree", [pytest.param(tree, id=name.replace(" ", "_")) for name, tree in TREES]
)
def test_tables_are_those_of_a_walk_alone_where_many_list(tmp_path: Path, tree: Tree) -> None:
    root = make_tree(tmp_path / "archive", tree)
    before = sys.getswitchinterval()
    check(root, tmp_path)
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize("n_files", range(1, 13))
def test_a_session_of_which_a_part_was_listed_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_files: int
) -> None:
    monkeypatch.setattr(ahead, "_MOST_FILES", n_files)
    parts: Tree = {f"part{n}": {"a.b.npy": 1, "c.d.npy": 2} for n in range(3)}
    root = make_tree(
        tmp_path / "archive",
        {f"{LAB}/S/2020-01-0{day}/00{number}": parts for day in (1, 2) for number in (1, 2)},
    )
    with ahead.listing_ahead(str(root)):
        found = ahead.find_ahead(str(root.resolve()))
        assert found is not None
        found.wait()
        listed = found.take([f"{LAB}/S/2020-01-01", f"{LAB}/S/2020-01-02"])
        assert any(part.left for part in listed) == (n_files % 6 not in (0, 5))
    check(root, tmp_path)


@pytest.mark.parametrize("limit", ["_MOST_FILES", "_MOST_EXAMINED", "_MOST_FOLDERS"])
def test_what_there_was_no_room_for_is_listed_by_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(ahead, limit, 1)
    more = {f"{LAB}/KS001/2020-01-02/001": {"a.b.npy": 1, "c.d.npy": 2, "e.f.npy": 3}}
    check(make_tree(tmp_path / "archive", TWO_LABS | more), tmp_path)


def test_what_is_listed_ahead_is_not_listed_again(archive: Path, tmp_path: Path) -> None:
    with ahead.listing_ahead(str(archive)):
        found = ahead.find_ahead(str(archive.resolve()))
        assert found is not None
        found.wait()
        shutil.rmtree(archive / "cortexlab/Subjects/KS001/2020-01-01/001")
        assert len(index(archive, tmp_path / "first")[1]) == 12
    assert len(index(archive, tmp_path / "second")[1]) == 9


def test_what_was_listed_ahead_is_as_old_as_its_listing(archive: Path, tmp_path: Path) -> None:
    path = archive / "cortexlab/Subjects/KS001/2020-01-01/001/_ibl_trials.intervals_bpod.csv"
    old = path.stat().st_mtime - 3600

    def write(content: bytes) -> None:
        path.write_bytes(content)
        os.utime(path, (old, old))

    def read_digest() -> str:
        report = index_archive(archive, tmp_path, hash_files=True)
        rows = pl.read_parquet(report.datasets_path)
        (digest,) = rows.filter(pl.col("rel_path") == path.name, file_size=3)["hash"]
        return str(digest)

    write(b"abc")
    with ahead.listing_ahead(str(archive)):
        found = ahead.find_ahead(str(archive.resolve()))
        assert found is not None
        found.wait()
        found.begun_ns = int((old - 3600) * 1e9)  # so that it may have been written since
        assert read_digest() == hashlib.md5(b"abc").hexdigest()
    write(b"xyz")
    assert read_digest() == hashlib.md5(b"xyz").hexdigest()


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--hash-files", "--insertions"],
        ["--threads", "2"],
        ["--exclude", "*.csv"],
        ["--follow-links"],
        ["--include-snapshots"],
        ["--op-timeout", "60"],
        ["--max-rate", "1000000"],
        ["--jobs", "1"],
        ["--executor", "serial"],
        ["--quick"],
        ["--shard", "1/2"],
        ["--changed-from", os.devnull],
    ],
    ids="_".join,
)
@pytest.mark.filterwarnings("ignore::polars_alf.errors.TableWarning")
def test_the_command_lists_ahead_unless_it_is_said_how_to_walk(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    seen: list[bool] = []
    survey = Walk.survey

    def look(walk: Walk, known: KnownListings | None = None) -> Survey:
        seen.append(ahead.find_ahead(str(walk.root)) is not None)
        return survey(walk, known)

    monkeypatch.setattr(Walk, "survey", look)
    app(["index", str(archive), "--out", str(tmp_path), "-q", *more], standalone_mode=False)
    assert {*seen} == {not more or "--hash-files" in more}


def test_who_gives_way_lists_nothing_ahead(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "is_nice", lambda: True)
    with ahead.listing_ahead(str(archive)):
        assert ahead.find_ahead(str(archive.resolve())) is None


PROGRAM = """
import sys
from polars_alf import native
from polars_alf.walk import ahead, concurrency

native.IMPLEMENTATION = "native"
with ahead.listing_ahead(sys.argv[1]):
    ahead.find_ahead(sys.argv[1]).wait()
    print(concurrency.is_slow(sys.argv[1]))
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"polars", "pyarrow", "numpy"}))
"""


@pytest.mark.skipif(
    slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
)
@pytest.mark.parametrize("milliseconds", [0, 5])
def test_it_tells_that_storage_is_slow_without_the_libraries(
    archive: Path, tmp_path: Path, milliseconds: float
) -> None:
    environment = {}
    if milliseconds:
        library = slow_storage.build_library(tmp_path)
        environment = slow_storage.slow_down(library, archive, milliseconds, "buffer")
    command = [sys.executable, "-c", PROGRAM, str(archive.resolve())]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == f"{milliseconds > 0}\n\n"


@pytest.mark.skipif(
    slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
)
@pytest.mark.skipif(native.IMPLEMENTATION != "native", reason="Python lists nothing ahead")
def test_the_command_lists_slow_storage_ahead(archive: Path, tmp_path: Path) -> None:
    library = slow_storage.build_library(tmp_path)
    environment = slow_storage.slow_down(library, archive, 5, "buffer")
    for out, more in (("slow", environment), ("fast", {})):
        (tmp_path / out).mkdir()
        command = [sys.executable, "-m", "polars_alf", "index", str(archive), "-q"]
        command += ["--out", str(tmp_path / out), "--namespace", "tests"]
        subprocess.run(command, env=os.environ | more, check=True)
    for table in ("sessions", "datasets"):
        slow, fast = (pl.read_parquet(tmp_path / out / f"{table}.pqt") for out in ("slow", "fast"))
        assert_frame_equal(slow, fast)
    assert len(slow) == 12


def test_names_are_those_of_a_shard_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where none repeats, those of all that was listed would be many times as many.
    root = make_tree(
        tmp_path / "archive",
        {
            f"{LAB}/S/2020-01-0{day}/001": {f"a{day}.b{n}.npy": 1 for n in range(3)}
            for day in (1, 2)
        },
    )
    tune(monkeypatch, least_folders=1)
    with ahead.listing_ahead(str(root)):
        found = ahead.find_ahead(str(root.resolve()))
        assert found is not None
        found.wait()
        (one,) = found.take([f"{LAB}/S/2020-01-01"])
        assert sorted(one.within.names) == ["a1.b0.npy", "a1.b1.npy", "a1.b2.npy"]
        assert len(one.within.sizes) == 3
    check(root, tmp_path)


def test_contexts_may_be_nested(archive: Path) -> None:
    root = str(archive.resolve())
    with ahead.listing_ahead(root):
        found = ahead.find_ahead(root)
        with ahead.listing_ahead(root):
            assert ahead.find_ahead(root) is found
        assert ahead.find_ahead(root) is found
    assert ahead.find_ahead(root) is None


def test_what_is_no_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for path in ("archive", "", "s3://bucket/folder", "a\0b", str(tmp_path / "not there")):
        with ahead.listing_ahead(path):
            pass


def test_functions_in_python_list_nothing_ahead(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "IMPLEMENTATION", "python")
    with ahead.listing_ahead(str(archive)):
        assert ahead.find_ahead(str(archive.resolve())) is None
