"""How much the slow tests try."""

from __future__ import annotations

import os

IS_FULL = bool(os.environ.get("POLARS_ALF_FULL_FAULTS"))
"""Whether the suites of faults and of damage run in full, and not in the size for every change."""
