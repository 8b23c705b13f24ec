"""The table of insertions, as the real ONE reads it."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from one.api import One, OneAlyx
from packaging.version import Version
from trees import make_tree

import polars_alf
import polars_alf.one
from polars_alf.errors import (
    ArchiveNotFoundError,
    OutputError,
    TableError,
    TableNotFoundError,
    TableWarning,
)
from polars_alf.insertions.probes import list_probes

FIRST = "lab/Subjects/KS001/2020-01-01/001"
SECOND = "lab/Subjects/KS001/2020-01-02/001"

pytestmark = pytest.mark.pandas


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Make an archive of three sessions, of which two have probes."""
    return make_tree(
        tmp_path / "archive",
        {
            FIRST: {
                "alf/probe00/pykilosort/#2024-01-01#/spikes.times.npy": 1,
                "alf/probe00/spikes.times.npy": 1,
                "raw_ephys_data/probe01/_spikeglx_ephysData.raw.cbin": 1,
                "alf/trials.table.pqt": 1,
            },
            SECOND: {"alf/probe00/spikes.times.npy": 1},
            "lab/Subjects/KS002/2020-01-01/001": {"alf/trials.table.pqt": 1},
        },
    )


@pytest.fixture
def open_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., OneAlyx]:
    """Give a function that opens tables with ONE's client of a database, which it never asks."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()

    def open_tables(cache_dir: Path, tables_dir: Path | None = None) -> OneAlyx:
        return OneAlyx(
            base_url="http://127.0.0.1:9",
            cache_dir=cache_dir,
            tables_dir=tables_dir,
            mode="local",
            silent=True,
        )

    return open_tables


def read(folder: Path) -> pl.DataFrame:
    return polars_alf.scan_insertions(folder).collect()


def find_eid(folder: Path, day: int) -> str:
    sessions = polars_alf.scan_sessions(folder).filter(pl.col("subject") == "KS001").collect()
    return str(sessions.filter(pl.col("date").dt.day() == day)["id"].item())


def test_one_finds_insertions_in_local_mode(
    archive: Path, open_one: Callable[..., OneAlyx]
) -> None:
    polars_alf.index_archive(archive, insertions=True)
    one = open_one(archive)
    eid = uuid.UUID(find_eid(archive, 1))
    pids, names = one.eid2pid(eid)
    assert names == ["probe00", "probe01"]
    assert all(isinstance(pid, uuid.UUID) for pid in pids)
    assert [one.pid2eid(pid) for pid in pids] == [(eid, "probe00"), (eid, "probe01")]
    assert one.pid2eid(str(pids[1])) == (eid, "probe01")
    assert one.pid2eid(uuid.uuid4()) == (None, None)
    found, labels, details = one.eid2pid(eid, details=True)
    assert (found, labels) == (pids, names)
    # ONE 3.6 loses its session_info whatever the table has.
    assert {(row["session"], row["name"]) for row in details} == {(str(eid), n) for n in names}
    empty = next(e for e in one.search(subject="KS002"))
    assert one.eid2pid(empty) == (None, None)


def test_one_searches_insertions_in_local_mode(
    archive: Path, open_one: Callable[..., OneAlyx]
) -> None:
    polars_alf.index_archive(archive, insertions=True)
    one = open_one(archive)
    pids, names = one.eid2pid(find_eid(archive, 1))
    with polars_alf.one.enable():
        assert one.search_insertions(name="probe01") == [pids[1]]
        assert set(one.search_insertions(subject="KS001", name="probe00")) > {pids[0]}
        assert one.search_insertions(model="NP2") == []
        both, rows = one.search_insertions(
            subject="KS001", date_range=["2020-01-01"] * 2, details=True
        )
        assert set(both) == {*pids}
        assert {row["name"] for row in rows} == {*names}
        assert one._cache["sessions"].index.name == "id"
    if Version(pd.__version__) < Version("3"):
        assert one.search_insertions(name="probe01") == [pids[1]]


def test_ids_stay_the_same(archive: Path, tmp_path: Path) -> None:
    polars_alf.index_archive(archive, namespace="site", insertions=True)
    first = read(archive)
    assert first.select("name").rows() == [(name,) for name in first["name"]]
    assert first["id"].n_unique() == 3
    polars_alf.index_archive(archive)
    assert read(archive).equals(first)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    polars_alf.index_archive(archive, elsewhere, namespace="site")
    assert not (elsewhere / "insertions.pqt").exists(), "off unless asked for"
    made = polars_alf.write_insertions(elsewhere)
    assert read(elsewhere).equals(first)
    assert (made.n_insertions, made.n_sessions, made.n_known) == (3, 2, 0)


def test_a_table_that_is_there_is_kept_up_to_date(archive: Path) -> None:
    polars_alf.index_archive(archive, insertions=True)
    before = read(archive)
    make_tree(archive / SECOND, {"raw_ephys_data/probe01/_spikeglx_sync.times.npy": 1})
    (archive / FIRST / "raw_ephys_data/probe01/_spikeglx_ephysData.raw.cbin").unlink()
    polars_alf.index_archive(archive)
    found = read(archive)
    key = [(find_eid(archive, 1), "probe00"), (find_eid(archive, 2), "probe00")]
    key.append((find_eid(archive, 2), "probe01"))
    assert sorted(found.select("eid", "name").rows()) == sorted(key)
    assert len(found.join(before, on=["eid", "id", "name"])) == 2


def test_insertions_are_put_back_with_their_tables(archive: Path) -> None:
    polars_alf.index_archive(archive)
    polars_alf.index_archive(archive, insertions=True, keep_generations=3)
    made = read(archive)
    shutil.rmtree(archive / SECOND)
    polars_alf.index_archive(archive, keep_generations=3)
    less = read(archive)
    assert len(less) < len(made)
    without, with_all = polars_alf.read_history(archive)["generation"][:2]
    polars_alf.restore_tables(archive)
    assert read(archive).equals(made), "also where a session of theirs has no folder now"
    polars_alf.restore_tables(archive, without)
    assert not (archive / "insertions.pqt").exists()
    with pytest.raises(TableNotFoundError, match=r"insertions\.pqt"):
        read(archive)
    polars_alf.restore_tables(archive, with_all)
    assert read(archive).equals(made)


def test_an_index_that_fails_leaves_the_insertions(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polars_alf.index_archive(archive, insertions=True)
    before = {path.name: path.read_bytes() for path in archive.glob("*.pqt")}
    assert len(before) == 3
    shutil.rmtree(archive / SECOND)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("polars_alf.tables.transaction.Staging.write_report", fail)
        with pytest.raises(OutputError, match="No space left"):
            polars_alf.index_archive(archive, executor="serial")
    assert {path.name: path.read_bytes() for path in archive.glob("*.pqt")} == before


def test_the_history_tells_of_insertions_that_were_added(archive: Path) -> None:
    polars_alf.index_archive(archive)
    polars_alf.write_insertions(archive)
    history = polars_alf.read_history(archive)
    assert history["run"].to_list() == ["index", "insertions"]
    assert history["generation"].n_unique() == 1
    assert history["status"].to_list() == ["repeated", "current"]
    assert history["n_sessions"].to_list() == [3, 3]


def test_an_index_replaces_insertions_that_are_damaged(archive: Path) -> None:
    polars_alf.index_archive(archive, insertions=True)
    before = read(archive)
    (archive / "insertions.pqt").write_bytes(b"PAR1")
    with pytest.warns(TableWarning, match=r"insertions\.pqt.*replaced"):
        polars_alf.index_archive(archive)
    assert read(archive).equals(before)
    kept = [*(archive / ".polars_alf").glob("generation-*/insertions.pqt")]
    assert [path.read_bytes() for path in kept] == [b"PAR1"]


def write_database(folder: Path, columns: dict[str, object], eid: str) -> None:
    frame = pd.DataFrame(columns | {"eid": eid}).set_index(["eid", "id"])
    frame.to_parquet(folder / "insertions.pqt")


def test_ids_and_values_of_a_database_win(
    archive: Path, tmp_path: Path, open_one: Callable[..., OneAlyx]
) -> None:
    database = tmp_path / "database"
    database.mkdir()
    polars_alf.index_archive(archive, database, namespace="database")
    pids = [str(uuid.uuid4()) for _ in range(2)]
    write_database(
        database,
        {"id": pids, "name": ["probe00", "probe07"], "model": ["3B2", "NP2"], "note": ["a", None]},
        find_eid(database, 1),
    )
    polars_alf.index_archive(archive, namespace="here")
    made = polars_alf.write_insertions(archive, ids_from=database)
    assert (made.n_insertions, made.n_known) == (4, 2)
    found = read(archive).filter(eid=find_eid(archive, 1)).sort("name")
    assert found["name"].to_list() == ["probe00", "probe01", "probe07"]
    assert (found["id"][0], found["id"][2]) == tuple(pids)
    assert found["model"].to_list() == ["3B2", "", "NP2"]
    assert found["note"].to_list() == ["a", None, None]
    # Later indexes keep them, and so do tables of a part and merged ones.
    polars_alf.index_archive(archive)
    assert read(archive).filter(eid=find_eid(archive, 1)).sort("name").equals(found)
    part, merged = tmp_path / "part", tmp_path / "merged"
    part.mkdir()
    merged.mkdir()
    release = polars_alf.subset_tables(archive, part, eids=[find_eid(archive, 1)])
    assert read(part).sort("name").equals(found)
    assert release.manifest["tables"]["insertions.pqt"]["rows"] == 3
    assert polars_alf.verify_manifest(part / "manifest.json").problems == ()
    polars_alf.publish_tables(part)
    polars_alf.merge_tables([part, archive], merged)
    assert len(read(merged)) == 4
    assert {*pids} < {*read(merged)["id"]}
    assert open_one(archive, merged).pid2eid(pids[1])[1] == "probe07"
    (part / "insertions.pqt").unlink()
    [problem] = polars_alf.verify_manifest(part / "manifest.json").problems
    assert "insertions.pqt is not there" in problem


def test_an_index_takes_the_insertions_of_known_tables(archive: Path, tmp_path: Path) -> None:
    database, out = tmp_path / "database", tmp_path / "out"
    database.mkdir()
    out.mkdir()
    polars_alf.index_archive(archive, database, namespace="database")
    pid = str(uuid.uuid4())
    write_database(database, {"id": [pid], "name": ["probe00"]}, find_eid(database, 1))
    polars_alf.index_archive(archive, out, ids_from=database)
    assert pid in read(out)["id"].to_list()
    assert find_eid(out, 1) == find_eid(database, 1)


def test_an_id_of_two_insertions_is_that_of_neither(archive: Path) -> None:
    polars_alf.index_archive(archive, insertions=True)
    frame = pd.read_parquet(archive / "insertions.pqt").reset_index()
    right = set(frame["id"])
    frame["id"] = str(uuid.uuid4())
    frame.set_index(["eid", "id"]).to_parquet(archive / "insertions.pqt")
    polars_alf.index_archive(archive)
    assert set(read(archive)["id"]) == right


def test_one_writes_the_table_and_we_read_it(archive: Path) -> None:
    polars_alf.index_archive(archive, insertions=True)
    before = read(archive)
    one = One(archive, mode="local")
    one._cache["insertions"]["serial"] = ["1", "2", "3"]
    one.save_cache(clobber=True)
    assert read(archive)["serial"].to_list() == ["1", "2", "3"]
    polars_alf.index_archive(archive)
    assert read(archive).drop("serial").equals(before.drop("serial"))
    assert read(archive)["serial"].to_list() == ["1", "2", "3"]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["alf", "raw_ephys_data", "a/b", ""]), st.text("probe01_xX", max_size=8))
def test_names_of_probes(folder: str, name: str) -> None:
    path = "/".join(filter(None, [folder, name, "a.b.npy"]))
    frame = pl.LazyFrame({"eid": ["s"], "rel_path": [path]})
    found = list_probes(frame).collect()["name"].to_list()
    is_probe = re.fullmatch(r"probe([0-9]+[a-z]?|_[a-zA-Z]+)", name)
    assert found == ([name] if is_probe else [])


def test_paths_as_ids(archive: Path) -> None:
    polars_alf.index_archive(archive, hash_ids=False, insertions=True)
    found = read(archive)
    assert set(found["id"]) == {f"{eid}/{name}" for eid, name in found.select("eid", "name").rows()}


def test_what_cannot_be_read_is_told(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError):
        polars_alf.write_insertions(tmp_path / "nowhere")
    with pytest.raises(TableNotFoundError):
        polars_alf.write_insertions(archive)
    polars_alf.index_archive(archive)
    with pytest.raises(TableNotFoundError, match=r"no insertions\.pqt"):
        polars_alf.write_insertions(archive, ids_from=archive)
    with pytest.raises(TableNotFoundError):
        polars_alf.scan_insertions(archive)
    (archive / "insertions.pqt").write_bytes(b"no table")
    with pytest.raises(TableError, match=r"insertions\.pqt"):
        polars_alf.write_insertions(archive)
    pd.DataFrame({"x": [1]}).to_parquet(archive / "insertions.pqt")
    with pytest.raises(TableError, match="no table of insertions"):
        polars_alf.scan_insertions(archive)


def test_the_command_tells_what_it_made(archive: Path) -> None:
    run("index", archive, "--quiet")
    result = run("insertions", archive)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Insertions   3 in 2 sessions\n")
    values = json.loads(run("insertions", archive, "--json").stdout)
    assert values["n_insertions"] == 3
    assert Path(values["path"]) == archive / "insertions.pqt"
    (archive / "insertions.pqt").unlink()
    run("index", archive, "--insertions", "--quiet")
    assert len(read(archive)) == 3
