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
