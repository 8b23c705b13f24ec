"""An archive against its tables."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from trees import TWO_LABS, make_tree
from verified import rewrite

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


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
@pytest.mark.parametrize("digest", [False, True])
def test_a_whole_archive_has_no_findings(
    archive: Path, tables: Path, executor: str, digest: bool
) -> None:
    found = verify_archive(archive, tables, digest=digest, executor=executor, jobs=2)  # type: ignore[arg-type]
    assert found.findings.is_empty()
    assert found.findings.schema == polars_schema(FINDINGS)
    assert (found.n_datasets, found.n_checked) == (12, 12)
    assert (found.n_digested, found.n_without_hash) == (12 * digest, 0)
    assert set(found.counts.values()) == {0}


@pytest.mark.slow
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
    places = (str(archive), tempfile.gettempdir(), "/proc/thread-self/")
    outside = [path for path in opened if not str(path).startswith(places)]
    # Folders of our own are removed by their names in those that hold them.
    assert not any("/" in str(path) or "secret" in str(path) for path in outside)
    assert not [path for path in opened if "secret" in str(path) or ".." in str(path)]


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


def test_a_folder_of_tables_is_no_archive(archive: Path, out_dir: Path) -> None:
    polars_alf.index_archive(archive, out_dir)
    with pytest.raises(ForeignTablesError) as raised:
        verify_archive(out_dir)
    root, _, folder, _ = str(raised.value).rpartition("tables: ")[2].split(" ")
    assert verify_archive(root, folder).findings.is_empty()
