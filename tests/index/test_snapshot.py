"""Another index of the same archive: changes, and digests that hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from amount import count_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import FILES, LONG_AGO, age_files, index_quietly, read_tables
from trees import make_tree
from tuning import tune

from polars_alf import Progress, errors, index_archive
from polars_alf.tables import files

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


def _digested(archive: Path, **options: object) -> tuple[int, dict[str, int] | None]:
    seen: list[Progress] = []
    report = index_archive(archive, progress=seen.append, **options)  # type: ignore[arg-type]
    return seen[-1].n_bytes, report.changes


def test_the_first_index_has_nothing_to_compare_with(archive: Path) -> None:
    report = index_archive(archive)
    assert report.changes is None
    assert report.scan_changes().collect().is_empty()


def test_changes_are_counted_and_listed(archive: Path) -> None:
    age_files(archive)
    index_archive(archive)
    session = archive / "cortexlab/Subjects/KS001/2020-01-01/001"
    (session / "alf/spikes.times.npy").write_bytes(b"longer than it was before")
    (session / "_ibl_trials.intervals_bpod.csv").unlink()
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001/a.b.npy": 7})
    shutil.rmtree(archive / "wittenlab")
    report = index_archive(archive, max_removed=4)
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
    age_files(archive)
    assert _digested(archive, hash_files=True)[0] == 4 * 61
    first = read_tables(archive)[1]
    assert _digested(archive, hash_files=True)[0] == 0
    assert read_tables(archive)[1].equals(first)
    changed = archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy"
    changed.write_bytes(b"x" * 20)
    assert _digested(archive, hash_files=True)[0] == 20
    wanted = hashlib.md5(b"x" * 20).hexdigest()
    assert read_tables(archive)[1].filter(hash=wanted).height == 1


def test_a_file_replaced_by_another_of_its_size_and_time_is_digested_again(archive: Path) -> None:
    age_files(archive)
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
    age_files(archive)
    index_archive(archive, hash_files=True)
    first = read_tables(archive)[1]
    (archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy").write_bytes(b"x")
    index_archive(archive)
    joined = first.join(read_tables(archive)[1], on=["eid", "id"])
    assert (joined["hash"] == joined["hash_right"]).sum() == 11
    assert joined.filter(file_size_right=1)["hash_right"].to_list() == [""]
    index_archive(archive)
    assert (read_tables(archive)[1]["hash"] != "").sum() == 11, "also by the index after that"


def _hashes(folder: Path) -> list[str]:
    return read_tables(folder)[1]["hash"].to_list()


def _change_device(tables: Path) -> None:
    """Make the archive of the last index one of another device."""
    path = files.report_path(tables)
    report = json.loads(path.read_text(encoding="utf-8"))
    report["settings"]["device"] += 1
    path.write_text(json.dumps(report), encoding="utf-8")


@pytest.mark.parametrize("is_beside", [True, False])
def test_digests_of_an_archive_that_moves_are_kept(
    archive: Path, tmp_path: Path, out_dir: Path, is_beside: bool
) -> None:
    age_files(archive)
    tables = archive if is_beside else out_dir
    index_archive(archive, tables, hash_files=True)
    first = read_tables(tables)[1]
    moved = tmp_path / "mnt" / "archive"
    moved.parent.mkdir()
    archive.rename(moved)
    tables = moved if is_beside else out_dir
    with pytest.warns(errors.TableWarning, match="another archive"):
        n_bytes, changes = _digested(moved, out=tables, hash_files=True)
    assert (n_bytes, changes and changes["unchanged"]) == (0, 12)
    assert read_tables(tables)[1].equals(first)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["device", "inodes"])
@pytest.mark.parametrize("digest", [(), ("xxh3_128",)])
def test_other_inodes_or_another_device_are_told_and_can_be_ignored(
    archive: Path, tmp_path: Path, change: str, digest: Sequence[str]
) -> None:
    age_files(archive)
    index_archive(archive, hash_files=True, digest=digest)  # type: ignore[arg-type]
    first = read_tables(archive)[1]
    if change == "device":
        _change_device(archive)
    else:
        archive.rename(tmp_path / "away")
        shutil.copytree(tmp_path / "away", archive)
    for _ in range(2):
        with pytest.warns(errors.TableWarning, match="12 datasets .*--ignore-inode"):
            assert _digested(archive)[0] == 0
        assert set(_hashes(archive)) == {""}
    # The cures of the message: the digests are still there, or are made again.
    shutil.copytree(archive, tmp_path / "again")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        n_bytes, changes = _digested(archive, ignore_inode=True)
        assert (n_bytes, changes and changes["unchanged"]) == (0, 12)
        assert read_tables(archive)[1].equals(first)
        assert _digested(archive)[0] == 0
        assert read_tables(archive)[1].equals(first)
    with pytest.warns(errors.TableWarning, match="12 datasets .* read again"):
        assert _digested(tmp_path / "again", hash_files=True)[0] == 4 * 61
    assert read_tables(tmp_path / "again")[1].equals(first)


def test_another_archive_lends_no_digests(archive: Path, tmp_path: Path, out_dir: Path) -> None:
    age_files(archive)
    other = tmp_path / "other"
    shutil.copytree(archive, other)
    for path in other.rglob("*.npy"):
        path.write_bytes(b"x" * path.stat().st_size)
    age_files(other)
    index_archive(archive, out_dir, hash_files=True)
    with pytest.warns(errors.TableWarning, match="another inode"):
        index_archive(other, out_dir)
    assert set(_hashes(out_dir)) == {""}


def test_a_digest_of_this_moment_is_in_the_next_tables_too(archive: Path) -> None:
    index_archive(archive, hash_files=True)
    first = read_tables(archive)[1]
    assert (first["hash"] != "").all()
    # In place, in the same tick of the clock: nothing but the content tells.
    path = archive / "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy"
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"y" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    index_archive(archive)
    joined = first.join(read_tables(archive)[1], on=["eid", "id"])
    changed = joined.filter(pl.col("hash") != pl.col("hash_right"))
    assert changed["hash_right"].to_list() == [hashlib.md5(b"y" * status.st_size).hexdigest()]


_STEPS = st.lists(
    st.sampled_from(["write", "age", "move", "copy", "device", "index", "hash", "quick"]),
    min_size=3,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=count_examples(15), deadline=None)
@given(steps=_STEPS)
def test_a_digest_is_that_of_the_content_or_none(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "archive")
        names = [f"S/2020-01-01/00{n}/a.b.npy" for n in (1, 2)]
        make_tree(root, dict.fromkeys(names, "0"))
        are_due = False
        for number, step in enumerate(["hash", *steps, "index"]):
            file = root / names[number % 2]
            away = Path(folder, f"archive{number}")
            match step:
                case "write":
                    file.write_text(str(number % 10))
                    are_due = False
                case "age":
                    age_files(root / "S")
                    are_due = False
                case "move":
                    root = root.rename(away)
                case "copy":
                    root = Path(shutil.copytree(root, away))
                    are_due = False
                case "device":
                    _change_device(root)
                    are_due = False
                case _:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", errors.TableWarning)
                        index_archive(root, hash_files=step == "hash", quick=step == "quick")
                    are_due |= step == "hash"
                    wanted = {hashlib.md5((root / name).read_bytes()).hexdigest() for name in names}
                    found = {*_hashes(root)}
                    assert found == wanted if are_due else found <= {*wanted, ""}


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
    report = index_archive(archive, out_dir, max_removed=5)
    assert report.changes is not None
    assert (report.changes["removed"], report.changes["unreadable"]) == (0, 5)


def test_a_snapshot_that_is_damaged_does_no_harm(archive: Path) -> None:
    index_archive(archive)
    (snapshot,) = (archive / files.STATE_DIR).glob("snapshot-*")
    for shard in (path for path in snapshot.iterdir() if path.is_dir()):
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


@pytest.mark.slow
@settings(max_examples=count_examples(40), deadline=None)
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
        tune(patch, least_folders=1)
        make_tree(root, dict(old))
        age_files(root)
        index_quietly(root, out_dir)
        for path in old.keys() - new.keys():
            (root / path).unlink()
        for path, size in new.items():
            if old.get(path) != size:
                make_tree(root, {path: size})
        report = index_quietly(root, out_dir)
    found = {row["path"]: row["change"] for row in report.scan_changes().collect().to_dicts()}
    expected = dict.fromkeys(old.keys() - new.keys(), "removed")
    expected |= dict.fromkeys(new.keys() - old.keys(), "added")
    expected |= {path: "changed" for path in old.keys() & new.keys() if old[path] != new[path]}
    assert found == expected
    assert report.changes is not None
    assert report.changes["unchanged"] == len(new) - len(new.keys() & expected.keys())
