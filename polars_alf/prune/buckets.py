"""The archive and the rows of its tables in buckets: some shards of the walk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.arrow import copy_texts
from polars_alf.prune.claims import FileClaims, claim_files, claim_sessions, list_owners
from polars_alf.prune.tables import Tables
from polars_alf.query.spill import BUCKET, Spill, count_buckets, select_hashed, select_range
from polars_alf.walk.scan import ArchiveFiles, Listing


@dataclass(frozen=True, slots=True)
class Part:
    """Some shards of an archive, and what rows of its tables claim there.

    Parameters
    ----------
    files
        What the shards hold.
    owners
        As of `list_owners`, with ``code``.
    claims
        The files that rows mean.
    with_row
        ``session``: those that have a row.
    """

    files: ArchiveFiles
    owners: pl.DataFrame
    claims: FileClaims
    with_row: pl.DataFrame


class Buckets:
    """An archive beside what the rows of its tables mean.

    Parameters
    ----------
    listing
        The archive.
    root
        Its POSIX path.
    tables
        Its tables.
    folder
        Takes what is much.

    Attributes
    ----------
    belong : bool
        Whether the tables and the archive have a session in common, its lab included.
    paths, names : polars.DataFrame
        As of `FileClaims`.
    """

    def __init__(self, listing: Listing, root: str, tables: Tables, folder: Path) -> None:
        self.listing = listing
        self.groups = listing.group_shards(count_buckets(sum(listing.n_files)))
        self._root = root
        # The sessions of a billion files are millions: of each there is a code in memory, and, as
        # long as rows are read, a hash of the id that means it.
        self._starts = [0]
        claims = claim_sessions(
            self._list_owners(),
            tables.iter_sessions(),
            tables.iter_eids(),
            listing.n_sessions,
            folder,
        )
        self.belong = claims.belong
        self._names_all = claims.names_all
        self._spill = Spill(folder)
        starts = pl.Series(self._starts, dtype=pl.UInt32)
        paths, names = [], []
        for rows in tables.iter_datasets():
            found = claim_files(select_hashed(claims.owners, rows["eid"]), rows)
            bucket = starts.search_sorted(found.files["code"], side="right") - 1
            self._spill.add(found.files.with_columns(bucket.alias(BUCKET)))
            paths.append(copy_texts(found.paths))
            names.append(copy_texts(found.names))
        self.paths = pl.concat(paths).unique()
        self.names = pl.concat(names).unique()
        self._with_row = claims.owners.select("code").drop_nulls().unique().sort("code")

    def __iter__(self) -> Iterator[Part]:
        """Yield part after part of the archive."""
        for bucket, shards in enumerate(self.groups):
            files = self.listing.read(shards)
            owners = self._code_owners(bucket, files.directories)
            claims = FileClaims(self._spill.read(bucket).unique(), self.paths, self.names)
            yield Part(files, owners, claims, self._select_with_row(owners))

    def iter_sessions(self, *, with_row: bool) -> Iterator[str]:
        """Yield the sessions that have a row, or the others."""
        for bucket, shards in enumerate(self.groups):
            owners = self._code_owners(bucket, self.listing.read_directories(shards))
            known = self._select_with_row(owners)
            sessions = owners.select("session").unique(maintain_order=True)
            yield from sessions.join(
                known, on="session", how="semi" if with_row else "anti", maintain_order="left"
            ).to_series()

    def _list_owners(self) -> Iterator[pl.DataFrame]:
        for bucket, shards in enumerate(self.groups):
            owners = self._code_owners(bucket, self.listing.read_directories(shards))
            codes = owners.select("code", "lab", "subject", "date", "number").unique()
            self._starts.append(self._starts[bucket] + len(codes))
            yield codes

    def _code_owners(self, bucket: int, directories: pl.DataFrame) -> pl.DataFrame:
        """List the owners of a bucket's directories, each with the same code whenever it is."""
        owners = list_owners(directories.lazy(), self._root).collect()
        codes = owners.select("owner").unique().sort("owner")
        return owners.join(codes.with_row_index("code", self._starts[bucket]), on="owner")

    def _select_with_row(self, owners: pl.DataFrame) -> pl.DataFrame:
        if self._names_all:
            return owners.select("session").unique()
        near = select_range(self._with_row, "code", owners["code"])
        return owners.join(near, on="code", how="semi").select("session").unique()
