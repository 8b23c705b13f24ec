"""The Arrow schemas: every field says what it holds."""

from __future__ import annotations

import pyarrow as pa
import pytest

from polars_alf import schema

SCHEMAS = {name: value for name, value in vars(schema).items() if isinstance(value, pa.Schema)}


@pytest.mark.parametrize("name", SCHEMAS)
def test_fields_have_a_description_and_sizes_and_times_a_unit(name: str) -> None:
    for field in SCHEMAS[name]:
        assert field.metadata[b"description"], field.name
        if field.name.endswith(("_size", "_ns")):
            assert field.metadata[b"unit"] == (b"ns" if field.name.endswith("_ns") else b"bytes")
    assert schema.polars_schema(SCHEMAS[name]).names() == SCHEMAS[name].names
