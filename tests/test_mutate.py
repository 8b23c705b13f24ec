"""The mutations of `scripts/mutate.py` fit the code."""

from __future__ import annotations

import mutate
import pytest


@pytest.mark.slow
def test_mutations_fit_and_their_tests_are_there() -> None:
    assert mutate.find_unfit() == []
