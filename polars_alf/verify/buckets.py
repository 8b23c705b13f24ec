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
from typing import NamedTuple

import polars as pl

from polars_alf.alf.ids import identify
from polars_alf.arrow import copy_texts
from polars_alf.query.columns import expr_is_unsafe
from polars_alf.query.spill import (
    BUCKET,
    Spill,
    count_buckets,
    read_batches,
    select_hashed,
)
from polars_alf.verify.compare import (
    Disk,
    find_missing,
    find_missing_sessions,
    find_unsafe,
)
from polars_alf.walk.scan import Listing


class Located(NamedTuple):
    """The sessions of an archive, and of its tables.

    Parameters
    ----------
    sessions
        Those of the archive, as `locate_sessions` returns them, with ``bucket``.
    gone
        ``eid`` of those that are in the tables alone.
    expected
        As of `Disk`.
    """

    sessions: pl.DataFrame
    gone: pl.DataFrame
    expected: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Buckets:
    """The rows of the tables beside the files that they could mean.

    Parameters
    ----------
    listing
        The archive.
    located
        Its sessions in each bucket, as `locate_sessions` returns them.
    n_sessions, n_known, n_gone
        How many there are, how many of them are in the tables, and how many are in these alone.
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
    located: Spill
    n_sessions: int
    n_known: int
    n_gone: int
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
            rows = self.spill.read(bucket)
            named = _list_named(rows, uuid_filenames=self.uuid_filenames)
            located = self.located.read(bucket)
            yield Disk(self.listing.read(shards), located, self.expected, named), rows


def _list_named(rows: pl.DataFrame, *, uuid_filenames: bool) -> pl.DataFrame | None:
    return rows.select("eid", "id", "rel_path") if uuid_filenames else None


def fill_buckets(
    listing: Listing,
    locate: Callable[[pl.DataFrame], Located],
    datasets: Iterator[pl.DataFrame],
    is_excluded: Callable[[str], bool],
    folder: Path,
    *,
    uuid_filenames: bool,
    find_all: bool,
) -> Buckets:
    """Put rows into the bucket of their session, on disk if they are many.

    `locate` finds the sessions of the tables among the folders of sessions in the archive, which
    have the number of their bucket. Those that it does not find are missing, with their datasets;
    they are findings only if all is to be found.
    """
    groups = listing.group_shards(count_buckets(sum(listing.n_files)))
    located = locate(listing.place_sessions(groups, BUCKET))
    sessions, expected = located.sessions, located.expected
    n_sessions, n_known = len(sessions), sessions["eid"].count()
    n_gone = len(located.gone)
    places = Spill(folder)
    places.add_all(sessions)
    is_found = ~pl.col("is_copy") & pl.col("eid").is_not_null()
    hashed = sessions.filter(is_found).select(BUCKET, key=identify(pl.col("eid"))).sort("key")
    nothing, nowhere = listing.read([]), sessions.clear().drop(BUCKET)
    gone = located.gone if find_all else located.gone.clear()
    missing = [find_missing_sessions(Disk(nothing, nowhere, expected), gone, is_excluded)]
    del located, sessions  # some 100 bytes a session, of which there may be millions
    spill = Spill(folder)
    unsafe = []
    for rows in datasets:
        is_unsafe = rows.select(expr_is_unsafe(pl.col("rel_path"))).to_series()
        unsafe.append(copy_texts(find_unsafe(rows.filter(is_unsafe))))
        near = select_hashed(hashed, rows["eid"])
        wanted = rows.filter(~is_unsafe).join(near, on="eid", how="left", maintain_order="left")
        lost = wanted.filter(pl.col(BUCKET).is_null()).drop(BUCKET)
        named = _list_named(lost, uuid_filenames=uuid_filenames)
        absent = find_missing(Disk(nothing, nowhere, expected, named), lost, is_excluded)
        missing.append(copy_texts(absent))
        spill.add(wanted)
    return Buckets(
        listing,
        places,
        n_sessions,
        n_known,
        n_gone,
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
        here = chosen.filter((chosen >= start) & (chosen < end)) - start
        picked.append(copy_texts(ordered[here]))
        start = end
    return pl.concat(picked)
