"""An archive against its tables."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import write_tables
from trees import SESSION, TWO_LABS, Fifo, Link, make_tree

import polars_alf
from polars_alf import verify_archive
from polars_alf.errors import (
    ArchiveNotFoundError,
    ForeignTablesError,
    OptionError,
    TableNotFoundError,
)
from polars_alf.schema import polars_schema
from polars_alf.verify.compare import FINDINGS

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"
KS002 = "cortexlab/Subjects/KS002/2020-02-29/001"
SPIKES = "alf/spikes.times.npy"
TRIALS = "_ibl_trials.intervals_bpod.csv"
PROBE = "alf/probe00/#2024-05-06#/spikes.times.npy"


@pytest.fixture
def tables(archive: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, hash_files=True)
    return folder


def find(archive: Path, tables: Path, **options: object) -> set[tuple[str, str]]:
    """Return kind and path of what is found of datasets and folders."""
    found = verify_archive(archive, tables, **options)  # type: ignore[arg-type]
    return set(found.findings.select("kind", "path").rows())


def rewrite(tables: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """Write a copy of tables with other datasets."""
    sessions = polars_alf.scan_sessions(tables).drop("origin").collect()
    datasets = polars_alf.scan_datasets(tables).drop("origin").collect()
    return write_tables(tables.parent / uuid.uuid4().hex, (sessions, change(datasets)))


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
@pytest.mark.parametrize("digest", [False, True])
def test_a_whole_archive_has_no_findings(
    archive: Path, tables: Path, executor: str, digest: bool
) -> None:
    found = verify_archive(archive, tables, digest=digest, executor=executor, n_jobs=2)  # type: ignore[arg-type]
    assert found.findings.is_empty()
    assert found.findings.schema == polars_schema(FINDINGS)
    assert (found.n_datasets, found.n_checked) == (12, 12)
    assert (found.n_digested, found.n_without_hash) == (12 * digest, 0)
    assert set(found.counts.values()) == {0}


def test_each_kind_of_damage_is_found(archive: Path, tables: Path) -> None:
    (archive / KS001 / SPIKES).unlink()
    (archive / KS001 / TRIALS).write_bytes(bytes(12))
    (archive / KS001 / PROBE).write_bytes(b"x" * 30)
    make_tree(archive, {f"{KS002}/alf/new.times.npy": 3, "wittenlab/Subjects/N/2020-01-01/001": {}})
    expected = {
        ("missing", f"{KS001}/{SPIKES}"),
        ("size_changed", f"{KS001}/{TRIALS}"),
        ("new", f"{KS002}/alf/new.times.npy"),
        ("new", "wittenlab/Subjects/N/2020-01-01/001"),
    }
    assert find(archive, tables) == expected
    found = verify_archive(archive, tables, digest=True)
    rotten = ("digest_changed", f"{KS001}/{PROBE}")
    assert set(found.findings.select("kind", "path").rows()) == {*expected, rotten}
    assert found.n_digested == 10
    row = found.findings.filter(kind="digest_changed").row(0, named=True)
    assert row["disk_hash"] == hashlib.md5(b"x" * 30).hexdigest()
    assert row["table_hash"] == hashlib.md5(bytes(30)).hexdigest()
    assert (row["table_size"], row["disk_size"]) == (30, 30)
    row = found.findings.filter(kind="size_changed").row(0, named=True)
    assert (row["table_size"], row["disk_size"]) == (11, 12)


def test_a_session_that_is_gone_is_missing_with_all_it_had(archive: Path, tables: Path) -> None:
    shutil.rmtree(archive / KS002)
    files = {("missing", f"{KS002}/{name}") for name in (SPIKES, TRIALS, PROBE)}
    assert find(archive, tables) == {("missing", KS002), *files}
    shutil.rmtree(archive)
    archive.mkdir()
    assert verify_archive(archive, tables).counts["missing"] == 16


damages = st.dictionaries(
    st.integers(0, 11), st.sampled_from(["remove", "grow", "rot", "link", "empty"])
)


@settings(deadline=None, max_examples=20)
@given(damages, st.integers(0, 3))
def test_known_damage_is_found_and_nothing_else(damages: dict[int, str], n_new: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = make_tree(Path(folder, "archive"), TWO_LABS)
        polars_alf.index_archive(archive, hash_files=True, n_jobs=1)
        files = sorted(
            path.relative_to(archive).as_posix()
            for path in archive.rglob("*.*")
            if path.suffix in (".npy", ".csv")
        )
        expected = set()
        for number, what in damages.items():
            path = archive / files[number]
            size = path.stat().st_size
            match what:
                case "remove":
                    path.unlink()
                case "grow":
                    path.write_bytes(bytes(size + 1))
                case "empty":
                    path.write_bytes(b"")
                case "rot":
                    path.write_bytes(b"\1" * size)
                case "link":
                    path.unlink()
                    path.symlink_to("nowhere")
            kinds = {"remove": "missing", "link": "missing", "rot": "digest_changed"}
            expected.add((kinds.get(what, "size_changed"), files[number]))
        for number in range(n_new):
            make_tree(archive, {f"{KS001}/alf/new{number}.times.npy": 1})
            expected.add(("new", f"{KS001}/alf/new{number}.times.npy"))
        assert find(archive, archive, digest=True, n_jobs=1) == expected


def test_what_cannot_be_listed_is_not_missing(
    archive: Path, tables: Path, unprivileged: Callable[[], None]
) -> None:
    folders = [archive / KS001 / "alf", archive / "cortexlab/Subjects/KS002"]
    for folder in folders:
        folder.chmod(0)
    unprivileged()
    found = find(archive, tables)
    names = {name: {f"{KS002}/{name}"} for name in (SPIKES, TRIALS, PROBE)}
    paths = {*(path for group in names.values() for path in group), KS002}
    paths |= {f"{KS001}/{SPIKES}", f"{KS001}/{PROBE}", f"{KS001}/alf", "cortexlab/Subjects/KS002"}
    assert found == {("unreadable", path) for path in paths}
    assert {kind for kind, _ in find(archive, tables, sample=1.0)} == {"unreadable"}


def test_what_cannot_be_read_has_no_changed_digest(
    archive: Path, tables: Path, unprivileged: Callable[[], None]
) -> None:
    (archive / KS001 / SPIKES).chmod(0)
    unprivileged()
    assert find(archive, tables) == set()
    found = verify_archive(archive, tables, digest=True)
    assert found.findings.select("kind", "path").rows() == [("unreadable", f"{KS001}/{SPIKES}")]
    assert found.n_digested == 11
    assert "Permission denied" in found.findings["message"].item()


def test_datasets_without_a_digest_are_counted(archive: Path, tables: Path) -> None:
    half = pl.when(pl.col("rel_path") == SPIKES).then(pl.lit("")).otherwise("hash")
    copy = rewrite(tables, lambda datasets: datasets.with_columns(hash=half))
    found = verify_archive(archive, copy, digest=True)
    assert (found.n_digested, found.n_without_hash) == (8, 4)
    assert found.findings.is_empty()
    # What is no MD5 cannot be compared; spelt in capitals it can.
    odd = pl.when(pl.col("rel_path") == SPIKES).then(pl.lit("sha:1")).otherwise(
        pl.col("hash").str.to_uppercase()
    )  # fmt: skip
    copy = rewrite(tables, lambda datasets: datasets.with_columns(hash=odd))
    found = verify_archive(archive, copy, digest=True)
    assert (found.n_digested, found.n_without_hash, len(found.findings)) == (8, 4, 0)
    assert verify_archive(archive, copy).n_without_hash == 0


@pytest.mark.parametrize(
    "path",
    ["../../../../../../secret.a.npy", "/secret.a.npy", "alf/../../x.a.npy", "alf\0/x.a.npy", "",
     "alf//x.a.npy", "./x.a.npy"],
)  # fmt: skip
def test_paths_that_lead_out_are_never_followed(
    archive: Path, tables: Path, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.a.npy"
    secret.write_bytes(b"secret")
    changed = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(path)).otherwise("rel_path")
    digest = hashlib.md5(b"secret").hexdigest()
    copy = rewrite(
        tables, lambda datasets: datasets.with_columns(rel_path=changed, hash=pl.lit(digest))
    )
    opened: list[str] = []
    really = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **k: opened.append(path) or really(path, *rest, **k)
    )
    for options in ({}, {"sample": 1.0}):
        found = verify_archive(archive, copy, digest=True, executor="serial", **options)  # type: ignore[arg-type]
        unsafe = found.findings.filter(kind="unsafe_path")
        assert unsafe["path"].to_list() == [path]
    inside = [
        path
        for path in opened
        if not str(path).startswith((str(archive), tempfile.gettempdir(), "/proc/thread-self/"))
    ]
    assert not inside
    assert not [path for path in opened if "secret" in str(path) or ".." in str(path)]


def test_links_are_taken_as_an_index_takes_them(
    archive: Path, tables: Path, tmp_path: Path
) -> None:
    outside = make_tree(tmp_path / "outside", {"spikes.times.npy": 20, "more": SESSION})
    (archive / KS001 / SPIKES).unlink()
    make_tree(archive, {f"{KS001}/{SPIKES}": Link(str(outside / "spikes.times.npy"))})
    assert find(archive, tables, digest=True) == set(), "a linked file is a dataset"
    shutil.move(archive / KS001 / "alf", tmp_path / "alf")
    make_tree(archive, {f"{KS001}/alf": Link(str(tmp_path / "alf"))})
    assert find(archive, tables) == {
        ("unreadable", f"{KS001}/{SPIKES}"),
        ("unreadable", f"{KS001}/{PROBE}"),
    }, "a linked folder is not entered"
    assert find(archive, tables, follow_links=True) == set()
    (archive / KS001 / TRIALS).unlink()
    make_tree(archive, {f"{KS001}/{TRIALS}": Fifo()})
    assert ("missing", f"{KS001}/{TRIALS}") in find(archive, tables, digest=True)


def test_a_sample_is_the_same_for_the_same_seed(archive: Path, tables: Path) -> None:
    shutil.rmtree(archive / "cortexlab")

    def ids(seed: int) -> list[str]:
        found = verify_archive(archive, tables, sample=0.5, seed=seed)
        assert found.n_checked == 6
        return found.findings["id"].to_list()

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(20)}) > 5
    every = verify_archive(archive, tables, sample=1.0).findings
    assert every["kind"].to_list() == ["missing"] * 9
    assert verify_archive(archive, tables, sample=1e-9).n_checked == 1


def test_a_sample_tells_nothing_new_and_reads_only_its_own(archive: Path, tables: Path) -> None:
    make_tree(archive, {f"{KS001}/alf/new.times.npy": 3})
    found = verify_archive(archive, tables, sample=0.2, digest=True)
    assert (found.n_checked, found.n_digested, len(found.findings)) == (3, 3, 0)


@pytest.mark.parametrize(
    "part", ["cortexlab", "cortexlab/Subjects/KS001", KS001, "wittenlab/Subjects"]
)
@pytest.mark.parametrize("sample", [None, 1.0])
def test_a_part_can_be_verified_alone(
    archive: Path, tables: Path, part: str, sample: float | None
) -> None:
    shutil.rmtree(archive / KS002)
    root = archive / part
    found = verify_archive(root, tables, sample=sample)
    within = [path for path in (KS002,) if Path(path).is_relative_to(part)]
    n_lost = (3 if sample else 4) * len(within)
    assert found.counts["missing"] == n_lost == len(found.findings)
    n_sessions = len(list(root.rglob("alf"))) + len(within)
    assert found.n_datasets == 3 * n_sessions


@pytest.mark.parametrize("options", [{"lab": "otherlab"}, {"hash_ids": False}])
def test_sessions_are_found_however_they_are_named(
    tmp_path: Path, options: dict[str, object]
) -> None:
    tree = {"KS001/2020-01-01": {"001": SESSION, "2": SESSION}, "KS-2/2020-01-02/003": SESSION}
    archive = make_tree(tmp_path / "archive", tree)
    polars_alf.index_archive(archive, **options)  # type: ignore[arg-type]
    assert find(archive, archive) == set()
    (archive / "KS001/2020-01-01/2/alf/spikes.times.npy").unlink()
    lost = {("missing", "KS001/2020-01-01/2/alf/spikes.times.npy")}
    assert find(archive, archive) == lost
    assert find(archive, archive, sample=1.0) == lost
    shutil.move(archive / "KS001/2020-01-01/2", archive / "KS001/2020-01-01/002")
    foreign = rewrite(archive, lambda datasets: datasets)
    assert find(archive, foreign) == {("missing", "KS001/2020-01-01/002/alf/spikes.times.npy")}


def test_copies_and_what_was_left_out_are_not_new(archive: Path, tables: Path) -> None:
    make_tree(archive, {f"backup/{KS001}": SESSION})
    assert find(archive, tables) == set(), "an index leaves the copy out too"
    polars_alf.index_archive(archive, tables, exclude=["probe00/"])
    assert {kind for kind, _ in find(archive, tables)} == {"new"}
    assert find(archive, tables, exclude=["probe00/"]) == set()
    polars_alf.index_archive(archive, tables)
    assert find(archive, tables, exclude=["probe00/"]) == set()


def test_what_the_table_says_is_absent_may_be_absent(archive: Path, tables: Path) -> None:
    absent = pl.col("rel_path") != SPIKES
    copy = rewrite(tables, lambda datasets: datasets.with_columns(exists=absent))
    for session in (KS001, KS002):
        (archive / session / SPIKES).unlink()
    found = find(archive, copy)
    assert {kind for kind, _ in found} == {"new"}
    assert len(found) == 2


def test_what_cannot_be_verified_is_said(archive: Path, tables: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError):
        verify_archive(tmp_path / "nowhere", tables)
    with pytest.raises(TableNotFoundError):
        verify_archive(archive)
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(OptionError, match="sample"):
            verify_archive(archive, tables, sample=share)
    with pytest.raises(OptionError, match="gpu"):
        verify_archive(archive, tables, executor="gpu")  # type: ignore[arg-type]
    other = make_tree(tmp_path / "other", TWO_LABS)
    polars_alf.index_archive(other)
    merged = tmp_path / "merged"
    merged.mkdir()
    with pytest.warns(UserWarning, match="namespaces"):
        polars_alf.merge_tables([tables, other], merged)
    with pytest.raises(ForeignTablesError, match="other"):
        verify_archive(archive, merged)
