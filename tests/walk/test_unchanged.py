"""Whether directories are as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from polars_alf.alf.root import open_root
from polars_alf.walk import unchanged
from polars_alf.walk.batches import Listing, Names
from polars_alf.walk.options import WalkOptions


def test_a_change_stays_found_while_another_thread_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"same": (1, 1, 1), "changed": (2, 2, 2)}
    comparison = unchanged._Comparison(open_root(tmp_path), WalkOptions(), known)
    listing = Listing(Names())

    def look(path: str) -> tuple[int, int, int]:
        if path.endswith("changed"):
            return 3, 3, 3
        # What another thread does at this moment.
        comparison.list_directory("changed", None, listing)
        return known["same"]

    monkeypatch.setattr(unchanged, "fingerprint_directory", look)
    comparison.list_directory("same", None, listing)
    assert comparison.found_change
