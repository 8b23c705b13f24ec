"""Ids are those that the standard library computes."""

from __future__ import annotations

import uuid

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.alf.ids import expr_uuid3, make_namespace

names = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.uuids(), st.lists(names))
def test_ids_are_uuid3(namespace: uuid.UUID, texts: list[str]) -> None:
    frame = pl.LazyFrame({"name": texts}, schema={"name": pl.String})
    result = frame.select(id=expr_uuid3(pl.col("name"), namespace)).collect()
    assert result["id"].to_list() == [str(uuid.uuid3(namespace, text)) for text in texts]


def test_namespaces_differ() -> None:
    assert len({make_namespace() for _ in range(100)}) == 100
