"""Tables split into pairs that ONE opens."""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one.api import One
from table_frames import make_datasets, write_tables
from trees import SESSION, make_tree

import polars_alf
from polars_alf import split_tables
from polars_alf.errors import OptionError, OverwriteError
from polars_alf.query import spill
from polars_alf.release import split
from polars_alf.release.folder_names import name_folders
from polars_alf.schema import SESSIONS, polars_schema

NAMES = {"lab": 2, "subject": 3, "year": 1}


def read(folder: Path | list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    sessions = polars_alf.scan_sessions(folder).drop("origin").collect()
    return sessions, polars_alf.scan_datasets(folder).drop("origin").collect()


@pytest.mark.slow
@pytest.mark.parametrize("by", NAMES)
@pytest.mark.parametrize("n_rows", [None, 2])
def test_one_opens_each_pair(
    archive: Path, out_dir: Path, by: split.Division, n_rows: int | None
) -> None:
    polars_alf.index_archive(archive)
    with pytest.MonkeyPatch.context() as patch:
        if n_rows:
            for name in ("ROWS_PER_BUCKET", "ROWS_PER_SLICE"):
                patch.setattr(spill, name, n_rows)
            patch.setattr(split, "ROWS_AT_ONCE", n_rows)
        found = split_tables(archive, out_dir, by=by)
    assert len(found.parts) == NAMES[by]
    assert found.parts["n_datasets"].sum() == 12
    assert found.n_left_out == 0
    for row in found.parts.iter_rows(named=True):
        client = One(cache_dir=archive, tables_dir=row["folder"], mode="local")
        eids = client.search()
        assert len(eids) == row["n_sessions"]
        assert len(client._cache.datasets) == row["n_datasets"]
        path = client.eid2path(eids[0])
        assert row.get("subject") in (None, path.parts[-3])
        assert client.load_dataset(eids[0], "_ibl_trials.intervals_bpod.csv", download_only=True)
    whole, parts = read(archive), read(found.parts["folder"].to_list())
    for before, after, key in zip(whole, parts, ("id", ["eid", "id"]), strict=True):
        assert after.sort(key).equals(before.sort(key))


def test_a_split_replaces_pairs_of_a_split_alone(archive: Path, out_dir: Path) -> None:
    polars_alf.index_archive(archive)
    split_tables(archive, out_dir)
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    polars_alf.index_archive(archive)
    found = split_tables(archive, out_dir)
    assert found.parts["n_sessions"].to_list() == [4, 1]
    history = polars_alf.read_history(out_dir / "cortexlab")
    assert history["run"].to_list() == ["split", "split"]
    (cortexlab,) = found.parts.filter(lab="cortexlab")["folder"]
    write_tables(Path(cortexlab, "again"), read(Path(cortexlab)))
    for name in ("sessions.pqt", "datasets.pqt"):
        Path(cortexlab, "again", name).rename(out_dir / "wittenlab" / name)
    (out_dir / "wittenlab/.polars_alf/history.jsonl").unlink()
    with pytest.raises(OverwriteError, match="remove them"):
        split_tables(archive, out_dir)
    with pytest.raises(OptionError, match="give another folder"):
        split_tables(archive, archive)
    with pytest.raises(OptionError, match="give one of lab, subject, year"):
        split_tables(archive, out_dir, by="project")  # type: ignore[arg-type]


def test_names_that_are_no_folders_stay_apart(tmp_path: Path, out_dir: Path) -> None:
    day = datetime.date(2020, 1, 1)
    labs = ["", "..", "Lab", "lab", "no-lab", "a/b", ".polars_alf", "x" * 300, "con", "é"]
    rows = [(f"e{n}", lab, "s", day, 1, "", "") for n, lab in enumerate(labs)]
    sessions = pl.DataFrame(rows, polars_schema(SESSIONS), orient="row")
    datasets = make_datasets(
        [*((f"e{n}", f"d{n}", "a.b.c", 1) for n in range(10)), ("?", "", "", 1)]
    )
    tables = write_tables(tmp_path / "source", (sessions, datasets))
    found = split_tables(tables, out_dir)
    assert found.n_left_out == 1
    assert len({*out_dir.iterdir()}) == len(found.parts) == len(labs)
    assert {*found.parts["lab"]} == {*labs}
    for lab, folder in found.parts.select("lab", "folder").rows():
        assert Path(folder).parent == out_dir
        assert read(folder)[0]["lab"].to_list() == [lab]


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)))
def test_folders_are_safe_and_different(values: set[str]) -> None:
    names = name_folders(values, "no-lab")
    assert len({name.casefold() for name in names.values()}) == len(values)
    for name in names.values():
        assert name.isascii()
        assert name
        assert not {*name} & {*'/\\:*?"<>| \0'}
        assert name[0] not in ".-~"
        assert name[-1] != "."
