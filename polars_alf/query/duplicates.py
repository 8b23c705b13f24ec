"""Datasets that have the same content, found in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_HASHES_PER_PART = 4_000_000
"""Digests that are counted at once: more need more memory, fewer more time."""

_SIZE = pl.col("file_size").cast(pl.Int128)

# Eight bytes instead of the text of a digest and a size.
_KEY = pl.col("hash").hash() ^ pl.col("file_size").fill_null(0).hash()

_MOST_SPARE_FIRST = ("n_bytes_spare", "hash", "file_size")


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Contents that several datasets have.

    Parameters
    ----------
    rows
        ``hash``, ``file_size``, ``datasets``, ``n_bytes_spare`` (Int128, the size of all but one)
        and the ``eid`` and ``rel_path`` of one; the most to spare first.
    n_contents
        Number of all such contents.
    n_bytes_spare
        The size of all but one dataset of each of them.
    """

    rows: pl.DataFrame
    n_contents: int
    n_bytes_spare: int


def find_duplicates(
    datasets: pl.LazyFrame, n_with_hash: int, n_rows: int | None = None
) -> Duplicates:
    """Return the contents that several datasets have, by size and digest, the first `n_rows`.

    The table is read once for each four million of the `n_with_hash` datasets that have a digest,
    and once more for the rows. Errors are those of Polars.
    """
    hashed = datasets.filter(pl.col("hash") != "").select("eid", "rel_path", "hash", "file_size")
    n_parts = -(-n_with_hash // _HASHES_PER_PART)
    found = pl.DataFrame(schema={"key": pl.UInt64, "n_bytes_spare": pl.Int128})
    n_contents = n_bytes_spare = 0
    for part in range(n_parts):
        repeated = (
            hashed.select("file_size", key=_KEY)
            .filter(pl.col("key") % n_parts == part)
            .group_by("key")
            .agg(datasets=pl.len(), file_size=pl.col("file_size").first())
            .filter(pl.col("datasets") > 1)
            .select("key", n_bytes_spare=_SIZE * (pl.col("datasets") - 1))
            .collect(engine="streaming")
        )
        n_contents += len(repeated)
        n_bytes_spare += int(repeated["n_bytes_spare"].sum() or 0)
        found = found.vstack(repeated).sort("n_bytes_spare", descending=True, nulls_last=True)
        found = found.head(len(found) if n_rows is None else n_rows)
    rows = (
        hashed.filter(_KEY.is_in(found["key"].implode()))
        .group_by("hash", "file_size")
        .agg(pl.len().alias("datasets"), pl.col("eid", "rel_path").first())
        .filter(pl.col("datasets") > 1)
        .with_columns(n_bytes_spare=_SIZE * (pl.col("datasets") - 1))
        .sort(*_MOST_SPARE_FIRST, descending=[True, False, False], nulls_last=True)
        .collect(engine="streaming")
    )
    return Duplicates(rows, n_contents, n_bytes_spare)
