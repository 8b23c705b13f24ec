"""Bundles, and the real ONE that loads them from a web server."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import one.params
import polars as pl
import pytest
from indexes import read_folder
from one.api import ONE
from served import serve

import polars_alf
from polars_alf.errors import ArchiveNotFoundError, OptionError, TableError, TableNotFoundError


@pytest.fixture
def release(archive: Path, tmp_path: Path) -> Path:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    polars_alf.index_archive(archive, source, namespace="site")
    polars_alf.subset_tables(source, out, where="subject = 'KS001'", tag="2024_Q2_first")
    return out


def test_a_bundle_has_both_tables(release: Path, archive: Path) -> None:
    before = {name: (release / name).read_bytes() for name in ("sessions.pqt", "datasets.pqt")}
    bundle = polars_alf.publish_tables(release)
    with zipfile.ZipFile(bundle.zip_path) as file:
        assert {name: file.read(name) for name in file.namelist()} == before
    info = json.loads(bundle.info_path.read_text())
    assert info == bundle.info
    assert info["origin"] == str(archive)
    assert info["database_tags"] == ["2024_Q2_first"]
    assert "location" not in info
    assert {name: (release / name).read_bytes() for name in before} == before
    content = read_folder(release)
    polars_alf.publish_tables(release)
    assert read_folder(release) == content
    assert json.loads(json.dumps(bundle.to_dict()))["n_bytes"] == bundle.n_bytes


def test_an_address_is_where_the_bundle_will_be(release: Path) -> None:
    bundle = polars_alf.publish_tables(release, url="https://data.lab.org/r/")
    assert bundle.info["location"] == "https://data.lab.org/r/cache.zip"
    for url in ("data.lab.org", "ftp://x", "https://"):
        with pytest.raises(OptionError, match="no address"):
            polars_alf.publish_tables(release, url=url)


def test_what_cannot_be_published(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError, match=r"does not exist; give another$"):
        polars_alf.publish_tables(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(TableNotFoundError, match=r"no sessions\.pqt"):
        polars_alf.publish_tables(bare)
    for name in ("sessions", "datasets"):
        pl.read_parquet(release / f"{name}.pqt").write_parquet(bare / f"{name}.pqt")
    with pytest.raises(TableError, match="when they were made"):
        polars_alf.publish_tables(bare)
    assert not (bare / "cache.zip").exists()


@pytest.mark.slow
@pytest.mark.pandas
@pytest.mark.parametrize("tag", [None, "2024_Q2_first"])
def test_one_loads_a_bundle_from_a_server(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    cache_dir = tmp_path / "downloads"
    with serve(release) as address:
        polars_alf.publish_tables(release, url=address if tag else None)
        client = ONE(
            base_url=address,
            username="user",
            password="secret",
            silent=True,
            cache_dir=cache_dir,
            mode="remote",
        )
        client.load_cache(tag=tag)
        eids = client.search(subject="KS001", query_type="local")
        wanted = polars_alf.scan_sessions(release).collect()["id"]
        assert {str(eid) for eid in eids} == set(wanted)
        names = client.list_datasets(eids[0], query_type="local", default_revisions_only=True)
        assert len(names) == 3
        loaded = client._cache["_meta"]["raw"]["datasets"]
        assert loaded["database_tags"] == ["2024_Q2_first"]
        folder = client._tables_dir
        assert (Path(folder) / "sessions.pqt").is_file()
        # What is loaded is not loaded again.
        (release / "cache.zip").unlink()
        client.load_cache(tag=tag)
        assert client.search(subject="KS001", query_type="local") == eids
    assert one.params.get_params_dir().is_relative_to(tmp_path)
