"""Options of an index that no user sets: shards and row groups of a few, clocks that are fine."""

from __future__ import annotations

import pytest

from polars_alf.index.options import IndexOptions
from polars_alf.walk import walk

_ANY_NUMBER = 1 << 20

SMALL_SHARDS = f"""
from polars_alf.index.options import IndexOptions
from polars_alf.walk import walk
IndexOptions.__init__.__kwdefaults__["least_folders"] = 1
walk.SHARDS_WANTED = {_ANY_NUMBER}
"""
"""Code that gives each dated folder a shard of its own, for another process."""


def tune(patch: pytest.MonkeyPatch, **defaults: int) -> None:
    """Set defaults of `IndexOptions` for a while."""
    for name, value in defaults.items():
        assert name in IndexOptions.__init__.__kwdefaults__
        patch.setitem(IndexOptions.__init__.__kwdefaults__, name, value)
    if "least_folders" in defaults:
        patch.setattr(walk, "SHARDS_WANTED", _ANY_NUMBER)
