"""Remove from an archive what its tables do not have: first a plan, then what it says.

list ──► match ──► examine ──► plan ──► apply
files    rows to   no links,   a frame  what is still as planned,
         files     one by one           noted before and after
"""

from polars_alf.pruning.applying import apply_removals
from polars_alf.pruning.planning import plan_removals

__all__ = ["apply_removals", "plan_removals"]
