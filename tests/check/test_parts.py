"""Sessions and their files, a few at a time."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, make_sessions

import polars_alf
from polars_alf.check.parts import TableParts, sum_counts

eids = st.sampled_from("abcdefg")


@given(st.sets(eids), st.lists(eids, max_size=20), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_each_session_is_in_one_part_with_all_its_files(
    sessions: set[str], files: list[str], rows: int
) -> None:
    datasets = make_datasets([(eid, str(n), f"{n}.npy", 1) for n, eid in enumerate(files)])
    known = pl.DataFrame({"eid": sorted(sessions)}, {"eid": pl.String}).with_columns(
        session=pl.col("eid") + "/1"
    )
    parts = [*TableParts(known, datasets.lazy(), rows)]
    found = [(eid, path) for part in parts for eid, path in part.files[["eid", "rel_path"]].rows()]
    assert sorted(found) == sorted((eid, f"{n}.npy") for n, eid in enumerate(files))
    assert [eid for part in parts for eid in part.sessions["eid"]] == sorted(sessions)
    inside = [{*part.files["eid"], *part.sessions["eid"]} for part in parts]
    assert sum(map(len, inside)) == len({*sessions, *files}), "no session is divided"
    for part in parts:
        labels = dict(part.files[["eid", "session"]].rows())
        assert labels == {eid: f"{eid}/1" if eid in sessions else eid for eid in labels}


def test_counts_of_parts_are_summed() -> None:
    counts = [pl.DataFrame({"stem": ["a", "b"], "n": [1, 2]}), pl.DataFrame({"stem": "b", "n": 5})]
    assert sorted(sum_counts(counts, "stem", "n").rows()) == [("a", 1), ("b", 7)]


def test_parts_of_few_rows_give_the_same_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (f"s{n}", f"{n}.{path}", path, 928 + (n == 3) * 13)
        for n in range(12)
        for path in ("alf/trials.choice.npy", "alf/whisker.angle.npy", "alf/trials.included.npy")
        if (n, path) != (4, "alf/trials.choice.npy")
    ]
    rows += [("s1", "x", "alf/spike.times.npy", 9), ("s2", "y", "alf/whiskr.angle.npy", 928)]
    sessions = make_sessions([(f"s{n}", f"KS{n}") for n in range(13)])
    pair = sessions, make_datasets(rows)
    other = sessions, make_datasets([row for row in rows if row[0] != "s5"])
    options = {"complete": "subject IN ('KS5', 'KS6')", "against": other}
    whole = polars_alf.check_tables(pair, **options)
    monkeypatch.setattr(TableParts.__init__, "__defaults__", (1,))
    found = polars_alf.check_tables(pair, **options)
    assert found.findings.equals(whole.findings)
    assert (found.n_sessions, found.n_datasets) == (13, len(rows))
    kinds = {"missing_dataset", "misspelt_name", "not_registered"}
    assert kinds <= {kind for kind, count in found.counts.items() if count}


def test_tables_without_rows_have_no_findings() -> None:
    found = polars_alf.check_tables((make_sessions([]), make_datasets([])))
    assert (found.n_sessions, found.n_datasets, len(found.findings)) == (0, 0, 0)
