"""ONE's own client with our functions in it."""

import copy
import subprocess
import sys
import uuid

import numpy as np
import one.alf.cache
import one.api
import one.converters
import pandas as pd
import pytest
from cache_tables import EIDS, IDS, make_datasets, make_sessions, spell_ids, write_table
from one.api import One
from pandas.testing import assert_frame_equal
from trees import make_tree

import polars_alf.cache
import polars_alf.one
from polars_alf.one import disable, enable, is_enabled

pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("error:::polars_alf"),
]

DAY = pd.Timestamp("2021-02-03").date()


@pytest.fixture
def tables(tmp_path):
    """Two sessions of two datasets; the first is on disk."""
    eids = sorted(EIDS[:2])
    sessions = [(eid, "lab", "subject", DAY, n + 1, "ephys", "p") for n, eid in enumerate(eids)]
    rel_paths = ["alf/spikes.times.npy", "alf/spikes.clusters.npy"]
    datasets = [
        (eid, IDS[2 * n + m], rel_path, 176, "", True, ["PASS", "NOT_SET"][m])
        for n, eid in enumerate(eids)
        for m, rel_path in enumerate(rel_paths)
    ]
    folder = tmp_path / "lab" / "Subjects" / "subject" / "2021-02-03" / "001" / "alf"
    folder.mkdir(parents=True)
    for rel_path in rel_paths:
        np.save(folder.parent / rel_path, np.arange(6))
    write_table(tmp_path / "sessions.pqt", spell_ids(make_sessions(sessions)))
    write_table(tmp_path / "datasets.pqt", spell_ids(make_datasets(datasets)))
    return tmp_path


@pytest.fixture
def enabled():
    with enable():
        yield


def test_enable_and_disable():
    original = one.alf.cache.load_tables
    assert not is_enabled()
    enable()
    enable()
    assert is_enabled()
    for module in (one.alf.cache, one.api):
        assert module.load_tables is polars_alf.one.load_tables
        assert module.cast_index_object is polars_alf.one.cast_index_object
    disable()
    disable()
    assert not is_enabled()
    assert one.alf.cache.load_tables is one.api.load_tables is original


def test_context():
    with enable():
        assert is_enabled()
        with enable():
            pass
        assert is_enabled()
    assert not is_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import polars_alf.one", "import one.api"])
def test_before_and_after_one_is_imported(first):
    code = f"""
{first}
import polars_alf.one
polars_alf.one.enable()
import one.api, one.alf.cache, polars_alf.cache
assert one.api.merge_tables is one.alf.cache.merge_tables is polars_alf.cache.merge_tables
polars_alf.one.disable()
assert one.api.merge_tables is one.alf.cache.merge_tables is not polars_alf.cache.merge_tables
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_client_finds_the_same(tables):
    found = []
    for use in (disable, enable):
        use()
        client = One(cache_dir=tables)
        eids = sorted(client.search(subject="subject"))
        found.append(
            [
                eids,
                client.search(date_range=["2021-02-03", "2021-02-03"], number=2),
                client.search(datasets="spikes.times.npy", details=True)[1],
                client.list_datasets(eids[0]),
                client.list_datasets(eids[0], details=True).fillna({"hash": ""}).to_dict(),
                client.list_datasets(qc="PASS", ignore_qc_not_set=True),
                client.list_collections(eids[0]),
                client.eid2path(eids[0]),
                client.path2eid(client.eid2path(eids[1])),
                client.get_details(eids[1]).to_dict(),
                client.load_dataset(eids[0], "spikes.times.npy").tolist(),
                client.load_object(eids[0], "spikes")["clusters"].tolist(),
            ]
        )
    disable()
    assert found[0] == found[1]
    assert isinstance(found[1][0][0], uuid.UUID)


@pytest.mark.usefixtures("enabled")
def test_save_cache_and_load_again(tables):
    client = One(cache_dir=tables)
    record = client._cache.datasets.iloc[0].copy()
    record.name = (record.name[0], IDS[9])
    record["rel_path"] = "alf/new.a.npy"
    one.api.merge_tables(client._cache, datasets=record, origin="here")
    client.save_cache()
    again = One(cache_dir=tables)._cache
    assert_frame_equal(again.datasets, client._cache.datasets, check_index_type="exact")
    assert_frame_equal(again.sessions, client._cache.sessions, check_index_type="exact")
    assert again["_meta"]["raw"]["datasets"]["origin"] == {"lab", "here"}
    one.api.merge_tables(client._cache, datasets=record, origin="there")  # after the origins' list


@pytest.mark.usefixtures("enabled")
def test_save_cache_merges_with_the_tables_on_disk(tables):
    client = One(cache_dir=tables)
    others = copy.copy(client._cache.datasets.iloc[[0]])
    client._cache["datasets"] = client._cache.datasets.iloc[1:]
    one.api.merge_tables(client._cache, sessions=client._cache.sessions)
    client.save_cache()
    assert others.index[0] in One(cache_dir=tables)._cache.datasets.index


@pytest.mark.usefixtures("enabled")
def test_insertions_as_the_remote_client_makes_them(tables):
    client = One(cache_dir=tables)
    insertions = pd.DataFrame({"eid": [str(EIDS[0])], "id": [str(IDS[0])], "model": ["NP2"]})
    insertions = one.api.cast_index_object(insertions.set_index(["eid", "id"]), uuid.UUID)
    client._cache["insertions"] = insertions.iloc[0:0]
    one.api.merge_tables(client._cache, insertions=insertions, origin="alyx")
    assert client._cache["insertions"].loc[(EIDS[0], IDS[0]), "model"] == "NP2"


def test_an_empty_folder_warns(tmp_path):
    with enable(), pytest.warns(UserWarning, match="No cache tables found"):
        One(cache_dir=tmp_path)


@pytest.mark.usefixtures("enabled")
def test_setup_indexes_what_stops_one(archive, monkeypatch):
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001/a.b.npy": 1})
    client = One.setup(cache_dir=archive, silent=True)
    eids = client.search()
    assert len(eids) == 4
    assert {client.eid2path(eid).relative_to(archive).parts[2] for eid in eids} == {
        "KS001",
        "KS002",
    }
    monkeypatch.setattr("builtins.input", lambda _: "y")
    again = One.setup(cache_dir=archive)
    assert again.search() == eids


def test_files_without_md5_are_loaded_without_a_digest(tables, enabled, caplog, monkeypatch):
    digested = []
    monkeypatch.setattr("iblutil.io.hashfile.md5", lambda file: digested.append(file) or "another")
    client = One(cache_dir=tables, mode="local")
    eid = client.search(number=1)[0]
    assert len(client.load_object(eid, "spikes", collection="alf")["times"]) == 6
    assert not digested
    assert "md5 mismatch" not in caplog.text
    # What has an MD5 is compared with it.
    client._cache["datasets"]["hash"] = "0" * 32
    client.load_object(eid, "spikes", collection="alf")
    assert len(digested) == 2
    assert "md5 mismatch" in caplog.text


def test_what_one_saves_of_tables_without_md5_is_read_as_before(tables, enabled, tmp_path):
    client = One(cache_dir=tables, mode="local")
    saved = tmp_path / "saved"
    saved.mkdir()
    client.save_cache(save_dir=saved, clobber=True)
    differences = polars_alf.compare_tables(tables, saved).counts
    assert not any(differences["datasets"].values())
    assert polars_alf.scan_datasets(saved).collect()["hash"].to_list() == [""] * 4
    client.load_cache(saved)
    assert client._cache["datasets"]["hash"].tolist() == [None] * 4
