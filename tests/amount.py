"""How much the tests try."""

from __future__ import annotations

import os

IS_FULL = bool(os.environ.get("POLARS_ALF_FULL_FAULTS"))
"""Whether tests try all that they know, and not what there is time for at every change."""


def count_examples(most: int) -> int:
    """Return how many examples a test makes that takes seconds for `most`: else a third of them.

    They are others each time.
    """
    return most if IS_FULL else -(-most // 3)
