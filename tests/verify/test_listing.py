"""Folders and files that cannot be read, and links."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from trees import SESSION, Fifo, Link, make_tree
from verified import KS001, KS002, PROBE, SPIKES, TRIALS, find

from polars_alf import verify_archive


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
