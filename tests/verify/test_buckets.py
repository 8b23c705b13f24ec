"""An archive that does not fit into memory is verified, and pruned, as one that does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from amount import count_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from trees import SESSION, TWO_LABS, make_tree
from verified import rewrite

import polars_alf
from polars_alf import plan_removals, verify_archive
from polars_alf.prune import claims
from polars_alf.query import spill
from polars_alf.verify import locate
from polars_alf.walk.walk import Walk

EXTRA = {
    "backup/cortexlab/Subjects/KS001/2020-01-01/001": SESSION,
    "wittenlab/Subjects/new/2020-03-03": {"1": SESSION, "001": SESSION},
    "wittenlab/Subjects/new/2020-03-04/002/KS9/2020-01-01/001/alf/a.b.npy": 1,
}


@pytest.mark.slow
@settings(deadline=None, max_examples=count_examples(18))
@given(
    st.sets(st.integers(0, 11), max_size=4),
    st.sets(st.integers(0, 11), max_size=4),
    st.booleans(),
    st.sampled_from([None, 0.5]),
    st.integers(1, 9),
)
def test_buckets_do_not_change_what_is_found(
    gone: set[int], unknown: set[int], is_extended: bool, sample: float | None, n_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = make_tree(Path(folder, "archive"), TWO_LABS)
        tables = Path(folder, "tables")
        tables.mkdir()
        polars_alf.index_archive(archive, tables, hash_files=True, n_jobs=1)
        for number in gone:
            rows = polars_alf.scan_datasets(tables).collect()
            sessions = polars_alf.scan_sessions(tables).collect()
            paths = polars_alf.join_sessions(rows, sessions).select(polars_alf.full_path(archive))
            Path(paths.item(number, 0)).unlink()
        if gone == {0}:
            shutil.rmtree(archive / "cortexlab")
        copy = rewrite(
            tables,
            lambda datasets: datasets.filter(
                ~pl.int_range(pl.len()).is_in([*unknown])
            ).with_columns(
                rel_path=pl.when(pl.int_range(pl.len()) == 3)
                .then(pl.lit("../odd.a.npy"))
                .otherwise("rel_path")
            ),
        )
        if is_extended:
            make_tree(archive, EXTRA)
        options = {"digest": True, "sample": sample, "executor": "serial"}
        whole = verify_archive(archive, copy, **options)  # type: ignore[arg-type]
        plan = plan_removals(archive, copy, executor="serial")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spill, "ROWS_PER_BUCKET", n_rows)
            for module in (spill, claims, locate):
                patch.setattr(module, "ROWS_PER_SLICE", n_rows)
            patch.setitem(Walk.plan_shards.__kwdefaults__, "least", 1)
            parts = verify_archive(archive, copy, **options)  # type: ignore[arg-type]
            plan_in_parts = plan_removals(archive, copy, executor="serial")
        assert_frame_equal(parts.findings, whole.findings)
        assert {**parts.to_dict(), "seconds": 0} == {**whole.to_dict(), "seconds": 0}
        assert_frame_equal(plan_in_parts, plan)
