"""The rows of an inventory on disk, by the dated folders that they lie in.

A listing may come in any order. Its rows are sorted as far as they fit into memory, and written as
runs, with the first and the last dated folder of every few thousand rows. Where most runs have rows
of the same folders, as of a listing without an order, they are merged, some folders at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.arrow import copy_texts
from polars_alf.walk.inventory_rows import ROWS

ROWS_PER_RUN = 1 << 20
"""Rows that are in memory at a time."""

ROWS_PER_BATCH = 1 << 13
"""Rows that are read at a time: about as many as a shard has."""

_MOST_OVERLAP = 4
"""How often a row may be read, beside those that are wanted, before runs are merged."""

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

_KEY = "key"
"""The dated folder of a row, with a NUL for each slash: so texts have the order of paths."""

_PLACES = pl.Schema(
    {"file": pl.UInt32(), "batch": pl.UInt32(), "first": pl.String(), "last": pl.String()}
)

_ABOVE, _INDEX, _FOLDERS, _ABOUT = "above.arrow", "index.arrow", "folders.arrow", "about.json"


class StoreWriter:
    """Write a store.

    Parameters
    ----------
    folder
        Existing folder, for the files of the store.
    find_dated
        Returns the dated folder that a directory lies in, or is; None for one above the dates.
    """

    def __init__(self, folder: Path, find_dated: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._find_dated = find_dated
        self._waiting: list[pl.DataFrame] = []
        self._n_waiting = 0
        self._n_files = 0
        self._places: list[tuple[int, int, str, str]] = []
        self._above: list[pl.DataFrame] = []
        self._keys: list[pl.Series] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows with the columns ROWS."""
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self._n_waiting >= ROWS_PER_RUN:
            self._sort_waiting()

    def finish(self, about: dict[str, object]) -> None:
        """Write what is left, and what is to be known of all rows."""
        if self._waiting:
            self._sort_waiting()
        if self._count_overlap() > _MOST_OVERLAP:
            self._merge()
        self._write(pl.concat([ROWS.to_frame(), *self._above]), _ABOVE)
        places = pl.DataFrame(self._places, _PLACES, orient="row")
        self._write(places, _INDEX)
        keys = pl.concat([pl.Series(dtype=pl.String), *self._keys]).unique()
        self._write(keys.str.replace_all("\0", "/", literal=True).to_frame("folder"), _FOLDERS)
        (self._folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def _sort_waiting(self) -> None:
        rows = pl.concat(self._waiting)
        self._waiting, self._n_waiting = [], 0
        directories = rows["directory"].unique()
        dated = pl.Series(_KEY, [self._find_dated(path) for path in directories], pl.String)
        dated = dated.str.replace_all("/", "\0", literal=True)
        keys = pl.DataFrame([directories, dated])
        rows = rows.join(keys, on="directory", how="left", maintain_order="left")
        self._above.append(copy_texts(rows.filter(pl.col(_KEY).is_null()).drop(_KEY)))
        rows = rows.drop_nulls(_KEY)
        if len(rows):
            self._keys.append(keys[_KEY].drop_nulls().unique())
            self._write_run(rows)

    def _write_run(self, rows: pl.DataFrame) -> None:
        rows = rows.sort(_KEY, maintain_order=True)
        number = self._n_files
        self._n_files += 1
        self._write(rows, _name_run(number))
        for batch, part in enumerate(rows[_KEY].to_frame().iter_slices(ROWS_PER_BATCH)):
            self._places.append((number, batch, part[_KEY][0], part[_KEY][-1]))

    def _write(self, frame: pl.DataFrame, name: str) -> None:
        schema = frame.clear().to_arrow().schema
        with pa.ipc.new_file(str(self._folder / name), schema, options=_OPTIONS) as writer:
            for part in frame.iter_slices(ROWS_PER_BATCH):
                for batch in part.rechunk().to_arrow().to_batches():
                    writer.write_batch(batch)

    def _count_overlap(self) -> float:
        """Return how many batches have a part of the same folders, on average."""
        if not self._places:
            return 0.0
        firsts = pl.Series([place[2] for place in self._places])
        lasts = pl.Series([place[3] for place in self._places])
        begun = firsts.sort().search_sorted(lasts, "right")
        ended = lasts.sort().search_sorted(firsts, "left")
        return float((begun.cast(pl.Int64) - ended.cast(pl.Int64)).mean())  # type: ignore[arg-type]

    def _merge(self) -> None:
        """Write the runs anew, in such an order that each folder is in one of them."""
        places = pl.DataFrame(self._places, _PLACES, orient="row")
        n_old, self._places = self._n_files, []
        step = max(ROWS_PER_RUN // ROWS_PER_BATCH, 1)
        bounds = places["first"].sort().gather_every(step).unique(maintain_order=True).to_list()
        for low, high in zip(bounds, [*bounds[1:], None], strict=True):
            parts = [*_read_places(self._folder, places, low, high)]
            key = pl.col(_KEY)
            is_inside = (key >= low) if high is None else (key >= low) & (key < high)
            rows = pl.concat(parts).filter(is_inside)
            if len(rows):
                self._write_run(rows)
        for number in range(n_old):
            (self._folder / _name_run(number)).unlink()


class Store:
    """A store that a `StoreWriter` has finished.

    Attributes
    ----------
    about : dict
        What was to be known of all rows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: pl.DataFrame | None = None
        self.about: dict[str, object] = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))

    def read_above(self) -> tuple[pl.DataFrame, list[str]]:
        """Return the rows that lie above the dates, and the dated folders that have rows."""
        above, folders = (pl.concat(_read_all(self._folder / n)) for n in (_ABOVE, _FOLDERS))
        return above, folders["folder"].to_list()

    def read(self, folders: Sequence[str]) -> pl.DataFrame:
        """Return the rows that lie in some dated folders, in the order of the folders."""
        if self._places is None:
            self._places = pl.concat(_read_all(self._folder / _INDEX))
        keys = pl.Series(_KEY, [folder.replace("/", "\0") for folder in folders], pl.String)
        wanted = keys.sort()
        low, high = wanted[0], wanted[-1]
        parts = [ROWS.to_frame().with_columns(pl.lit(None, pl.String).alias(_KEY))]
        is_wanted = pl.col(_KEY).is_in(wanted.implode())
        found = _read_places(self._folder, self._places, low, high, is_closed=True)
        parts += (part.filter(is_wanted) for part in found)
        return pl.concat(parts).drop(_KEY)


def _read_places(
    folder: Path, places: pl.DataFrame, low: str, high: str | None, *, is_closed: bool = False
) -> Iterator[pl.DataFrame]:
    """Yield the batches that may have rows of folders from `low` to `high`."""
    first, last = pl.col("first"), pl.col("last")
    wanted = places.filter(last >= low)
    if high is not None:
        wanted = wanted.filter((first <= high) if is_closed else (first < high))
    for (number,), batches in wanted.group_by("file", maintain_order=True):
        with pa.OSFile(str(folder / _name_run(int(number)))) as source:
            reader = pa.ipc.open_file(source)
            for batch in batches["batch"]:
                yield pl.DataFrame(reader.get_batch(batch))


def _read_all(path: Path) -> list[pl.DataFrame]:
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        empty = pl.DataFrame(pa.Table.from_batches([], reader.schema))
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        return [empty, *map(pl.DataFrame, batches)]


def _name_run(number: int) -> str:
    return f"run-{number}.arrow"
