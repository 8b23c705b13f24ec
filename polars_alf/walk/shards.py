"""Cut an archive into shards: pieces of work of similar size that share no session.

A shard is a run of dated directories, in the order of their paths. Small subjects share a shard
and a large one is cut by its dates, so that no worker is left behind with most of the work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import xxhash

SHARDS_WANTED = 32

SHARDS_PER_WORKER = 4
"""Where there are many workers: so that the last shards keep few of them waiting."""

LEAST_UNITS = 48
"""Units below which a shard's own cost, some twenty milliseconds, outweighs that of its files."""

MOST_UNITS = 512
"""Units above which a shard takes too much memory."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of work.

    Parameters
    ----------
    index
        Position among the shards of the run, which is the order of their paths.
    units
        Directories to walk, relative to the root.
    """

    index: int
    units: tuple[str, ...]

    @property
    def name(self) -> str:
        """A name that says which units it has, the same in every run."""
        return xxhash.xxh3_128_hexdigest("\0".join(self.units).encode())


def path_key(path: str) -> list[str]:
    """Return the key that sorts POSIX paths component by component, as `pathlib` does."""
    return path.split("/")


def are_few(units: Collection[str], n_shards: int) -> bool:
    """Tell whether units make so many shards at most."""
    return len(units) <= n_shards * LEAST_UNITS


def plan_shards(
    units: Sequence[str],
    least: int | None = None,
    finished: Collection[str] = frozenset(),
    *,
    wanted: int = SHARDS_WANTED,
) -> list[Shard]:
    """Bundle units into shards.

    Parameters
    ----------
    units
        Directories relative to the root, in any order.
    least
        Least number of units in a shard, but for the last; by default `LEAST_UNITS`.
    finished
        Those of the units that need not be walked. No shard has units on both sides of one.
    wanted
        About how many shards there should be, where neither `least` nor `MOST_UNITS` decides.

    Returns
    -------
    list of Shard
        In the order of their paths. With the same `least` and `wanted`, the next run over the same
        archive finds the same shards whichever of them are finished.
    """
    ordered = sorted(units, key=path_key)
    least = LEAST_UNITS if least is None else least
    size = min(max(len(ordered) // wanted, least), MOST_UNITS)
    left = [
        list(run)
        for is_finished, run in groupby(ordered, key=lambda unit: unit in finished)
        if not is_finished
    ]
    cuts = [tuple(run[i : i + size]) for run in left for i in range(0, len(run), size)]
    return [Shard(index, cut) for index, cut in enumerate(cuts)]
