"""`remove_missing_datasets` with pandas tables, and the archives whose files ONE's deletes."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import Any

import pytest
from indexes import read_folder
from one.alf import cache as one_cache
from trees import SESSION, Link, make_tree

from polars_alf import index_archive
from polars_alf.cache import archive
from polars_alf.cache.archive import make_parquet_db, remove_missing_datasets
from polars_alf.errors import (
    ForeignTablesError,
    IdsConflictError,
    KeptWarning,
    MassRemovalError,
)

pytestmark = pytest.mark.pandas

STRAY = "lab/Subjects/S/2020-01-01/001/alf/stray.times.npy"
GHOST = "lab/Subjects/S/2020-01-01/002"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make an archive of two sessions of one lab."""
    return make_tree(
        tmp_path / "archive", {f"lab/Subjects/S/2020-01-0{day}/001": SESSION for day in (1, 2)}
    )


def flat_tables(root: Path) -> dict[str, Any]:
    """Return tables with ids as columns, as ONE makes them of folders."""
    return {
        "sessions": one_cache._make_sessions_df(root),
        "datasets": one_cache._make_datasets_df(root),
    }


def indexed_tables(root: Path) -> dict[str, Any]:
    """Return tables with UUIDs as their indexes, as ONE loads them."""
    index_archive(root)
    return dict(one_cache.load_tables(root))


def path_tables(root: Path) -> dict[str, Any]:
    """Return tables with paths as ids, as ONE loads them."""
    one_cache.make_parquet_db(root, hash_ids=False)
    return dict(one_cache.load_tables(root))


def nameless_tables(root: Path) -> dict[str, Any]:
    """Return tables whose indexes have lost their names."""
    tables = indexed_tables(root)
    tables["sessions"].index.name = None
    tables["datasets"].index.names = [None, None]
    return tables


SHAPES = [flat_tables, indexed_tables, path_tables, nameless_tables]


@pytest.mark.slow
@pytest.mark.parametrize("make_tables", SHAPES)
def test_all_that_is_not_in_the_tables_goes(root: Path, make_tables: Any) -> None:
    tables = make_tables(root)
    before = {name: table.copy() for name, table in tables.items() if name != "_meta"}
    kept = [path for path in root.rglob("*") if path.is_file() and path.suffix == ".npy"]
    make_tree(root, {STRAY: 1, f"{GHOST}/alf": {}, f"{GHOST}/a.b.c": 1})
    expected = sorted([root / STRAY, root / GHOST, root / GHOST / "a.b.c"])
    assert remove_missing_datasets(root, tables) == expected
    assert (root / STRAY).exists()
    assert remove_missing_datasets(root, tables, remove_empty_sessions=False) == [
        root / STRAY,
        root / GHOST / "a.b.c",
    ]
    assert remove_missing_datasets(root, tables, dry=False) == expected
    assert not any(path.exists() for path in expected)
    assert all(path.exists() for path in kept)
    assert remove_missing_datasets(root, tables, dry=False) == []
    for name, table in before.items():
        assert table.equals(tables[name]), "the caller's tables stay as they are"


def test_an_index_is_guarded_and_moved_tables_are_not(root: Path, tmp_path: Path) -> None:
    written = make_parquet_db(root)
    before = [path.read_bytes() for path in written]
    (root / "lab").rename(tmp_path / "away")
    with pytest.raises(MassRemovalError, match="6 of 6 datasets"):
        make_parquet_db(root)
    with pytest.raises(IdsConflictError, match="move those away"):
        make_parquet_db(root, hash_ids=False)
    assert [path.read_bytes() for path in written] == before
    for path in written:
        path.rename(tmp_path / path.name)
    with pytest.warns(RuntimeWarning, match="No sessions"):
        make_parquet_db(root, hash_ids=False)


def test_tables_of_the_folder_are_the_default(root: Path, capsys: Any, caplog: Any) -> None:
    index_archive(root)
    make_tree(root, {STRAY: 1})
    assert remove_missing_datasets(str(root)) == [root / STRAY]
    assert capsys.readouterr().out.endswith(f":\n\t{root / STRAY}\n")
    with caplog.at_level(logging.DEBUG, "one.alf.cache"):
        assert remove_missing_datasets(root, dry=False) == [root / STRAY]
    assert capsys.readouterr().out == ""
    assert [record.name for record in caplog.records] == ["one.alf.cache"]
    assert "stray.times.npy" in caplog.text


def test_what_stays_is_told(root: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:

    index_archive(root)
    make_tree(root, {STRAY: 1})
    plan_removals = archive.plan_removals

    def plan_and_change(*arguments: Any, **options: Any) -> Any:
        plan = plan_removals(*arguments, **options)
        (root / STRAY).write_text("more by now")
        return plan

    monkeypatch.setattr(archive, "plan_removals", plan_and_change)
    assert remove_missing_datasets(root, dry=False) == []
    assert "changed since it was planned" in caplog.text
    assert (root / STRAY).exists()


def test_tables_that_are_missing_or_foreign_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ForeignTablesError):
        remove_missing_datasets(root, dry=False)
    other = make_tree(tmp_path / "other", {"lab/Subjects/X/2020-01-01/001": SESSION})
    with pytest.raises(ForeignTablesError):
        remove_missing_datasets(root, indexed_tables(other), dry=False)
    assert len(list(root.rglob("*.npy"))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("make_tables", SHAPES)
@pytest.mark.parametrize(
    ("session", "lab"),
    [
        ("lab/Subjects/S/2020-01-01/1", None),
        ("lab/Subjects/S/2020-01-01/01", None),
        ("my-lab/Subjects/S/2020-01-01/001", None),
        ("S/2020-01-01/001", "filled"),
    ],
)
def test_whatever_is_indexed_stays(
    tmp_path: Path, session: str, lab: str | None, make_tables: Any
) -> None:
    root = make_tree(tmp_path / "archive", {session: SESSION})
    tables = make_tables(root)
    if lab:
        tables["sessions"]["lab"] = lab
    before = read_folder(root)
    assert remove_missing_datasets(root, tables, dry=False) == []
    assert set(before) <= set(read_folder(root))


def test_files_behind_a_linked_session_stay(root: Path, tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"a.b.c": 1})
    tables = indexed_tables(root)
    make_tree(root, {GHOST: Link(str(outside))})
    assert remove_missing_datasets(root, tables, dry=False) == []
    assert (outside / "a.b.c").exists()


def test_missing_values_do_no_harm(root: Path) -> None:
    tables = indexed_tables(root)
    tables["sessions"]["lab"] = None
    tables["sessions"]["number"] = tables["sessions"]["number"].astype(float)
    assert remove_missing_datasets(root, tables, dry=False) == []
    tables["sessions"] = tables["sessions"].rename(
        index={tables["sessions"].index[0]: uuid.uuid4()}
    )
    assert remove_missing_datasets(root, tables, dry=False) == []


def test_what_the_index_skipped_stays_whatever_the_tables(tmp_path: Path) -> None:
    session = "lab/Subjects/S/2020-01-01/001"
    root = make_tree(
        tmp_path / "archive", {f"A/{session}": SESSION, f"B/{session}/alf/only.here.npy": 1}
    )
    tables = indexed_tables(root)
    for given in (None, tables):
        with pytest.warns(KeptWarning, match="only.here.npy"):
            assert remove_missing_datasets(root, given, dry=False) == []
    assert (root / "B" / session / "alf/only.here.npy").exists()


def test_too_much_is_refused_unless_dry(root: Path) -> None:
    tables = indexed_tables(root)
    make_tree(root, {"other/Subjects/S/2020-01-01/001/a.b.c": 1})
    assert root / "other/Subjects/S/2020-01-01/001/a.b.c" in remove_missing_datasets(root, tables)
    for given in (None, tables):
        with pytest.raises(MassRemovalError, match="nothing would be left in other"):
            remove_missing_datasets(root, given, dry=False)
    assert (root / "other/Subjects/S/2020-01-01/001/a.b.c").exists()
