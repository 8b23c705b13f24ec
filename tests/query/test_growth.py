"""Growth of tables from one generation to the next."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from trees import make_tree

from polars_alf import index_archive, measure_growth, restore_tables
from polars_alf.errors import OptionError, TableWarning
from polars_alf.tables.files import generation_path

SESSION = "Subjects/S1/2020-01-01/001"


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    root = make_tree(tmp_path, {f"alab/{SESSION}": {"a.b.npy": 5}, f"blab/{SESSION}/a.b.npy": 7})
    index_archive(root)
    make_tree(root, {f"clab/{SESSION}": {"a.b.npy": 1}, f"blab/{SESSION}/a.c.npy": 20})
    (root / f"alab/{SESSION}/a.b.npy").unlink()
    index_archive(root, max_removed=1.0)
    return root


def test_each_lab_has_its_difference_and_what_grew_most_is_first(grown: Path) -> None:
    found = measure_growth(grown)
    assert found["time"].is_sorted()
    assert found.drop("time", "generation").rows() == [
        ("blab", 1, 1, 7, None, None, None),
        ("alab", 1, 1, 5, None, None, None),
        ("blab", 1, 2, 27, 0, 1, 20),
        ("clab", 1, 1, 1, 1, 1, 1),
        ("alab", 1, 0, 0, 0, -1, -5),
    ]
    assert found.columns == [
        *("time", "generation", "lab", "sessions", "datasets", "n_bytes"),
        *("more_sessions", "more_datasets", "more_bytes"),
    ]
    restore_tables(grown)
    assert measure_growth(grown).equals(found), "in the order in which they were made"


def test_groups_without_a_name_are_compared_too(grown: Path) -> None:
    found = measure_growth(grown, "collection")
    assert found.select("collection", "datasets", "more_datasets").rows() == [
        (None, 2, None),
        (None, 3, 1),
    ]


def test_tables_that_cannot_be_read_are_left_out_with_a_word(grown: Path) -> None:
    name = measure_growth(grown)["generation"][0]
    (generation_path(grown, name) / "datasets.pqt").write_bytes(b"no table")
    with pytest.warns(TableWarning, match=name):
        found = measure_growth(grown)
    assert found["more_bytes"].null_count() == len(found) == 3
    with pytest.raises(OptionError, match="one of lab, subject"):
        measure_growth(grown, "QC")


def test_sums_have_types_that_others_can_read(grown: Path) -> None:
    found = measure_growth(grown, "year")
    assert found.schema["n_bytes"] == found.schema["more_bytes"] == pl.Int64
