"""The archive and the rows of its tables in buckets: some shards of the walk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.prune.claims import (
    FileClaims,
    SessionClaims,
    claim_files,
    claim_sessions,
    list_owners,
)
from polars_alf.prune.tables import Tables
from polars_alf.query.spill import BUCKET, Spill, count_buckets, select_range
from polars_alf.walk.scan import ArchiveFiles, Listing

_OWNER = ["session", "owner", "lab", "subject", "date", "number"]


@dataclass(frozen=True, slots=True)
class Buckets:
    """An archive beside what the rows of its tables mean.

    Parameters
    ----------
    listing
        The archive.
    root
        Its POSIX path.
    groups
        The shards of each bucket.
    claims
        The sessions that rows mean.
    spill
        ``owner`` and ``key`` of the files that rows mean.
    paths, names
        As of `FileClaims`.
    """

    listing: Listing
    root: str
    groups: list[range]
    claims: SessionClaims
    spill: Spill
    paths: pl.DataFrame
    names: pl.DataFrame

    def __iter__(self) -> Iterator[tuple[ArchiveFiles, pl.LazyFrame, FileClaims]]:
        """Yield a part of the archive, its owners as of `list_owners`, and what is claimed."""
        for bucket, shards in enumerate(self.groups):
            files = self.listing.read(shards)
            owners = list_owners(files.directories.lazy(), self.root).collect().lazy()
            claimed = self.spill.read(bucket).unique()
            yield files, owners, FileClaims(claimed, self.paths, self.names)


def fill_buckets(
    listing: Listing, root: str, tables: Tables, folder: Path
) -> tuple[Buckets, pl.Series]:
    """Put what rows mean into the bucket of its session, on disk if it is much.

    Returns the folders of all sessions, too.
    """
    groups = listing.group_shards(count_buckets(sum(listing.n_files)))
    owners = pl.concat(
        list_owners(listing.read_directories(shards).lazy(), root).select(_OWNER).unique().collect()
        for shards in groups
    )
    claims = claim_sessions(owners, tables.sessions, tables.list_eids())
    buckets = (
        owners.select("session", "owner")
        .join(listing.place_sessions(groups, BUCKET), on="session")
        .select("owner", BUCKET)
        .unique()
    )
    by_eid = claims.owners.join(buckets, on="owner").drop_nulls("eid").sort("eid")
    eids = claims.eids.drop_nulls("eid").sort("eid")
    spill = Spill(folder)
    paths, names = [], []
    for rows in tables.iter_datasets():
        near = select_range(by_eid, "eid", rows["eid"])
        found = claim_files(near, select_range(eids, "eid", rows["eid"]), rows)
        spill.add(found.files)
        paths.append(found.paths)
        names.append(found.names)
    filled = Buckets(
        listing,
        root,
        groups,
        claims,
        spill,
        pl.concat(paths).unique(),
        pl.concat(names).unique(),
    )
    return filled, owners["session"].unique()
