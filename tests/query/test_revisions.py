"""Default revisions of frames."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf import with_default_revisions


def make(*rows: tuple[str, bool | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [("s", path, default) for path, default in rows],
        {"eid": pl.String, "rel_path": pl.String, "default_revision": pl.Boolean},
        orient="row",
    )


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ([None, None, None], [False, False, True]),
        ([False, False, False], [False, False, True]),
        ([True, False, False], [True, False, False]),
        ([None, True, None], [False, True, False]),
        ([True, True, False], [False, False, True]),
    ],
)
def test_a_choice_stays_where_it_is_one(known: list[bool | None], wanted: list[bool]) -> None:
    names = ["a.b.npy", "#1#/a.b.npy", "#2#/a.b.npy"]
    frame = make(*zip(names, known, strict=True))
    assert with_default_revisions(frame)["default_revision"].to_list() == wanted
    computed = with_default_revisions(frame, keep=False)["default_revision"]
    assert computed.to_list() == [False, False, True]


def test_frames_come_back_as_they_came() -> None:
    frame = make(("#2#/a.b.npy", None), ("a.b.npy", None), ("c.d.npy", None)).drop(
        "default_revision"
    )
    lazy = with_default_revisions(frame.lazy())
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect().equals(with_default_revisions(frame))
    assert lazy.collect().drop("default_revision").equals(frame)
    assert lazy.collect()["default_revision"].to_list() == [True, False, True]


def test_texts_are_no_choice() -> None:
    frame = make(("a.b.npy", None)).with_columns(default_revision=pl.lit("yes"))
    assert with_default_revisions(frame)["default_revision"].to_list() == [True]


def test_sessions_are_apart() -> None:
    frame = pl.DataFrame({"eid": ["s", "t"], "rel_path": ["a.b.npy", "#1#/a.b.npy"]})
    assert with_default_revisions(frame)["default_revision"].all()


PATHS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "alf/", "alf/probe/"]),
    st.sampled_from(["", "", "#1#/", "#2#/", "#2020-01-01#/"]),
    st.sampled_from(["a.b.npy", "c.d.npy", "x#y.npy"]),
)
ROWS = st.tuples(st.sampled_from(["s", "t", None]), PATHS, st.sampled_from([True, False, None]))


@given(st.lists(ROWS, max_size=25), st.booleans(), st.booleans())
def test_frames_and_lazy_frames_agree(
    rows: list[tuple[str | None, str, bool | None]], has_choices: bool, keep: bool
) -> None:
    schema = {"eid": pl.String, "rel_path": pl.String, "default_revision": pl.Boolean}
    frame = pl.DataFrame([*dict.fromkeys(rows)], schema, orient="row")
    # Rows of one path are told apart by nothing.
    frame = frame.unique(["eid", "rel_path"], keep="first", maintain_order=True)
    if not has_choices:
        frame = frame.drop("default_revision")
    lazy = with_default_revisions(frame.lazy(), keep=keep).collect()
    assert with_default_revisions(frame, keep=keep).equals(lazy)
