"""Walk a bucket by its inventory: its keys as a service would list them, without a request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from polars_alf.alf.path_columns import expr_join
from polars_alf.alf.paths import find_subdirectories, join
from polars_alf.alf.root import Root
from polars_alf.bucket.keys import Listed
from polars_alf.bucket.raw_keys import KEYS, Level
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.progress import Counter
from polars_alf.walk.bucket_walker import BucketWalker
from polars_alf.walk.inventory import report_malformed
from polars_alf.walk.inventory_rows import ROWS, Kind
from polars_alf.walk.inventory_store import Store
from polars_alf.walk.known import KnownListings
from polars_alf.walk.options import WalkOptions


class InventoryBucketWalker(BucketWalker):
    """Walk one archive in a bucket by its inventory in a store."""

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        counter: Counter | None = None,
        pacer: Pacer = NO_PACER,
    ) -> None:
        super().__init__(root, options, counter, pacer)
        self._store = Store(Path(options.inventory))
        self._subdirectories: dict[str, list[str]] = {}
        self._above: dict[str, pl.DataFrame] = {}

    def survey(self, known: KnownListings | None = None) -> list[str]:
        """List everything above the dates; return the dated folders, in no particular order."""
        report_malformed(self._store, self._layout)
        rows, folders = self._store.read_above()
        named = expr_join("directory", "name")
        told = rows.filter(pl.col("kind") == int(Kind.FOLDER)).select(named).to_series()
        self._subdirectories = find_subdirectories([*told, *rows["directory"].unique(), *folders])
        parts = rows.partition_by("directory", as_dict=True, maintain_order=True)
        self._above = {str(directory): part for (directory,), part in parts.items()}
        return super().survey()

    async def _list_level(self, folder: str) -> Level:
        rows = self._above.get(folder, ROWS.to_frame())
        starts = [f"{name.partition('/')[0]}/" for name in _select_odd(rows)["name"] if "/" in name]
        whole = [name for name in _select_odd(rows)["name"] if "/" not in name]
        odd = [
            self._service.locate(join(folder, name)) for name in (*dict.fromkeys(starts), *whole)
        ]
        return Level(self._subdirectories.get(folder, []), self._make_keys(rows), odd)

    def _list_below(self, folders: Sequence[str]) -> Listed:
        rows = self._store.read(folders)
        odd = _select_odd(rows).select(expr_join("directory", "name")).to_series()
        return Listed(
            [self._make_keys(rows)],
            [self._service.locate(path) for path in odd],
            may_repeat=True,
        )

    def _make_keys(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the objects among rows as KEYS; a folder's row is one, too: its marker.

        With a full stop in its name it would be taken for a file.
        """
        is_folder = pl.col("kind") == int(Kind.FOLDER)
        is_key = ~is_folder | ~pl.col("name").str.contains(".", literal=True)
        above = f"{self._service.address.folder}/" if self._service.address.folder else ""
        return (
            rows.filter(is_key & (pl.col("kind") != int(Kind.INVALID_NAME)))
            .select(
                path=pl.lit(above) + expr_join("directory", "name"),
                last_modified=pl.from_epoch(pl.col("mtime_ns") // 1000, "us").dt.replace_time_zone(
                    "UTC"
                ),
                size="file_size",
                e_tag="e_tag",
                version="version",
            )
            .cast(KEYS)
        )


def _select_odd(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("kind") == int(Kind.INVALID_NAME))
