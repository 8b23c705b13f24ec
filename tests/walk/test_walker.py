"""The walker: what it finds, skips and reports."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from trees import ODD, ODD_POSIX, SESSION, TWO_LABS, Link, Tree, make_tree

from polars_alf.errors import ScanError
from polars_alf.schema import DIRECTORIES, ENTRIES, ISSUES
from polars_alf.walk import batches, lister
from polars_alf.walk.options import Options
from polars_alf.walk.walker import Walker

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def walk(root: Path, **options: object) -> tuple[pl.DataFrame, pl.DataFrame, Walker]:
    """Walk a whole archive: its files as path and size, its issues as path and kind."""
    walker = Walker(str(root.resolve()), Options(**options))  # type: ignore[arg-type]
    batches = list(walker.walk(sorted(walker.survey())))
    table = pa.Table.from_batches(batches, schema=ENTRIES)
    entries = pl.DataFrame(table).select(
        path=pl.concat_str(pl.col("directory", "name").cast(pl.String), separator="/"),
        file_size="file_size",
    )
    issues = pl.DataFrame(walker.issues()).select("path", "kind")
    return entries.sort("path"), issues, walker


def found(root: Path, **options: object) -> list[str]:
    return walk(root, **options)[0]["path"].to_list()


def issues_of(root: Path, **options: object) -> list[tuple[str, str]]:
    return sorted(walk(root, **options)[1].rows())


def test_finds_every_dataset_with_its_size(archive: Path) -> None:
    entries, issues, walker = walk(archive)
    expected = {
        path.relative_to(archive).as_posix(): path.stat().st_size
        for path in archive.rglob("*.*.*")
        if path.is_file()
    }
    assert len(expected) == 12
    assert dict(entries.iter_rows()) == expected
    assert walker.n_other_files == 4
    assert issues.is_empty()


def test_batches_have_the_schema_and_what_refresh_needs(archive: Path) -> None:
    walker = Walker(str(archive), Options())
    (batch,) = walker.walk(sorted(walker.survey()))
    assert batch.schema.equals(ENTRIES)
    assert walker.directories().schema.equals(DIRECTORIES)
    assert walker.issues().schema.equals(ISSUES)
    for row in batch.to_pylist():
        status = (archive / row["directory"] / row["name"]).stat()
        assert (row["mtime_ns"], row["inode"]) == (status.st_mtime_ns, status.st_ino)


def test_batches_are_cut_at_directories(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polars_alf.walk.walker.ROWS_PER_BATCH", 2)
    walker = Walker(str(archive), Options())
    batches = list(walker.walk(sorted(walker.survey())))
    assert len(batches) > 3
    assert sum(len(batch) for batch in batches) == 12
    assert found(archive) == sorted(
        f"{row['directory']}/{row['name']}" for batch in batches for row in batch.to_pylist()
    )


def test_listing_by_path_gives_the_same(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION})
    by_descriptor = walk(archive)
    monkeypatch.setattr(lister, "LIST_BY_DESCRIPTOR", False)
    by_path = walk(archive)
    assert by_path[0].equals(by_descriptor[0])
    assert by_path[1].equals(by_descriptor[1])
    assert len(by_path[1]) == 4


@pytest.mark.parametrize(
    ("below", "n_datasets"),
    [
        ("", 12),
        ("cortexlab", 9),
        ("cortexlab/Subjects", 9),
        ("cortexlab/Subjects/KS001", 6),
        ("cortexlab/Subjects/KS001/2020-01-01", 6),
        ("cortexlab/Subjects/KS001/2020-01-01/001", 3),
        ("cortexlab/Subjects/KS001/2020-01-01/001/alf", 0),
    ],
)
def test_root_may_lie_anywhere_above_a_session(archive: Path, below: str, n_datasets: int) -> None:
    assert len(found(archive / below)) == n_datasets


def test_archive_in_a_folder_named_like_a_date(tmp_path: Path) -> None:
    # A snapshot, say. Its own name makes no session of the folders in it.
    root = make_tree(tmp_path / "2024-05-06", TWO_LABS)
    assert len(found(root)) == 12


def test_archive_below_a_session_is_an_archive(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "scratch/2024-05-06/001/archive", TWO_LABS)
    assert len(found(root)) == 12


def _params(cases: list[tuple[str, Tree, int, list[tuple[str, str]]]], marks: object = ()) -> list:
    return [pytest.param(*case[1:], id=case[0].replace(" ", "_"), marks=marks) for case in cases]


@pytest.mark.parametrize(
    ("tree", "n_datasets", "issues"), _params(ODD) + _params(ODD_POSIX, posix_only)
)
@pytest.mark.parametrize("by_descriptor", [True, False])
def test_odd_trees(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tree: Tree,
    n_datasets: int,
    issues: list[tuple[str, str]],
    by_descriptor: bool,
) -> None:
    monkeypatch.setattr(lister, "LIST_BY_DESCRIPTOR", by_descriptor and lister.LIST_BY_DESCRIPTOR)
    root = make_tree(tmp_path / "archive", tree)
    entries, reported, _ = walk(root)
    assert sorted(reported.rows()) == sorted(issues)
    assert len(entries) == n_datasets


def test_a_session_as_root_sees_the_session_inside_it(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "S/2020-01-01/001", {"T/2020-01-01/002/a.b.npy": 1, "my coll/a.b.npy": 1}
    )
    assert issues_of(root) == [
        ("T/2020-01-01/002", "nested_session"),
        ("my coll", "invalid_collection"),
    ]


@posix_only
def test_following_links_enters_them_once(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            "KS001/2020-01-01/001": {"alf/a.b.npy": 1, "more": Link("alf"), "alf/up": Link("..")},
            "KS002": Link("KS001"),
        },
    )
    session = "2020-01-01/001"
    assert found(root, follow_links=True) == [
        f"KS001/{session}/alf/a.b.npy",
        f"KS001/{session}/more/a.b.npy",
        f"KS002/{session}/alf/a.b.npy",
        f"KS002/{session}/more/a.b.npy",
    ]
    assert {kind for _, kind in issues_of(root, follow_links=True)} == {"link_loop"}


@pytest.mark.parametrize(
    ("patterns", "n_datasets"),
    [
        (("*.csv",), 8),
        (("probe00/",), 8),
        (("/wittenlab",), 9),
        (("cortexlab/**/KS001/",), 6),
        (("*", "!*/"), 0),
        (("nothing",), 12),
    ],
)
def test_exclude_is_as_in_gitignore(
    archive: Path, patterns: tuple[str, ...], n_datasets: int
) -> None:
    assert len(found(archive, exclude=patterns)) == n_datasets


@posix_only
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs user ids")
def test_unreadable_directories_are_reported(
    archive: Path, unprivileged: Callable[[], None]
) -> None:
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    (archive / session / "alf").chmod(0)
    (archive / "wittenlab/Subjects").chmod(0o300)
    unprivileged()
    assert issues_of(archive) == [
        (f"{session}/alf", "unreadable_directory"),
        ("wittenlab/Subjects", "unreadable_directory"),
    ]
    assert len(found(archive)) == 7


def test_what_vanishes_is_reported(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walker = Walker(str(archive), Options())
    units = sorted(walker.survey())
    gone = archive / units[0]
    gone.rename(archive / "elsewhere")
    entries = sum(len(batch) for batch in walker.walk(units))
    assert pl.DataFrame(walker.issues()).select("path", "kind").rows() == [(units[0], "vanished")]
    assert entries == 6


def test_a_file_that_vanishes_between_listing_and_stat(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "_ibl_trials.intervals_bpod.csv"
    real = os.scandir

    class Scandir:
        """Take the file away once the directory was read."""

        def __init__(self, target: int | str) -> None:
            with real(target) as entries:
                self.entries = list(entries)
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            (Path(path) / name).unlink(missing_ok=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(lister, "LIST_BY_DESCRIPTOR", False)
    monkeypatch.setattr(lister.os, "scandir", Scandir)
    entries, issues, _ = walk(archive)
    assert set(issues["kind"]) == {"vanished"}
    assert len(issues) == 4
    assert len(entries) == 8


def test_a_listing_that_breaks_keeps_what_was_read(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    class Scandir:
        """Fail after the first entry of the session itself."""

        def __init__(self, target: str) -> None:
            self.target = target

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            with real(self.target) as entries:
                for i, entry in enumerate(sorted(entries, key=lambda entry: entry.name)):
                    if i and self.target.endswith("001"):
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                    yield entry

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(lister, "LIST_BY_DESCRIPTOR", False)
    monkeypatch.setattr(lister.os, "scandir", Scandir)
    entries, issues, _ = walk(archive / "wittenlab/Subjects/KS001/2020-01-01")
    assert issues.rows() == [("001", "unreadable_directory")]
    assert entries["path"].to_list() == ["001/_ibl_trials.intervals_bpod.csv"]
    with pytest.raises(ScanError, match="Input/output"):
        walk(archive / "wittenlab/Subjects/KS001/2020-01-01/001")


@pytest.mark.parametrize("seconds", [15_000_000_000, -15_000_000_000])
def test_times_far_off_are_kept_as_far_as_they_fit(
    archive: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    # As some file systems have them; this one may not, so the status says so.
    class Status:
        st_mtime_ns = seconds * 10**9
        st_ino = 2**64 + 5

    expected = (2**63 - 1) * (1 if seconds > 0 else -1)
    assert batches.stamp(Status()) == (expected, 5)  # type: ignore[arg-type]
    path = next(archive.rglob("spikes.times.npy"))
    with contextlib.suppress(OSError):
        os.utime(path, ns=(0, seconds * 10**9))
    assert len(found(archive)) == 12


def test_names_that_are_no_datasets_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_VERDICTS", 10)
    make_tree(tmp_path, {f"S/2020-01-01/001/image{i}.tif": 1 for i in range(50)})
    _, _, walker = walk(tmp_path)
    assert walker.n_other_files == 50
    assert len(walker._lister.names.verdicts) <= 10


@posix_only
def test_descriptors_are_closed(tmp_path: Path) -> None:
    import resource

    make_tree(tmp_path, {f"S/2020-01-01/001/c{i}/a.b.npy": 1 for i in range(200)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        assert len(found(tmp_path)) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_deep_trees_do_not_exhaust_anything(tmp_path: Path) -> None:
    root = tmp_path / "S/2020-01-01/001"
    root.mkdir(parents=True)
    here = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(200):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.b.npy").touch()
    finally:
        os.chdir(here)
    assert found(tmp_path) == ["S/2020-01-01/001/" + "d/" * 200 + "a.b.npy"]
