"""An index from a tree to both tables, through public calls."""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from trees import SESSION, TWO_LABS, Fifo, Link, Tree, check_state, make_tree

import polars_alf
from polars_alf import Progress, errors, index_archive, scan_archive
from polars_alf.index import merge
from polars_alf.parallel.executors import EXECUTORS, Executor
from polars_alf.schema import DATASETS, SESSIONS, polars_schema
from polars_alf.tables import files, transaction
from polars_alf.walk import shards, walker

NAMESPACE = uuid.UUID("12345678-1234-5678-1234-567812345678")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_parquet(folder / "sessions.pqt"), pl.read_parquet(folder / "datasets.pqt")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return all that is in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_report_counts_what_is_there(archive: Path, out_dir: Path) -> None:
    report = index_archive(archive, out_dir)
    assert report.sessions_path == out_dir / "sessions.pqt"
    assert report.datasets_path == out_dir / "datasets.pqt"
    assert (report.n_sessions, report.n_datasets, report.n_bytes) == (4, 12, 4 * 61)
    assert (report.n_other_files, report.issues) == (4, {})
    assert report.cache_dir == archive
    sessions, datasets = read(out_dir)
    assert (len(sessions), len(datasets)) == (4, 12)


def test_rows_say_what_is_on_disk(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, namespace=NAMESPACE)
    sessions, datasets = read(out_dir)
    (session,) = sessions.filter(lab="cortexlab", subject="KS002").to_dicts()
    name = "cortexlab/KS002/2020-02-29/001"
    assert session == {
        "lab": "cortexlab",
        "subject": "KS002",
        "date": date(2020, 2, 29),
        "number": 1,
        "task_protocol": "",
        "projects": "",
        "id": str(uuid.uuid3(NAMESPACE, name)),
    }
    merge = datasets.filter(eid=session["id"]).sort("file_size").to_dicts()
    assert merge == [
        {
            "rel_path": rel_path,
            "file_size": size,
            "hash": "",
            "exists": True,
            "qc": "NOT_SET",
            "eid": session["id"],
            "id": str(uuid.uuid3(NAMESPACE, f"{name}/{rel_path}")),
        }
        for rel_path, size in [
            ("_ibl_trials.intervals_bpod.csv", 11),
            ("alf/spikes.times.npy", 20),
            ("alf/probe00/#2024-05-06#/spikes.times.npy", 30),
        ]
    ]


def test_tables_are_sorted_and_ids_unique(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir)
    sessions, datasets = read(out_dir)
    assert sessions["id"].is_sorted()
    assert sessions["id"].is_unique().all()
    assert datasets.equals(datasets.sort("eid", "id"))
    assert datasets["id"].is_unique().all()
    assert set(datasets["eid"]) == set(sessions["id"])


def test_ids_of_paths(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, hash_ids=False)
    sessions, datasets = read(out_dir)
    assert sessions.columns == SESSIONS.names
    assert datasets.columns == DATASETS.names
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


@pytest.mark.parametrize("hash_ids", [True, False])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_gives_the_same_tables(
    archive: Path,
    out_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: Executor,
    hash_ids: bool,
) -> None:
    make_tree(archive, {f"lab/Subjects/S{i}/2021-02-{i:02}/001": SESSION for i in range(1, 20)})
    monkeypatch.setattr(shards, "LEAST_UNITS", 1)
    plain = tmp_path / "plain"
    plain.mkdir()
    reference = index_archive(
        archive, plain, namespace=NAMESPACE, hash_ids=hash_ids, executor="serial", n_jobs=1
    )
    # Row groups of a few rows, so that the merge has several of them to cut.
    monkeypatch.setattr(merge, "ROWS_PER_GROUP", 7)
    report = index_archive(
        archive, out_dir, namespace=NAMESPACE, hash_ids=hash_ids, executor=executor, n_jobs=2
    )
    for one, other in zip(read(plain), read(out_dir), strict=True):
        assert_frame_equal(one, other)
    assert report.n_datasets == reference.n_datasets == 12 + 3 * 19
    assert pq.read_metadata(out_dir / "datasets.pqt").num_row_groups > 5


@pytest.mark.parametrize("wanted", [1, 3, 1000])
def test_the_cut_into_shards_changes_nothing(
    archive: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int
) -> None:
    index_archive(archive, out_dir, namespace=NAMESPACE)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(shards, "SHARDS_WANTED", wanted)
    monkeypatch.setattr(shards, "LEAST_UNITS", 1)
    index_archive(archive, other, namespace=NAMESPACE)
    for one, two in zip(read(out_dir), read(other), strict=True):
        assert_frame_equal(one, two)


def test_ids_stay_from_run_to_run(archive: Path) -> None:
    first = index_archive(archive)
    before = read(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    second = index_archive(archive)
    assert second.namespace == first.namespace
    sessions, datasets = read(archive)
    assert set(before[0]["id"]) < set(sessions["id"])
    assert before[1].join(datasets, on=["eid", "id", "rel_path"]).height == 12
    assert datasets.height == 15
    assert second.n_other_files == first.n_other_files + 1, "our own tables are not counted"


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
        tables.append(read(root))
    assert_frame_equal(tables[0][1], tables[1][1])


def test_another_namespace_is_refused(archive: Path) -> None:
    index_archive(archive, namespace=NAMESPACE)
    before = snapshot(archive)
    with pytest.raises(errors.NamespaceConflictError, match=str(NAMESPACE)) as caught:
        index_archive(archive, namespace=uuid.uuid4())
    assert isinstance(caught.value, ValueError)
    assert snapshot(archive) == before


@pytest.mark.parametrize(
    ("below", "levels"),
    [
        ("cortexlab", 1),
        ("cortexlab/Subjects", 2),
        ("cortexlab/Subjects/KS001", 3),
        ("cortexlab/Subjects/KS001/2020-01-01", 4),
        ("cortexlab/Subjects/KS001/2020-01-01/001", 5),
    ],
)
def test_a_root_within_gives_the_rows_of_the_whole(
    archive: Path, out_dir: Path, tmp_path: Path, below: str, levels: int
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    index_archive(archive, whole, namespace=NAMESPACE)
    report = index_archive(archive / below, out_dir, namespace=NAMESPACE)
    sessions, datasets = read(out_dir)
    all_sessions, all_datasets = read(whole)
    assert 1 <= len(sessions) == 4 - [0, 1, 1, 2, 2, 3][levels]
    assert_frame_equal(sessions, all_sessions.join(sessions, on="id", how="semi"))
    assert_frame_equal(
        datasets, all_datasets.join(sessions, left_on="eid", right_on="id", how="semi")
    )
    assert report.cache_dir == archive
    assert report.issues == {}


def test_lab_fills_in_where_folders_have_none(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", {"KS001/2020-01-01/001": SESSION})
    report = index_archive(root, lab="mylab", namespace=NAMESPACE)
    sessions, _ = read(root)
    assert sessions["lab"].to_list() == ["mylab"]
    assert sessions["id"].to_list() == [str(uuid.uuid3(NAMESPACE, "KS001/2020-01-01/001"))]
    assert report.issues == {"misplaced_session": 1}
    assert "mylab/Subjects" in report.scan_issues().collect()["message"][0]


def test_lab_of_the_folder_may_be_repeated(archive: Path, out_dir: Path) -> None:
    index_archive(archive / "cortexlab", out_dir, lab="cortexlab")
    assert set(read(out_dir)[0]["lab"]) == {"cortexlab"}


@pytest.mark.parametrize("folder", ["my-lab", "lab", "y-lab", "lab.old", "l a b"])
def test_a_lab_folder_is_taken_whole(tmp_path: Path, folder: str) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            f"{folder}/Subjects/KS001/2020-01-01/001": SESSION,
            "z-lab/Subjects/KS001/2020-01-01/001": SESSION,
        },
    )
    report = index_archive(root)
    sessions, datasets = read(root)
    assert sorted(sessions["lab"]) == sorted([folder, "z-lab"])
    assert datasets["id"].n_unique() == 6
    assert report.issues["unusual_lab"] == (1 if folder == "lab" else 2)


def test_session_without_datasets_keeps_its_row(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive", {"S/2020-01-01/001": {}, "S/2020-01-01/002": {"alf/a.b.npy": 1}}
    )
    report = index_archive(root)
    assert (report.n_sessions, report.n_datasets) == (2, 1)
    assert sorted(read(root)[0]["number"]) == [1, 2]


@pytest.mark.parametrize(
    ("tree", "what"),
    [({}, "sessions"), ({"S/2020-01-01/001": {}}, "datasets"), ({"some/file.txt": 1}, "sessions")],
)
@pytest.mark.parametrize("hash_ids", [True, False])
def test_empty_archive_gives_empty_tables_and_a_warning(
    tmp_path: Path, tree: Tree, what: str, hash_ids: bool
) -> None:
    root = make_tree(tmp_path / "archive", tree)
    with pytest.warns(RuntimeWarning, match=f"No {what} found in"):
        index_archive(root, hash_ids=hash_ids)
    sessions, datasets = read(root)
    expected = polars_schema(DATASETS)
    assert {n: d for n, d in datasets.schema.items() if n != "qc"} == {
        n: d for n, d in expected.items() if n != "qc"
    }
    assert dict(sessions.schema) == dict(polars_schema(SESSIONS))
    assert datasets.is_empty()


def test_collections_keep_their_real_path(tmp_path: Path) -> None:
    # ONE's own index drops such a collection, so both files would share one id.
    root = make_tree(
        tmp_path / "archive",
        {"S/2020-01-01/001": {"my coll": {"a.b.npy": 1}, "a+b": {"a.b.npy": 1}}},
    )
    report = index_archive(root)
    _, datasets = read(root)
    assert sorted(datasets["rel_path"]) == ["a+b/a.b.npy", "my coll/a.b.npy"]
    assert datasets["id"].n_unique() == 2
    assert report.issues == {"invalid_collection": 2}


def test_copies_of_a_session_yield_to_the_original(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            "backup/lab/Subjects/S/2020-01-01/001": {"a.b.npy": 1, "c.d.npy": 1},
            "lab/Subjects/S/2020-01-01/001": {"a.b.npy": 2},
        },
    )
    report = index_archive(root)
    sessions, datasets = read(root)
    assert (len(sessions), report.n_sessions, report.n_datasets) == (1, 1, 1)
    assert datasets["file_size"].to_list() == [2]
    assert report.n_bytes == 2
    assert report.issues == {"duplicate_session": 1}
    issues = report.scan_issues().filter(pl.col("kind") == "duplicate_session").collect()
    assert issues["path"].to_list() == ["backup/lab/Subjects/S/2020-01-01/001"]


def test_a_stray_date_does_not_decide_where_one_starts(archive: Path, out_dir: Path) -> None:
    # By its path, the archive itself is the subject of this session.
    make_tree(archive, {"2021-03-04/001/a.b.npy": 1})
    report = index_archive(archive, out_dir)
    assert report.cache_dir == archive
    assert report.issues == {"misplaced_session": 1}
    index_archive(archive, out_dir, exclude=["/2021-03-04"])


def test_hash_is_the_md5_of_the_content(tmp_path: Path) -> None:
    big = os.urandom(3_000_001)
    root = make_tree(
        tmp_path / "archive",
        {"S/2020-01-01/001": {"a.b.npy": big, "alf/c.d.npy": b"", "notes.txt": b"no"}},
    )
    seen: list[Progress] = []
    index_archive(root, hash_files=True, progress=seen.append)
    _, datasets = read(root)
    assert dict(datasets.select("rel_path", "hash").iter_rows()) == {
        "a.b.npy": hashlib.md5(big).hexdigest(),
        "alf/c.d.npy": hashlib.md5(b"").hexdigest(),
    }
    assert seen[-1].n_bytes == len(big)
    assert (seen[-1].files, seen[-1].sessions) == (3, 1)


@posix_only
def test_content_that_cannot_be_read_is_an_issue(
    tmp_path: Path, unprivileged: Callable[[], None]
) -> None:
    root = make_tree(tmp_path / "archive", {"S/2020-01-01/001": {"a.b.npy": 1, "c.d.npy": 1}})
    (root / "S/2020-01-01/001/a.b.npy").chmod(0)
    root.chmod(0o777)
    unprivileged()
    report = index_archive(root, hash_files=True)
    hashes = dict(read(root)[1].select("rel_path", "hash").iter_rows())
    assert hashes == {"a.b.npy": "", "c.d.npy": hashlib.md5(b"\0").hexdigest()}
    assert report.issues == {"unreadable_content": 1}


def test_no_data_file_is_opened_without_hash_files(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            opened.append(arguments[0])

    sys.addaudithook(note)
    index_archive(archive, executor="serial")
    inside = [path for path in opened if path.startswith(str(archive / "cortexlab"))]
    assert inside, "the hook sees directories at least"
    assert [path for path in inside if not Path(path).is_dir()] == []


def test_progress_ends_with_the_whole(archive: Path) -> None:
    seen: list[Progress] = []
    index_archive(archive, progress=seen.append)
    assert (seen[-1].files, seen[-1].sessions) == (16, 4)
    assert seen[-1].shards == seen[-1].n_shards > 0
    assert seen[-1].stage == "write"


def test_issues_are_kept_beside_the_tables_and_replaced(archive: Path) -> None:
    bad = make_tree(archive / "cortexlab/Subjects/KS001/2021-13-45", {"001": SESSION})
    report = index_archive(archive)
    issue, *strays = report.scan_issues().collect().to_dicts()
    assert {stray["kind"] for stray in strays} == {"outside_session"}
    assert issue == {
        "path": "cortexlab/Subjects/KS001/2021-13-45",
        "kind": "invalid_date",
        "errno": None,
        "message": "'2021-13-45' is no calendar date, so there are no sessions in it; rename it",
    }
    bad.rename(bad.with_name("2021-12-31"))
    assert index_archive(archive).scan_issues().collect().is_empty()


def test_nothing_is_left_but_tables_and_state(archive: Path, out_dir: Path) -> None:
    before = snapshot(archive)
    index_archive(archive, out_dir)
    assert snapshot(archive) == before
    assert {path.name for path in out_dir.iterdir()} == {
        "sessions.pqt",
        "datasets.pqt",
        files.STATE_DIR,
    }
    check_state(out_dir)


# Bad input: refused at once, with nothing written


def test_root_that_is_missing(tmp_path: Path, out_dir: Path) -> None:
    with pytest.raises(errors.ArchiveNotFoundError, match="nowhere") as caught:
        index_archive(tmp_path / "nowhere", out_dir)
    assert isinstance(caught.value, FileNotFoundError)
    assert snapshot(out_dir) == {}


def test_root_that_is_a_file(tmp_path: Path, out_dir: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.ArchiveNotADirectoryError, match="file") as caught:
        index_archive(tmp_path / "file", out_dir)
    assert isinstance(caught.value, NotADirectoryError)
    assert snapshot(out_dir) == {}


@posix_only
def test_root_that_cannot_be_read(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    archive.chmod(0)
    out_dir.chmod(0o777)
    unprivileged()
    with pytest.raises(errors.ArchivePermissionError, match="cannot be listed") as caught:
        index_archive(archive, out_dir)
    assert isinstance(caught.value, PermissionError)
    assert snapshot(out_dir) == {}


def test_folder_for_tables_that_is_missing(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ArchiveNotFoundError, match="folder for the tables"):
        index_archive(archive, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_folder_for_tables_that_is_a_file(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.ArchiveNotADirectoryError, match="folder for the tables"):
        index_archive(archive, tmp_path / "file")


@posix_only
def test_folder_for_tables_that_is_read_only(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    out_dir.chmod(0o555)
    unprivileged()
    with pytest.raises(errors.ArchivePermissionError, match="cannot be written"):
        index_archive(archive, out_dir)
    assert snapshot(out_dir) == {}


def test_lab_that_contradicts_the_folders(archive: Path, out_dir: Path) -> None:
    with pytest.raises(errors.LabConflictError, match="wittenlab") as caught:
        index_archive(archive, out_dir, lab="cortexlab")
    assert isinstance(caught.value, ValueError)
    assert snapshot(out_dir) == {}


@pytest.mark.parametrize("lab", ["a/b", "..", "a\0b", " ", "a\n", "\udcff"])
def test_lab_that_no_folder_can_have(archive: Path, out_dir: Path, lab: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        index_archive(archive / "cortexlab", out_dir, lab=lab)


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_number_of_workers_that_makes_no_sense(archive: Path, n_jobs: int) -> None:
    with pytest.raises(ValueError, match=str(n_jobs)):
        index_archive(archive, n_jobs=n_jobs)


def test_old_tables_survive_bad_input(archive: Path) -> None:
    index_archive(archive)
    before = snapshot(archive)
    with pytest.raises(errors.LabConflictError):
        index_archive(archive, lab="another")
    with pytest.raises(errors.OptionError, match="no name"):
        index_archive(archive, namespace=" ")
    with pytest.raises(errors.OptionError, match="gpu"):
        index_archive(archive, executor="gpu")  # type: ignore[arg-type]
    with pytest.raises(errors.OptionError, match="cannot be excluded"):
        index_archive(archive, exclude=["!"])
    with pytest.raises(errors.OptionError, match="empty text"):
        index_archive(archive, out_dir="")
    assert snapshot(archive) == before


def test_tables_that_cannot_be_read_are_replaced_with_a_warning(archive: Path) -> None:
    (archive / "datasets.pqt").write_bytes(b"PAR1 no table")
    with pytest.warns(errors.TableWarning, match="datasets.pqt"):
        index_archive(archive)
    assert read(archive)[1].height == 12


def test_tables_of_another_archive_are_replaced_with_a_warning(
    archive: Path, tmp_path: Path, out_dir: Path
) -> None:
    other = make_tree(tmp_path / "other", {"S/2020-01-01/001": SESSION})
    index_archive(other, out_dir)
    with pytest.warns(errors.TableWarning, match=str(other)):
        index_archive(archive, out_dir)


def test_one_pattern_may_be_given_as_it_is(archive: Path, out_dir: Path) -> None:
    assert index_archive(archive, out_dir, exclude="*.csv").n_datasets == 8
    assert scan_archive(archive, exclude="*.csv").collect().height == 8


@pytest.mark.parametrize("name", ["g[1]", "a*", "q?", "arch [x] :cat: é"])
def test_names_are_no_patterns(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path / "g1", {"other/2020-01-01/001": SESSION})
    if sys.platform == "win32" and set(name) & set("*?:"):
        pytest.skip("Windows allows no such name")
    root = make_tree(tmp_path / name, TWO_LABS | {"x.y.npy": 1})
    report = index_archive(root)
    assert report.n_datasets == 12
    assert report.scan_issues().collect().height == 1
    assert scan_archive(root).collect().height == 12


def test_an_archive_in_dated_folders(tmp_path: Path) -> None:
    # Snapshots: ONE opens each of them, not the folder that holds them.
    root = make_tree(
        tmp_path / "snapshots",
        {
            "2024-05-01/labA/Subjects/S/2020-01-01/001": SESSION,
            "2024-05-02/labA/Subjects/S/2020-01-01/002": SESSION,
        },
    )
    report = index_archive(root)
    assert (report.n_sessions, report.cache_dir) == (2, root)
    assert report.issues == {"misplaced_session": 2}
    before = snapshot(root)
    with pytest.raises(errors.LabConflictError, match="labA"):
        index_archive(root, lab="other")
    assert {k: v for k, v in snapshot(root).items() if k.endswith(".pqt")} == {
        k: v for k, v in before.items() if k.endswith(".pqt")
    }


@pytest.mark.parametrize("below", ["", "/2020-02-29", "/2020-02-29/001"])
def test_lab_conflicts_are_found_before_the_scan(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setattr(walker.Walker, "walk", None)
    with pytest.raises(errors.LabConflictError, match="cortexlab"):
        index_archive(f"{archive}/cortexlab/Subjects/KS002{below}", out_dir, lab="other")
    assert snapshot(out_dir) == {}


def test_storage_that_is_replaced_in_mid_run_does_not_change_the_tables(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive, out_dir)
    before = snapshot(out_dir)
    walk = walker.Walker.walk

    def replace(walker: walker.Walker, units: list[str]) -> object:
        yield from walk(walker, units)
        archive.rename(archive.with_name("elsewhere"))
        make_tree(archive, {"S/2020-01-01/001": SESSION})

    monkeypatch.setattr(walker.Walker, "walk", replace)
    with pytest.raises(errors.ScanError, match="not the folder that it was"):
        index_archive(archive, out_dir, executor="serial")
    assert snapshot(out_dir) == before


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_storage_that_goes_away_does_not_empty_the_tables(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    index_archive(archive, out_dir)
    before = [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))]
    survey = walker.Walker.survey

    def lose(walker: walker.Walker) -> list[str]:
        units = survey(walker)
        archive.rename(archive.with_name("elsewhere"))
        if how == "empty":
            archive.mkdir()
        return units

    monkeypatch.setattr(walker.Walker, "survey", lose)
    with pytest.raises((errors.ScanError, errors.ArchiveNotFoundError)):
        index_archive(archive, out_dir)
    assert [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))] == before


@posix_only
def test_an_archive_that_cannot_be_entered_does_not_empty_the_tables(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    index_archive(archive, out_dir)
    archive.chmod(0o744)
    for path in (out_dir, *out_dir.rglob("*")):
        path.chmod(0o777)
    unprivileged()
    with pytest.raises(errors.ScanError, match="no session"):
        index_archive(archive, out_dir)
    assert read(out_dir)[1].height == 12


def test_tables_in_a_folder_of_the_archive(archive: Path) -> None:
    (archive / "tables").mkdir()
    first = index_archive(archive, archive / "tables")
    second = index_archive(archive, archive / "tables")
    assert second.n_other_files == first.n_other_files == 4


@posix_only
def test_one_run_at_a_time(archive: Path) -> None:
    index_archive(archive)
    before = snapshot(archive)
    with (
        transaction.locked_state(archive),
        pytest.raises(errors.ArchiveBusyError, match="another run"),
    ):
        index_archive(archive)
    assert snapshot(archive) == before


@posix_only
def test_an_archive_of_everything_odd_does_not_stop_the_run(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive",
        TWO_LABS
        | {
            "cortexlab/Subjects/KS009/2021-13-45/001": SESSION,
            "cortexlab/Subjects/KS009/2021-12-01/1": SESSION,
            "cortexlab/Subjects/KS009/2021-12-01/001": {
                "broken.link.npy": Link("nowhere"),
                "fifo.here.npy": Fifo(),
                b"not\xffutf8.x.npy": 1,
                "line\nfeed.x.npy": 1,
                "ünïcode.x.npy": 5,
            },
        },
    )
    report = polars_alf.index_archive(root)
    assert report.n_datasets == 12 + 3 + 1
    assert report.issues == {
        "outside_session": 3,
        "invalid_name": 2,
        "invalid_date": 1,
        "unpadded_number": 1,
        "broken_link": 1,
        "special_file": 1,
    }
