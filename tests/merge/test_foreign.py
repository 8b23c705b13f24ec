"""What people and databases wrote is in merged tables, too."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path

import polars as pl
import pytest
from edits import EVERY_TYPE, add_columns, edit_table, spell_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merges import index, make_pair
from polars.testing import assert_frame_equal

from polars_alf import merge_tables
from polars_alf.merge import api
from polars_alf.merge.buckets import plan_buckets
from polars_alf.schema import TABLES

FILES = ("sessions", "datasets")


@pytest.mark.parametrize("size", [2, 1000])
def test_columns_of_every_type_are_in_merged_tables(
    archive: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cortex, witten = (index(archive / lab, tmp_path / lab) for lab in ("cortexlab", "wittenlab"))
    for name in FILES:
        edit_table(cortex, name, add_columns)
    edited = {name: pl.read_parquet(cortex / f"{name}.pqt") for name in FILES}
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    monkeypatch.setattr(api, "plan_buckets", functools.partial(plan_buckets, rows_per_bucket=size))
    merged = merge_tables([cortex, witten], out_dir)
    frames = merge_tables([cortex, witten])
    assert (merged.n_sessions, merged.n_datasets, merged.n_conflicts) == (4, 12, 0)
    for name in FILES:
        found = pl.read_parquet(out_dir / f"{name}.pqt")
        key = [column for column in ("eid", "id") if column in found.columns]
        known = found.join(edited[name].select(key), on=key, how="semi")
        wanted = spell_values(edited[name])
        assert_frame_equal(
            known.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String)),
            wanted.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String)),
            check_row_order=False,
            check_column_order=False,
        )
        new = found.join(edited[name].select(key), on=key, how="anti")
        assert len(new)
        assert new.select(pl.all_horizontal(pl.col(*EVERY_TYPE).is_null().all())).item()
        in_frames = getattr(frames, name).collect()
        assert_frame_equal(in_frames.select(*EVERY_TYPE), found.select(*EVERY_TYPE))
        assert [c for c in in_frames.columns if c != "default_revision"] == [
            *TABLES[name].names,
            *EVERY_TYPE,
        ]


def test_what_the_kept_row_lacks_is_taken_along(tmp_path: Path) -> None:
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1), ("e", "f", "q", 1)])
    silent = sessions, datasets
    second = (
        sessions.with_columns(projects=pl.lit("ibl"), weight=pl.lit(2.5)),
        datasets.with_columns(
            qc=pl.Series(["FAIL", "NOT_SET"], dtype=datasets.schema["qc"]),
            default_revision=True,
            xxh3_128=pl.lit("a" * 32),
            hash=pl.lit("b" * 32),
        ),
    )
    third = (
        sessions.with_columns(projects=pl.lit("other"), task_protocol=pl.lit("biased")),
        datasets.with_columns(qc=pl.lit("PASS", datasets.schema["qc"]), default_revision=False),
    )
    merged = merge_tables([silent, second, third])
    assert merged.sessions.select("projects", "task_protocol", "weight").collect().rows() == [
        ("ibl", "biased", 2.5)
    ]
    found = merged.datasets.select("qc", "default_revision", "xxh3_128", "hash").collect()
    # A digest is of the content that the row had, which may be another one.
    assert found.rows() == [("FAIL", True, "", ""), ("PASS", True, "", "")]
    # The third tables contradict what was taken from the second ones.
    conflicts = merged.conflicts.select("table", "id", "dropped", "differs").collect()
    assert conflicts.rows() == [
        ("sessions", None, "frames 3", ["projects"]),
        ("datasets", "d", "frames 3", ["qc", "default_revision"]),
        ("datasets", "f", "frames 3", ["default_revision"]),
    ]
    assert merged.n_duplicates == 3


def test_rows_that_contradict_what_was_written_are_conflicts() -> None:
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1)])
    first = (
        sessions.with_columns(projects=pl.lit("ibl"), weight=1),
        datasets.with_columns(qc=pl.lit("PASS", datasets.schema["qc"]), tags=pl.lit("x")),
    )
    second = (
        sessions.with_columns(projects=pl.lit("other"), weight=2),
        datasets.with_columns(qc=pl.lit("FAIL", datasets.schema["qc"]), tags=pl.lit("x")),
    )
    merged = merge_tables([first, second])
    conflicts = merged.conflicts.select("table", "differs").collect()
    assert conflicts.rows() == [("sessions", ["projects", "weight"]), ("datasets", ["qc"])]
    assert merged.datasets.collect()["qc"].to_list() == ["PASS"]


def test_columns_named_as_ours_are_in_the_other_table() -> None:
    """A lab may call a column of sessions ``qc`` or ``hash``, and one of datasets ``lab``."""
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1)])
    odd = sessions.with_columns(qc=1, hash=pl.lit(b"x"), eid=2), datasets.with_columns(lab=3)
    merged = merge_tables([(sessions, datasets), odd, odd])
    assert merged.n_conflicts == 0
    assert merged.sessions.select("qc", "hash", "eid").collect().rows() == [(1, b"x", 2)]
    assert merged.datasets.collect()["lab"].to_list() == [3]


values = st.sampled_from([None, "", "a", "b"])
outcomes = st.sampled_from(["NOT_SET", "PASS", "FAIL"])
rows = st.lists(st.tuples(values, values, outcomes, values), min_size=1, max_size=4)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows)
def test_the_first_value_that_says_something_is_kept(
    tmp_path: Path, rows: list[tuple[str | None, str | None, str, str | None]]
) -> None:
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1)])
    pairs = []
    for projects, extra, qc, more in rows:
        pairs.append(
            (
                sessions.with_columns(projects=pl.lit(projects, pl.String), extra=_text(extra)),
                datasets.with_columns(qc=pl.lit(qc, datasets.schema["qc"]), more=_text(more)),
            )
        )
    merged = merge_tables(pairs)
    found = merged.sessions.collect().row(0, named=True) | merged.datasets.collect().row(
        0, named=True
    )
    projects, extra, qc, more = zip(*rows, strict=True)
    assert found["projects"] == next(filter(None, projects), "")
    assert found["extra"] == next((value for value in extra if value is not None), None)
    assert found["qc"] == next((value for value in qc if value != "NOT_SET"), "NOT_SET")
    assert found["more"] == next((value for value in more if value is not None), None)
    assert merged.n_duplicates + merged.n_conflicts == 2 * (len(rows) - 1)
    assert merged.n_conflicts == len(merged.conflicts.collect())
    out_dir = tmp_path / uuid.uuid4().hex
    out_dir.mkdir()
    written = merge_tables(pairs, out_dir)
    for name in FILES:
        assert_frame_equal(getattr(written, name).collect(), getattr(merged, name).collect())


def _text(value: str | None) -> pl.Expr:
    return pl.lit(value, pl.String)
