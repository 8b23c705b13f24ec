"""Archives and tables, checked as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from indexes import read_folder
from trees import SESSION, make_tree

import polars_alf
from polars_alf.check.findings import CHECKS
from polars_alf.errors import ArchiveNotFoundError, NoSessionsWarning, OptionError
from polars_alf.schema import polars_schema

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"
KS002 = "cortexlab/Subjects/KS002/2020-02-29/001"


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_clean_archive_has_no_findings(archive: Path, executor: str) -> None:
    before = read_folder(archive)
    found = polars_alf.check_archive(archive, complete="true", executor=executor, jobs=2)
    assert found.findings.is_empty()
    assert found.findings.schema == polars_schema(CHECKS)
    assert (found.n_sessions, found.n_datasets, found.n_other_files) == (4, 12, 4)
    assert set(found.counts.values()) == {0}
    assert json.loads(json.dumps(found.to_dict()))["template"]
    assert read_folder(archive) == before


def test_tables_are_checked_as_their_archive(archive: Path, out_dir: Path) -> None:
    make_tree(
        archive / KS001,
        {"alf/spike.amps.npy": 9, "alf/trials.choice.npy": 928, "alf/trials.included.npy": 227},
    )
    polars_alf.index_archive(archive, out_dir)
    options = {"template": ["alf/trials.choice.npy"]}
    columns = ["kind", "session", "rel_path", "likely", "file_size", "other_size"]
    of_archive = polars_alf.check_archive(archive, **options).findings
    of_tables = polars_alf.check_tables(out_dir, **options).findings
    assert of_archive.select(columns).equals(of_tables.select(columns))
    assert set(of_archive["kind"]) == {"misspelt_name", "misfit_size", "missing_dataset"}
    eids = polars_alf.scan_sessions(out_dir).collect()["id"]
    assert set(of_tables["eid"]) <= set(eids)
    sessions = of_archive["session"].str.replace("/Subjects/", "/", literal=True)
    assert of_archive["eid"].to_list() == sessions.to_list()


def test_rows_that_are_not_on_disk_do_not_count(archive: Path, out_dir: Path) -> None:
    polars_alf.index_archive(archive, out_dir)
    sessions = polars_alf.scan_sessions(out_dir).drop("origin")
    datasets = polars_alf.scan_datasets(out_dir).drop("origin")
    gone = datasets.with_columns(exists=pl.lit(value=False))
    found = polars_alf.check_tables((sessions, gone), template=["alf/spikes.times.npy"])
    assert found.n_datasets == 0
    assert found.counts["missing_dataset"] == 4


@pytest.mark.parametrize("from_tables", [False, True])
def test_a_database_is_compared(archive: Path, tmp_path: Path, from_tables: bool) -> None:
    database, after = tmp_path / "database", tmp_path / "after"
    for folder in (database, after):
        folder.mkdir()
    polars_alf.index_archive(archive, database, namespace="database")
    (archive / KS001 / "alf/spikes.times.npy").write_bytes(bytes(99))
    (archive / KS001 / "_ibl_trials.intervals_bpod.csv").unlink()
    make_tree(archive / KS001, {"alf/new.data.npy": 3})
    (archive / KS002).rename(archive / KS002.replace("/001", "/002"))
    polars_alf.index_archive(archive, after, namespace="disk")
    if from_tables:
        found = polars_alf.check_tables(after, against=database)
    else:
        found = polars_alf.check_archive(archive, against=database)
    session, moved = KS001, KS002.removesuffix("/001")
    assert found.findings.select("kind", "session", "rel_path").rows() == [
        ("not_on_disk", session, "_ibl_trials.intervals_bpod.csv"),
        ("not_registered", session, "alf/new.data.npy"),
        ("other_size", session, "alf/spikes.times.npy"),
        ("not_on_disk", f"{moved}/001", None),
        ("not_registered", f"{moved}/002", None),
    ]
    sizes = found.findings.filter(kind="other_size").select("file_size", "other_size").row(0)
    assert sizes == (99, 20)
    known = polars_alf.scan_sessions(database).collect()["id"]
    assert found.findings.filter(pl.col("session") == session)["eid"].is_in(known.implode()).all()


def test_what_a_database_says_is_not_there_is_not_missed(archive: Path, out_dir: Path) -> None:
    polars_alf.index_archive(archive, out_dir)
    pair = [
        scan(out_dir).drop("origin")
        for scan in (polars_alf.scan_sessions, polars_alf.scan_datasets)
    ]
    nothing = pair[0], pair[1].with_columns(exists=pl.lit(value=False))
    (archive / KS001 / "alf/spikes.times.npy").unlink()
    assert polars_alf.check_archive(archive, against=nothing).findings.is_empty()
    found = polars_alf.check_archive(archive, against=(pair[0], pair[1])).findings
    assert found["kind"].to_list() == ["not_on_disk"]


def test_a_lab_that_one_side_does_not_name_is_any(archive: Path, out_dir: Path) -> None:
    lab = archive / "cortexlab"
    polars_alf.index_archive(archive, out_dir)
    sessions = polars_alf.scan_sessions(out_dir).drop("origin").filter(lab="cortexlab")
    datasets = polars_alf.scan_datasets(out_dir).drop("origin")
    unnamed = sessions.with_columns(lab=pl.lit(""))
    assert polars_alf.check_archive(lab, against=(unnamed, datasets)).findings.is_empty()
    other = sessions.with_columns(lab=pl.lit("otherlab"))
    found = polars_alf.check_archive(lab, against=(other, datasets))
    assert found.counts["not_on_disk"] == found.counts["not_registered"] == 3


def test_nothing_is_missing_where_it_cannot_be_read(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    polars_alf.index_archive(archive, out_dir)
    hidden = archive / KS001 / "alf"
    hidden.chmod(0)
    unprivileged()
    try:
        found = polars_alf.check_archive(
            archive, against=out_dir, template=["alf/spikes.times.npy"]
        ).findings
    finally:
        os.seteuid(os.getuid())
        hidden.chmod(0o755)
    assert found.select("kind", "rel_path").rows() == [("unreadable", f"{KS001}/alf")]


def test_a_part_of_an_archive_is_checked(archive: Path) -> None:
    make_tree(archive / KS001, {"alf/spike.amps.npy": 9})
    for root in (archive / KS001, archive / "cortexlab/Subjects/KS001"):
        found = polars_alf.check_archive(root).findings
        assert found.select("session", "rel_path").rows() == [(KS001, "alf/spike.amps.npy")]


def test_what_is_left_out_is_not_checked(archive: Path) -> None:
    make_tree(archive / KS001, {"alf/spike.amps.npy": 9, "alf/spikes_amps.npy": 9})
    assert len(polars_alf.check_archive(archive, op_timeout=60).findings) == 2
    found = polars_alf.check_archive(archive, exclude=["spike.*", "spikes_*"])
    assert found.findings.is_empty()
    assert found.n_other_files == 4


def test_copies_of_a_session_are_checked_once(archive: Path) -> None:
    make_tree(archive / "backup" / KS001, SESSION | {"alf/spike.amps.npy": 9})
    assert polars_alf.check_archive(archive).findings.is_empty()


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError):
        polars_alf.check_archive(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.warns(NoSessionsWarning, match="No sessions found in .*; the folder of a session"):
        assert polars_alf.check_archive(empty).findings.is_empty()


def test_a_condition_that_no_session_meets_is_named(archive: Path) -> None:
    with pytest.raises(OptionError, match=r"subject = 'X'.* holds for none of 4 sessions; give"):
        polars_alf.check_archive(archive, complete="subject = 'X'")
