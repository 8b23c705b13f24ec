"""Ids of datasets in the names of their files."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run
from edits import edit_table
from hypothesis import example, given, settings
from hypothesis import strategies as st
from indexes import NAMESPACE, read_folder
from one.api import One
from trees import Tree, make_tree

import polars_alf
from polars_alf import errors
from polars_alf.tables.files import issues_path

SESSION = "lab/Subjects/KS001/2020-01-01/001"
FIRST, SECOND, THIRD = (f"a976e418-c8b8-4d24-be47-d05120b1834{digit}" for digit in "123")
TIMES = f"alf/spikes.times.{FIRST}.npy"
AMPS = f"alf/#2024-01-01#/spikes.amps.raw.{SECOND}.npy"
PLAIN = "alf/clusters.depths.npy"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "archive", {SESSION: {TIMES: 1, AMPS: 2, PLAIN: 3}})


def read_ids(folder: Path) -> dict[str, str]:
    """Return the id of each dataset by its path in the session."""
    datasets = polars_alf.scan_datasets(folder).select("rel_path", "id").collect()
    assert datasets["rel_path"].is_unique().all()
    return dict(datasets.iter_rows())


def read_issues(folder: Path) -> set[tuple[str, str]]:
    issues = pl.read_ipc(issues_path(folder)).select("kind", "path")
    return {(kind, path.removeprefix(f"{SESSION}/")) for kind, path in issues.iter_rows()}


def make_id(path: str) -> str:
    """Return the id that follows from a path."""
    return str(uuid.uuid3(NAMESPACE, f"{SESSION.replace('/Subjects', '')}/{path}"))


def index(archive: Path, out_dir: Path, **options: object) -> polars_alf.IndexReport:
    return polars_alf.index_archive(archive, out_dir, namespace=NAMESPACE, **options)  # type: ignore[arg-type]


def test_a_uuid_before_the_extension_is_the_id(archive: Path, out_dir: Path) -> None:
    report = index(archive, out_dir, uuid_filenames=True)
    assert read_ids(out_dir) == {
        "alf/spikes.times.npy": FIRST,
        "alf/#2024-01-01#/spikes.amps.raw.npy": SECOND,
        PLAIN: make_id(PLAIN),
    }
    assert not report.issues
    parts = polars_alf.with_alf_parts(polars_alf.scan_datasets(out_dir)).collect()
    assert set(parts["extra"]) == {None, "raw"}


def test_one_loads_datasets_by_the_ids_in_their_names(archive: Path, out_dir: Path) -> None:
    for number, path in enumerate((TIMES, AMPS)):
        np.save(archive / SESSION / path, np.array([number]))
    index(archive, out_dir, uuid_filenames=True, hash_files=True)
    one = One(cache_dir=archive, tables_dir=out_dir, mode="local")
    one.uuid_filenames = True
    (eid, *_) = one.search()
    assert one.load_dataset(eid, "spikes.times.npy", collection="alf").tolist() == [0]
    amps = one.load_dataset(eid, "spikes.amps.raw.npy", collection="alf", revision="2024-01-01")
    assert amps.tolist() == [1]
    paths = map(str, one.list_datasets(eid, details=True)["rel_path"])
    assert set(paths) == set(read_ids(out_dir))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "ids", "issues"),
    [
        pytest.param(
            [f"a.b.{SECOND}.npy", f"a.b.{FIRST}.npy", "a.b.npy"],
            {"a.b.npy": FIRST},
            {("duplicate_dataset", f"a.b.{SECOND}.npy"), ("duplicate_dataset", "a.b.npy")},
            id="the first UUID is kept",
        ),
        pytest.param(
            [f"a.b.{FIRST}.npy", f"c.d.{FIRST}.npy", f"e.f.{SECOND}.npy"],
            {"a.b.npy": make_id("a.b.npy"), "c.d.npy": make_id("c.d.npy"), "e.f.npy": SECOND},
            {("ambiguous_id", f"a.b.{FIRST}.npy"), ("ambiguous_id", f"c.d.{FIRST}.npy")},
            id="a UUID of two files is that of neither",
        ),
        pytest.param(
            [f"a.b.{SECOND}.{FIRST}.npy"],
            {f"a.b.{SECOND}.npy": FIRST},
            set(),
            id="the last of two",
        ),
        *(
            pytest.param([name], {name: make_id(name)}, {("invalid_uuid", name)}, id=why)
            for why, name in [
                ("upper-case", f"a.b.{FIRST.upper()}.npy"),
                ("version 1", f"a.b.{FIRST.replace('-4d24', '-1d24')}.npy"),
                ("another variant", f"a.b.{FIRST.replace('-be47', '-ce47')}.npy"),
                ("without hyphens", f"a.b.{FIRST.replace('-', '')}.npy"),
                ("a digit short", f"a.b.{FIRST[:-1]}.npy"),
            ]
        ),
        *(
            pytest.param([name], {name: make_id(name)}, set(), id=why)
            for why, name in [
                ("not before the extension", f"a.b.{FIRST}.raw.npy"),
                ("two extensions", f"a.b.{FIRST}.tar.gz"),
            ]
        ),
    ],
)
def test_uuids_that_are_in_doubt(
    tmp_path: Path,
    out_dir: Path,
    names: list[str],
    ids: dict[str, str],
    issues: set[tuple[str, str]],
) -> None:
    archive = make_tree(tmp_path / "archive", {SESSION: dict.fromkeys(names, 1)})
    index(archive, out_dir, uuid_filenames=True)
    assert read_ids(out_dir) == ids
    assert read_issues(out_dir) == issues


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"quick": True}, {"restart": True}, {"n_jobs": 1}])
def test_later_indexes_do_as_the_first(
    archive: Path, out_dir: Path, options: dict[str, object]
) -> None:
    index(archive, out_dir, uuid_filenames=True)
    ids = read_ids(out_dir)
    (archive / SESSION / f"alf/new.file.{THIRD}.npy").touch()
    index(archive, out_dir, **options)
    assert read_ids(out_dir) == ids | {"alf/new.file.npy": THIRD}
    index(archive, out_dir, **options)
    assert read_ids(out_dir) == ids | {"alf/new.file.npy": THIRD}


def test_ids_from_names_are_not_given_up(archive: Path, out_dir: Path) -> None:
    index(archive, out_dir, uuid_filenames=True)
    before = read_folder(out_dir)
    with pytest.raises(errors.IdsConflictError, match=r"leave out --no-uuid-filenames"):
        index(archive, out_dir, uuid_filenames=False)
    assert read_folder(out_dir) == before
    ended = run("index", archive, "--out", out_dir, "--no-uuid-filenames")
    assert (ended.returncode, "names of files" in ended.stderr) == (1, True)
    assert run("index", archive, "--out", out_dir, "--quiet").returncode == 0
    assert read_ids(out_dir)["alf/spikes.times.npy"] == FIRST


def test_names_are_no_ids_where_ids_are_paths(archive: Path, out_dir: Path) -> None:
    with pytest.raises(errors.OptionError, match="names or are paths"):
        index(archive, out_dir, uuid_filenames=True, hash_ids=False)


def mark_times(datasets: pl.DataFrame) -> pl.DataFrame:
    is_times = pl.col("rel_path").str.contains("spikes.times")
    failed = pl.when(is_times).then(pl.lit("FAIL")).otherwise(pl.col("qc").cast(pl.String))
    return datasets.with_columns(qc=failed)


def test_the_setting_outlives_tables_that_another_program_writes(
    archive: Path, out_dir: Path
) -> None:
    index(archive, out_dir, uuid_filenames=True)
    edit_table(out_dir, "datasets", mark_times)
    ids = read_ids(out_dir)
    with pytest.warns(errors.TableWarning, match="another program"):
        index(archive, out_dir)
    assert read_ids(out_dir) == ids
    found = polars_alf.scan_datasets(out_dir).filter(qc="FAIL").collect()
    assert found["id"].to_list() == [FIRST]


def test_values_stay_when_ids_come_to_be_from_names(archive: Path, out_dir: Path) -> None:
    index(archive, out_dir)
    assert TIMES in read_ids(out_dir)
    edit_table(out_dir, "datasets", mark_times)
    report = index(archive, out_dir, uuid_filenames=True)
    assert (report.n_removed_datasets, report.n_datasets) == (0, 3)
    found = polars_alf.scan_datasets(out_dir).filter(rel_path="alf/spikes.times.npy").collect()
    assert found.select("id", "qc").rows() == [(FIRST, "FAIL")]


def test_ids_of_other_tables_yield_to_those_in_names(archive: Path, tmp_path: Path) -> None:
    database, out_dir = tmp_path / "database", tmp_path / "out"
    for folder in (database, out_dir):
        folder.mkdir()
    known = make_tree(
        tmp_path / "known",
        {SESSION: {f"alf/spikes.times.{THIRD}.npy": 1, PLAIN: 3, f"alf/gone.x.{SECOND}.npy": 1}},
    )
    index(known, database, uuid_filenames=True)
    report = polars_alf.index_archive(archive, out_dir, ids_from=database, uuid_filenames=True)
    assert read_ids(out_dir) == {
        "alf/spikes.times.npy": FIRST,
        "alf/#2024-01-01#/spikes.amps.raw.npy": SECOND,
        PLAIN: make_id(PLAIN),
    }
    assert report.issues == {"ambiguous_id": 1}


def test_verify_and_prune_know_files_by_the_ids_in_their_names(
    archive: Path, out_dir: Path
) -> None:
    index(archive, out_dir, uuid_filenames=True, hash_files=True)
    assert polars_alf.verify_archive(archive, out_dir, digest=True).findings.is_empty()
    (archive / SESSION / f"alf/spikes.times.{SECOND}.npy").touch()
    (archive / SESSION / f"alf/more.x.{THIRD}.npy").touch()
    (archive / SESSION / AMPS).unlink()
    found = polars_alf.verify_archive(archive, out_dir).findings
    assert found.select("kind", pl.col("path").str.strip_prefix(f"{SESSION}/")).rows() == [
        ("missing", "alf/#2024-01-01#/spikes.amps.raw.npy"),
        ("new", f"alf/more.x.{THIRD}.npy"),
    ]
    missed = polars_alf.verify_archive(archive, out_dir, uuid_filenames=False).findings
    assert f"{SESSION}/alf/spikes.times.npy" in missed.filter(kind="missing")["path"]
    plan = polars_alf.plan_removals(archive, out_dir)
    assert plan["path"].to_list() == [f"{SESSION}/alf/more.x.{THIRD}.npy"]


@pytest.mark.slow
def test_tables_of_a_part_or_merged_tell_that_ids_are_in_names(
    archive: Path, tmp_path: Path
) -> None:
    out_dir, part, merged = (tmp_path / name for name in ("out", "part", "merged"))
    for folder in (out_dir, part, merged):
        folder.mkdir()
    index(archive, out_dir, uuid_filenames=True)
    polars_alf.subset_tables(out_dir, part, where="subject = 'KS001'")
    polars_alf.merge_tables([out_dir], merged)
    for folder in (part, merged):
        assert polars_alf.verify_archive(archive, folder).findings.is_empty()
        index(archive, folder)
        assert read_ids(folder) == read_ids(out_dir)


def test_checks_compare_names_without_their_uuids(archive: Path) -> None:
    template = ["alf/spikes.times.npy", "alf/spikes.amps.raw.npy", PLAIN, "alf/lost.file.npy"]
    found = polars_alf.check_archive(archive, template=template).findings
    assert found.select("kind", "rel_path").rows() == [("missing_dataset", "alf/lost.file.npy")]


def test_paths_of_files_are_made_with_the_ids(archive: Path, out_dir: Path) -> None:
    index(archive, out_dir, uuid_filenames=True)
    datasets = polars_alf.scan_datasets(out_dir).filter(pl.col("rel_path") != PLAIN)
    sessions = polars_alf.scan_sessions(out_dir)
    path = polars_alf.full_path(archive, uuid_filenames=True)
    paths = polars_alf.join_sessions(datasets, sessions).select(path).collect().to_series()
    assert sorted(paths) == sorted(str(archive / SESSION / name) for name in (TIMES, AMPS))


uuids = st.uuids(version=4).map(str)
names = st.tuples(
    st.sampled_from(["", "alf/", "alf/#r#/"]),
    st.sampled_from(["a.b", "_ns_c.d_times", "a.b.x-y", "é.f"]),
    st.one_of(st.just(""), uuids.map(".{}".format)),
    st.sampled_from([".npy", ".csv"]),
).map(lambda parts: ("".join(parts[:2]) + parts[3], parts[2][1:], "".join(parts)))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(names, min_size=1, max_size=8, unique_by=lambda name: name[0]))
def test_ids_are_those_in_names_and_else_those_of_the_plain_archive(
    files: list[tuple[str, str, str]],
) -> None:
    named: Tree = {SESSION: {on_disk: 1 for _, _, on_disk in files}}
    plain: Tree = {SESSION: {path: 1 for path, _, _ in files}}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = []
        for name, tree in (("named", named), ("plain", plain)):
            make_tree(root / name, tree)
            (root / f"{name}_tables").mkdir()
            index(root / name, root / f"{name}_tables", uuid_filenames=name == "named")
            found.append(read_ids(root / f"{name}_tables"))
    ids = {path: id_ for path, id_, _ in files if id_}
    assert found[0] == found[1] | ids


few_uuids = st.sampled_from(["", *(f".{uuid}" for uuid in (FIRST, SECOND, THIRD))])
clashing = st.tuples(st.sampled_from(["a.b", "alf/a.b", "alf/c.d"]), few_uuids).map(
    lambda parts: f"{''.join(parts)}.npy"
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.sets(clashing, min_size=1, max_size=8))
@example({f"a.b.{FIRST}.npy", f"alf/a.b.{FIRST}.npy"})
@example({f"a.b.{FIRST}.npy", f"a.b.{SECOND}.npy", f"alf/c.d.{SECOND}.npy"})
@example({f"a.b.{FIRST}.npy", f"alf/c.d.{FIRST}.npy", f"a.b.{SECOND}.npy"})
def test_verify_finds_nothing_after_an_index_however_uuids_repeat(files: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = make_tree(Path(folder) / "archive", {SESSION: dict.fromkeys(files, 1)})
        out_dir = Path(folder) / "tables"
        out_dir.mkdir()
        index(archive, out_dir, uuid_filenames=True)
        assert polars_alf.verify_archive(archive, out_dir).findings.rows() == []
