"""Damage to an archive is found, each kind by its name."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from amount import count_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import SESSION, TWO_LABS, make_tree
from verified import KS001, KS002, PROBE, SPIKES, TRIALS, find, rewrite

import polars_alf
from polars_alf import verify_archive


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


@pytest.mark.slow
@settings(deadline=None, max_examples=count_examples(20))
@given(damages, st.integers(0, 3))
def test_known_damage_is_found_and_nothing_else(damages: dict[int, str], n_new: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = make_tree(Path(folder, "archive"), TWO_LABS)
        polars_alf.index_archive(archive, hash_files=True, jobs=1)
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
        assert find(archive, archive, digest=True, jobs=1) == expected


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
