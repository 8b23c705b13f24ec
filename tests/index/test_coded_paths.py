"""Rel_paths that repeat, as codes of texts, and those that do not, in the same index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edits import edit_table
from hypothesis import given
from hypothesis import strategies as st
from indexes import read_tables
from polars.testing import assert_frame_equal
from trees import SESSION, Tree, make_tree
from tuning import tune

from polars_alf import index_archive
from polars_alf.index import coded_paths, shard_files
from polars_alf.index.coded_paths import CodedPaths, encode_paths, split_paths
from polars_alf.query.revisions import with_default_revisions

UUID = "a976e418-c8b8-4d24-be47-d05120b18341"

OTHERS: Tree = {"alf/clusters.depths.npy": 1, f"alf/#2020-01-01#/a.b.{UUID}.npy": 2, "c.d.npy": 3}

ARCHIVE: Tree = {
    # Each date is a shard: rows of the first two have codes, those of the last have texts.
    **{f"lab/Subjects/A/2020-01-01/{number:03}": SESSION for number in range(1, 6)},
    **{f"lab/Subjects/B/2020-01-01/{number:03}": OTHERS for number in range(1, 6)},
    "lab/Subjects/C/2020-01-01/001": {**SESSION, "alf/spikes.times.extra.npy": 4},
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tune(monkeypatch, least_folders=1)
    return make_tree(tmp_path / "archive", ARCHIVE)


def index_both(
    archive: Path, tmp_path: Path, patch: pytest.MonkeyPatch, **options: Any
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the datasets of an index with codes, and of one with texts alone."""
    found = []
    for name, most in (("codes", coded_paths._MOST_TEXTS), ("texts", 0)):
        patch.setattr(coded_paths, "_MOST_TEXTS", most)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        index_archive(archive, folder, namespace="test", **options)
        found.append(read_tables(folder)[1])
    return found[0], found[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hash_ids": False},
        {"uuid_filenames": True},
        {"default_revisions": True},
        {"hash_files": True},
        {"rows_per_group": 4},
    ],
)
@pytest.mark.parametrize("subjects", ["AB", "ABC", "C"])
def test_tables_are_those_of_texts(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    subjects: str,
) -> None:
    for subject in {*"ABC"} - {*subjects}:
        (archive / f"lab/Subjects/{subject}").rename(tmp_path / subject)
    if "rows_per_group" in options:
        tune(monkeypatch, rows_per_group=options["rows_per_group"])
        options = {}
    codes, texts = index_both(archive, tmp_path, monkeypatch, **options)
    assert len(codes) == {"AB": 30, "ABC": 34, "C": 4}[subjects]
    assert_frame_equal(codes, texts)
    schema = pq.read_schema(tmp_path / "codes" / "datasets.pqt")
    assert schema.field("rel_path").type == pa.string()


def test_shards_of_an_earlier_version_are_merged(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of their rows have texts."""
    written: list[pa.DataType] = []

    def encode(codes: pl.Series, texts: pl.Series) -> pa.Array:
        is_old = len(written) % 2
        old = texts.gather(codes).to_arrow(compat_level=pl.CompatLevel.oldest())
        column = old if is_old else encode_paths(codes, texts)
        written.append(column.type)
        return column

    more = {f"lab/Subjects/D/2020-01-{day:02}/001": SESSION for day in range(1, 5)}
    make_tree(archive, more)
    (tmp_path / "plain").mkdir()
    index_archive(archive, tmp_path / "plain", namespace="test")
    monkeypatch.setattr(shard_files, "encode_paths", encode)
    (tmp_path / "mixed").mkdir()
    index_archive(archive, tmp_path / "mixed", namespace="test", jobs=1)
    assert len({*written}) == 2
    assert len(written) == 7
    assert_frame_equal(read_tables(tmp_path / "mixed")[1], read_tables(tmp_path / "plain")[1])


def test_columns_of_others_are_kept(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_both(archive, tmp_path, monkeypatch)
    for folder in ("codes", "texts"):
        edit_table(tmp_path / folder, "datasets", lambda rows: rows.with_columns(note="rel_path"))
    codes, texts = index_both(archive, tmp_path, monkeypatch)
    assert (codes["note"] == codes["rel_path"]).all()
    assert_frame_equal(codes, texts)


@pytest.mark.parametrize(("n_rows", "is_coded"), [(11, False), (12, True)])
def test_texts_that_repeat_have_codes(n_rows: int, is_coded: bool) -> None:
    texts = pl.Series(["a", "ü/b", "c"])
    codes = pl.Series([row % 3 for row in range(n_rows)], dtype=pl.UInt32)
    column = encode_paths(codes, texts)
    assert pa.types.is_dictionary(column.type) == is_coded
    assert column.to_pylist() == [texts[code] for code in codes]


def test_many_texts_have_no_codes() -> None:
    codes = pl.Series([0], dtype=pl.UInt32).new_from_index(0, 100_000)
    for n_texts in (512, 513):
        texts = pl.Series([str(number) for number in range(n_texts)])
        assert pa.types.is_dictionary(encode_paths(codes, texts).type) == (n_texts == 512)


def test_shards_share_texts() -> None:
    columns = [
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array(["x", "y", "z"]),
        pa.array(["c", "b", "b"]).dictionary_encode(),
    ]
    shards = [pa.table({"rel_path": column}) for column in columns]
    paths = CodedPaths(shards)
    rows = pl.DataFrame(pa.concat_tables([split_paths(shards[0]), split_paths(shards[2])]))
    starts = paths.find_starts(pl.Series([0, 0, 0, 2, 2, 2], dtype=pl.UInt32))
    decoded = paths.decode(rows, starts)["rel_path"]
    assert decoded.dtype == pl.Enum(["a", "b", "c"])
    assert decoded.to_list() == ["a", "b", "a", "c", "b", "b"]
    assert paths.decode(pl.DataFrame(split_paths(shards[1])), starts[:3])["rel_path"].to_list() == [
        *"xyz"
    ]


PATHS = st.sampled_from(
    ["alf/e.f.csv", "alf/#r#/e.f.csv", "alf/#q#/e.f.csv", "e.f.csv", "#r#/e.f.csv", "c.d.npy"]
)


@given(st.lists(st.tuples(st.sampled_from([None, "a", "b"]), PATHS)))
def test_default_revisions_of_codes_are_those_of_texts(
    rows: list[tuple[str | None, str]],
) -> None:
    texts = pl.DataFrame(rows, {"eid": pl.String, "rel_path": pl.String}, orient="row")
    expected = with_default_revisions(texts)
    paths = pl.Enum(["#r#/unused", *texts["rel_path"].unique(maintain_order=True)])
    found = with_default_revisions(texts.with_columns(pl.col("rel_path").cast(paths)))
    assert_frame_equal(found.with_columns(pl.col("rel_path").cast(pl.String)), expected)
