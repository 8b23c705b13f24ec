"""Ids are those that the standard library computes."""

from __future__ import annotations

import uuid
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.alf.ids import (
    check_namespace,
    expr_uuid3,
    format_ids,
    format_numbers,
    identify,
    make_ids,
    make_namespace,
    parse_namespace,
)
from polars_alf.errors import NamespaceConflictError, OptionError

names = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.uuids(), st.lists(names))
def test_ids_are_uuid3(namespace: uuid.UUID, texts: list[str]) -> None:
    frame = pl.LazyFrame({"name": texts}, schema={"name": pl.String})
    result = frame.select(id=expr_uuid3(pl.col("name"), namespace)).collect()
    assert result["id"].to_list() == [str(uuid.uuid3(namespace, text)) for text in texts]


@given(st.uuids(), st.lists(names, min_size=1), st.lists(names, min_size=1), st.data())
def test_ids_of_codes_are_those_of_the_joined_texts(
    namespace: uuid.UUID, first: list[str], second: list[str], data: st.DataObject
) -> None:
    pairs = st.tuples(st.integers(0, len(first) - 1), st.integers(0, len(second) - 1))
    codes = data.draw(st.lists(pairs))
    start = data.draw(st.integers(0, len(codes)))
    ids = make_ids(
        namespace,
        # A slice has an offset into its buffers.
        pl.Series([a for a, _ in codes], dtype=pl.Int32)[start:],
        pl.Series(first, dtype=pl.String),
        pl.Series([b for _, b in codes], dtype=pl.UInt32)[start:],
        pl.Series(["skipped", *second], dtype=pl.String)[1:],
    )
    expected = [str(uuid.uuid3(namespace, f"{first[a]}/{second[b]}")) for a, b in codes[start:]]
    assert ids.schema == {"high": pl.UInt64, "low": pl.UInt64}
    texts = format_ids(ids)
    assert texts.to_list() == expected
    assert (texts.name, texts.dtype) == ("id", pl.String)
    assert format_ids(ids.slice(1)).to_list() == expected[1:]
    assert format_ids(ids.sort("high", "low")).to_list() == sorted(expected)


def test_ids_of_columns_in_pieces() -> None:
    texts = pl.concat([pl.Series(["a", "b"]), pl.Series(["c"])], rechunk=False)
    codes = pl.concat([pl.Series([2, 0], dtype=pl.Int32), pl.Series([1], dtype=pl.Int32)])
    ids = make_ids(uuid.NAMESPACE_URL, codes, texts, codes, texts)
    expected = [str(uuid.uuid3(uuid.NAMESPACE_URL, f"{x}/{x}")) for x in "cab"]
    assert format_ids(ids).to_list() == expected


@given(st.lists(st.uuids() | names | st.none()), st.lists(st.uuids()))
def test_numbers_of_ids(some: list[uuid.UUID | str | None], uuids: list[uuid.UUID]) -> None:
    ids = [str(each) if isinstance(each, uuid.UUID) else each for each in (*some, *uuids)]
    frame = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    numbers = frame.select(identify(pl.col("id"))).to_series()
    # One for each id and no other, also for what only looks like a UUID.
    assert numbers.n_unique() == len({*ids})
    assert numbers.is_null().to_list() == [each is None for each in ids]
    of_uuids = numbers.tail(len(uuids))
    assert of_uuids.to_list() == [each.int for each in uuids]
    assert format_numbers(of_uuids).to_list() == [str(each) for each in uuids]


def test_only_the_usual_text_of_a_uuid_has_its_number() -> None:
    text = "4d8c7767-981c-4347-8e5e-5d5fffe38534"
    others = [
        text.upper(),
        text.replace("-", ""),
        f"{{{text}}}",
        f"{text}\n",
        f" {text}",
        "",
        "4d8",
    ]
    numbers = pl.DataFrame({"id": [text, *others]}).select(identify(pl.col("id"))).to_series()
    assert numbers[0] == uuid.UUID(text).int
    assert numbers.n_unique() == len(numbers)


def test_ids_of_what_is_no_column_of_codes() -> None:
    codes, texts = pl.Series("code", [0, 1], dtype=pl.Int32), pl.Series("text", ["a", "b"])
    for bad, message in (
        (codes.cast(pl.Int64), "the codes 'code' are Int64; give Int32 or UInt32"),
        (pl.Series("code", [0, None], dtype=pl.Int32), "the column 'code' has 1 nulls"),
        (pl.Series([0, 2], dtype=pl.Int32), "row 1 names a text that there is none of"),
        (pl.Series([-1, 0], dtype=pl.Int32), "row 0 names a text that there is none of"),
        (codes[:1], "the columns have 1 and 2 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            make_ids(uuid.NAMESPACE_URL, bad, texts, codes, texts)
    with pytest.raises(ValueError, match="the column 'text' has 1 nulls"):
        make_ids(uuid.NAMESPACE_URL, codes, pl.Series("text", ["a", None]), codes, texts)


def test_namespaces_differ() -> None:
    assert len({make_namespace() for _ in range(100)}) == 100


def test_a_namespace_is_a_uuid_its_text_or_a_name() -> None:
    namespace = uuid.UUID(int=5)
    assert parse_namespace(None) is None
    assert parse_namespace(namespace) == parse_namespace(str(namespace)) == namespace
    assert parse_namespace("ucl.ac.uk") == uuid.uuid5(uuid.NAMESPACE_DNS, "ucl.ac.uk")
    for bad in ("", " ", 5):
        with pytest.raises(OptionError, match="give a UUID or a name"):
            parse_namespace(bad)  # type: ignore[arg-type]


def test_a_namespace_that_would_change_ids() -> None:
    given, found = uuid.UUID(int=1), uuid.UUID(int=2)
    check_namespace(None, found, Path("tables"))
    check_namespace(given, None, Path("tables"))
    check_namespace(given, given, Path("tables"))
    with pytest.raises(NamespaceConflictError, match="in tables were made with"):
        check_namespace(given, found, Path("tables"))
