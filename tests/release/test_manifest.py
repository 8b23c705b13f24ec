"""Manifests, and tables and files that are compared with them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import polars_alf
from polars_alf.errors import ArchiveNotFoundError, TableError


@pytest.fixture
def release(archive: Path, tmp_path: Path) -> polars_alf.Release:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    polars_alf.index_archive(archive, source, namespace="site", hash_files=True)
    return polars_alf.subset_tables(source, out, where="subject = 'KS001'", tag="first")


def manifest(release: polars_alf.Release) -> Path:
    return release.folder / "manifest.json"


def edit(release: polars_alf.Release, **values: object) -> None:
    path = manifest(release)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_manifest_says_what_the_tables_have(release: polars_alf.Release, archive: Path) -> None:
    values = json.loads(manifest(release).read_text())
    assert values == release.manifest
    assert (values["n_sessions"], values["n_datasets"], values["n_with_hash"]) == (3, 9, 9)
    assert values["n_bytes"] == 3 * 61
    assert values["name"] == "first"
    assert values["origins"] == [str(archive)]
    assert values["selection"]["where"] == "subject = 'KS001'"
    for name, table in values["tables"].items():
        content = (release.folder / name).read_bytes()
        assert table["sha256"] == hashlib.sha256(content).hexdigest()
        assert table["bytes"] == len(content)
    checked = polars_alf.verify_manifest(manifest(release))
    assert (checked.problems, checked.checksum) == ((), release.checksum)
    assert json.loads(json.dumps(checked.to_dict()))["problems"] == []


def test_the_same_part_has_the_same_checksum(release: polars_alf.Release, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    other = polars_alf.subset_tables(tmp_path / "source", again, where="subject = 'KS001'")
    assert other.checksum == release.checksum
    less = polars_alf.subset_tables(tmp_path / "source", again, where="subject = 'KS002'")
    assert less.checksum != release.checksum


def test_tables_that_another_program_wrote_may_say_the_same(
    release: polars_alf.Release, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("sessions", "datasets"):
        frame = pl.read_parquet(release.folder / f"{name}.pqt").with_columns(note=pl.lit("more"))
        frame.reverse().write_parquet(copy / f"{name}.pqt")
    assert polars_alf.verify_manifest(manifest(release), copy).problems == ()


@pytest.mark.parametrize(
    "change",
    [
        {"file_size": pl.lit(1, pl.UInt64)},
        {"hash": pl.lit("0" * 32)},
        {"rel_path": pl.lit("x.y.npy")},
        {"default_revision": ~pl.col("default_revision")},
        {"qc": pl.lit("FAIL")},
    ],
)
def test_other_values_differ(
    release: polars_alf.Release, tmp_path: Path, change: dict[str, pl.Expr]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(release.folder, copy)
    frame = pl.read_parquet(copy / "datasets.pqt")
    frame.with_columns(**change).write_parquet(copy / "datasets.pqt")
    [problem] = polars_alf.verify_manifest(copy / "manifest.json").problems
    assert problem == "datasets.pqt has the right number of rows, but says something else"
    frame.head(2).write_parquet(copy / "datasets.pqt")
    [problem] = polars_alf.verify_manifest(copy / "manifest.json").problems
    assert problem == "datasets.pqt has 2 rows instead of 9"
    (copy / "datasets.pqt").unlink()
    [problem] = polars_alf.verify_manifest(copy / "manifest.json").problems
    assert "is not there" in problem


def test_values_do_not_run_into_each_other(tmp_path: Path) -> None:
    """A text that moves from one column to the next is another row."""
    from table_frames import make_datasets, make_sessions, write_tables

    sums = set()
    for number, (eid, row) in enumerate([("ab", "c"), ("a", "bc"), ("abc", "")]):
        pair = make_sessions([("s", "S")]), make_datasets([(eid, row, "a.b.npy", 1)])
        folder, out = tmp_path / str(number), tmp_path / f"out{number}"
        out.mkdir()
        write_tables(folder, pair)
        from polars_alf.release.manifest import write_manifest

        sums.add(write_manifest(folder, {}, None)["checksum"])
    assert len(sums) == 3


def test_what_is_no_manifest_is_told(release: polars_alf.Release, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError, match="no manifest"):
        polars_alf.verify_manifest(tmp_path / "nowhere.json")
    for text in ("", "[]", "{}", '{"tables": 1}', '{"manifest_version": 1, "tables": {}}'):
        path = tmp_path / "manifest.json"
        path.write_text(text)
        with pytest.raises(TableError, match="no manifest"):
            polars_alf.verify_manifest(path)
    edit(release, checksum="sha256:0")
    assert "edited" in polars_alf.verify_manifest(manifest(release)).problems[0]
    edit(release, manifest_version=2)
    with pytest.raises(TableError, match="this version knows"):
        polars_alf.verify_manifest(manifest(release))
