"""The options of an index: refused at once, with nothing written, or heeded."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from indexes import NAMESPACE, read_folder, read_tables
from polars.testing import assert_frame_equal
from trees import TWO_LABS, make_tree

from polars_alf import errors, index_archive, scan_archive
from polars_alf.schema import DATASETS, SESSIONS
from polars_alf.tables import files


def test_ids_of_paths(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, hash_ids=False)
    sessions, datasets = read_tables(out_dir)
    assert sessions.columns == SESSIONS.names
    assert datasets.columns == [*DATASETS.names, "default_revision"]
    assert sessions["id"].to_list() == [
        "cortexlab/KS001/2020-01-01/001",
        "cortexlab/KS001/2020-01-01/002",
        "cortexlab/KS002/2020-02-29/001",
        "wittenlab/KS001/2020-01-01/001",
    ]
    assert (
        datasets["id"].to_list()
        == datasets["rel_path"].to_list()
        == 4
        * [
            "_ibl_trials.intervals_bpod.csv",
            "alf/probe00/#2024-05-06#/spikes.times.npy",
            "alf/spikes.times.npy",
        ]
    )


def test_namespace_survives_the_loss_of_either_of_its_places(archive: Path) -> None:
    namespace = index_archive(archive).namespace
    (archive / files.STATE_DIR / "namespace").unlink()
    assert index_archive(archive).namespace == namespace
    (archive / "sessions.pqt").unlink()
    (archive / "datasets.pqt").unlink()
    assert index_archive(archive).namespace == namespace


def test_namespace_may_be_any_name(archive: Path, out_dir: Path) -> None:
    report = index_archive(archive, out_dir, namespace="cortexlab.example.org")
    assert report.namespace == uuid.uuid5(uuid.NAMESPACE_DNS, "cortexlab.example.org")
    assert index_archive(archive, out_dir).namespace == report.namespace


def test_same_namespace_at_two_sites_gives_the_same_ids(tmp_path: Path) -> None:
    tables = []
    for site in ("here", "there"):
        root = make_tree(tmp_path / site, TWO_LABS)
        index_archive(root, namespace=str(NAMESPACE))
        tables.append(read_tables(root))
    assert_frame_equal(tables[0][1], tables[1][1])


def test_another_namespace_is_refused(archive: Path) -> None:
    index_archive(archive, namespace=NAMESPACE)
    before = read_folder(archive)
    with pytest.raises(errors.NamespaceConflictError, match=str(NAMESPACE)) as caught:
        index_archive(archive, namespace=uuid.uuid4())
    assert isinstance(caught.value, ValueError)
    assert read_folder(archive) == before


@pytest.mark.parametrize("jobs", [0, -2])
def test_number_of_workers_that_makes_no_sense(archive: Path, jobs: int) -> None:
    with pytest.raises(ValueError, match=str(jobs)):
        index_archive(archive, jobs=jobs)


def test_old_tables_survive_bad_input(archive: Path) -> None:
    index_archive(archive)
    before = read_folder(archive)
    with pytest.raises(errors.LabConflictError):
        index_archive(archive, lab="another")
    with pytest.raises(errors.OptionError, match="no name"):
        index_archive(archive, namespace=" ")
    with pytest.raises(errors.OptionError, match="gpu"):
        index_archive(archive, executor="gpu")  # type: ignore[arg-type]
    with pytest.raises(errors.OptionError, match="cannot be excluded"):
        index_archive(archive, exclude=["!"])
    with pytest.raises(errors.OptionError, match="empty text"):
        index_archive(archive, out="")
    assert read_folder(archive) == before


def test_one_pattern_may_be_given_as_it_is(archive: Path, out_dir: Path) -> None:
    assert index_archive(archive, out_dir, exclude="*.csv").n_datasets == 8
    assert scan_archive(archive, exclude="*.csv").collect().height == 8
