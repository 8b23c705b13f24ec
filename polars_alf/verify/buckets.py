"""The comparison in buckets: some shards of the walk, with the rows of their sessions.

Of each session a few texts are in memory, and the findings; rows and files are so for one bucket
at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import polars as pl

from polars_alf.query.columns import expr_is_unsafe
from polars_alf.query.spill import BUCKET, Spill, count_buckets, read_batches, select_range
from polars_alf.verify.compare import (
    Disk,
    find_missing,
    find_missing_sessions,
    find_unsafe,
)
from polars_alf.walk.scan import Listing


@dataclass(frozen=True, slots=True)
class Buckets:
    """The rows of the tables beside the files that they could mean.

    Parameters
    ----------
    listing
        The archive.
    located
        Its sessions, as `locate_sessions` returns them, with ``bucket``.
    expected
        As of `Disk`.
    groups
        The shards of each bucket.
    spill
        The rows of the sessions in each bucket.
    unsafe, missing
        FINDINGS of rows that are in no bucket.
    is_excluded
        Whether a path is not missing.
    uuid_filenames
        Whether ids of rows may be in the names of files.
    """

    listing: Listing
    located: pl.DataFrame
    expected: Mapping[str, list[str]]
    groups: list[range]
    spill: Spill
    unsafe: pl.DataFrame
    missing: pl.DataFrame
    is_excluded: Callable[[str], bool]
    uuid_filenames: bool

    def __iter__(self) -> Iterator[tuple[Disk, pl.DataFrame]]:
        """Yield a part of the archive, and the rows of the datasets that should be in it."""
        for bucket, shards in enumerate(self.groups):
            located = self.located.filter(pl.col(BUCKET) == bucket).drop(BUCKET)
            rows = self.spill.read(bucket)
            named = _list_named(rows, uuid_filenames=self.uuid_filenames)
            yield Disk(self.listing.read(shards), located, self.expected, named), rows


def _list_named(rows: pl.DataFrame, *, uuid_filenames: bool) -> pl.DataFrame | None:
    return rows.select("eid", "id", "rel_path") if uuid_filenames else None


def fill_buckets(
    listing: Listing,
    groups: list[range],
    located: pl.DataFrame,
    expected: Mapping[str, list[str]],
    sessions: pl.DataFrame,
    datasets: Iterator[pl.DataFrame],
    is_excluded: Callable[[str], bool],
    folder: Path,
    *,
    uuid_filenames: bool,
) -> Buckets:
    """Put rows into the bucket of their session, on disk if they are many.

    Of the groups of shards, each located session has the number of its own. Sessions of the tables
    that are not located are missing, with their datasets.
    """
    found = located.filter(~pl.col("is_copy")).drop_nulls("eid")
    by_eid = found.select("eid", BUCKET).sort("eid")
    nothing = listing.read([])
    missing = [find_missing_sessions(Disk(nothing, located, expected), sessions, is_excluded)]
    spill = Spill(folder)
    unsafe = []
    for rows in datasets:
        is_unsafe = rows.select(expr_is_unsafe(pl.col("rel_path"))).to_series()
        unsafe.append(find_unsafe(rows.filter(is_unsafe)))
        near = select_range(by_eid, "eid", rows["eid"])
        wanted = rows.filter(~is_unsafe).join(near, on="eid", how="left", maintain_order="left")
        lost = wanted.filter(pl.col(BUCKET).is_null()).drop(BUCKET)
        named = _list_named(lost, uuid_filenames=uuid_filenames)
        nowhere = Disk(nothing, located.clear(), expected, named)
        missing.append(find_missing(nowhere, lost, is_excluded))
        spill.add(wanted)
    return Buckets(
        listing,
        located,
        expected,
        groups,
        spill,
        pl.concat(unsafe),
        pl.concat(missing),
        is_excluded,
        uuid_filenames,
    )


def sample_rows(datasets: pl.LazyFrame, share: float, seed: int, folder: Path) -> pl.DataFrame:
    """Take a share of datasets at random, one at least; the same for the same seed and rows.

    `folder` takes all rows, if they are many. Errors are those of Polars.
    """
    eids = datasets.group_by("eid").agg(n=pl.len().cast(pl.Int64)).sort("eid")
    counts = eids.collect(engine="streaming")
    n_rows = int(counts["n"].sum())
    chosen = pl.Series(
        sorted(random.Random(seed).sample(range(n_rows), ceil(n_rows * share))), dtype=pl.Int64
    )
    n_buckets = count_buckets(n_rows)
    bucket = (pl.col("n").cum_sum() - pl.col("n")) * n_buckets // max(n_rows, 1)
    buckets = counts.select("eid", bucket.cast(pl.UInt32).alias(BUCKET))
    spill = Spill(folder)
    for rows in read_batches(datasets):
        spill.add(rows.join(buckets, on="eid", how="left", nulls_equal=True, maintain_order="left"))
    picked, start = [], 0
    for number in range(n_buckets):
        ordered = spill.read(number).sort("eid", "id", "rel_path")
        end = start + len(ordered)
        picked.append(ordered[chosen.filter((chosen >= start) & (chosen < end)) - start])
        start = end
    return pl.concat(picked)
