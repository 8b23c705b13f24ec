"""An archive that is not there: entries as a walk yields them, for as many files as are wanted.

The root is called ``<anything>-<sessions>x<files>``; workers learn from its name what to make.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from polars_alf.alf.root import Root
from polars_alf.arrow import make_table
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.progress import Counter
from polars_alf.schema import DIRECTORIES, ENTRIES, ISSUES, LISTINGS
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import ROWS_PER_BATCH

TAKE_ITS_PLACE = f"""
import sys
from polars_alf.alf.process_limits import save_memory
save_memory()  # as the command does
sys.path.insert(0, {str(Path(__file__).parent)!r})
from polars_alf.walk import sources
from synthetic import SyntheticWalker
sources.Walker = SyntheticWalker
"""
"""Code that has another process walk a synthetic archive."""

DAYS = 100
COLLECTIONS = ("", "/alf", "/alf/probe00", "/alf/probe01", "/raw_ephys_data", "/raw_video_data")


class SyntheticWalker:
    """Makes entries where a `polars_alf.walk.walker.Walker` would look for them."""

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        counter: Counter | None = None,
        *,
        n_threads: int = 1,
        pacer: Pacer = NO_PACER,
    ) -> None:
        self.root = root
        sizes = root.path.name.rpartition("-")[2]
        self.n_sessions, self.n_files = (int(number) for number in sizes.split("x"))
        self.counter = counter or Counter()
        self.pacer = pacer
        self.begun_ns = time.time_ns()
        self.n_other_files = 0
        self._directories: list[tuple[str, str]] = []

    def survey(self, known: object = None) -> list[str]:
        """Return one unit a session: a subject has a hundred, a day each."""
        first = date(2000, 1, 1)
        days = [first + timedelta(days=n) for n in range(DAYS)]
        return [
            f"lab{subject % 20:02}/Subjects/S{subject:06}/{days[day]}"
            for subject, day in (divmod(n, DAYS) for n in range(self.n_sessions))
        ]

    def walk(self, units: Sequence[str], known: object = None) -> Iterator[pa.RecordBatch]:
        """Yield ENTRIES, in batches of about the size that the real one has."""
        step = max(ROWS_PER_BATCH // self.n_files, 1)
        for start in range(0, len(units), step):
            yield self._make_batch([f"{unit}/001" for unit in units[start : start + step]])

    def _make_batch(self, sessions: Sequence[str]) -> pa.RecordBatch:
        n_rows = len(sessions) * self.n_files
        places = [(f"{session}{below}", session) for session in sessions for below in COLLECTIONS]
        self._directories += places
        self.counter.add(files=n_rows, sessions=len(sessions))
        rows = np.arange(n_rows, dtype=np.int32)
        session, file = np.divmod(rows, self.n_files)
        directory = session * len(COLLECTIONS) + file * len(COLLECTIONS) // self.n_files
        names = [f"_ibl_object{n}.attribute{n}.npy" for n in range(self.n_files)]
        columns = [
            pa.DictionaryArray.from_arrays(
                _numbers(directory.astype(np.int32)), _strings([place for place, _ in places])
            ),
            pa.DictionaryArray.from_arrays(_numbers(file), _strings(names)),
            # The same in whatever batch a session is.
            _numbers(file.astype(np.uint64)),
            _numbers(file.astype(np.int64)),
            _numbers(rows.astype(np.uint64)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=ENTRIES)

    def directories(self) -> pa.Table:
        """Return DIRECTORIES of what was walked."""
        return make_table(self._directories, DIRECTORIES)

    def listings(self) -> pa.Table:
        """Return LISTINGS: none."""
        return make_table([], LISTINGS)

    def issues(self) -> pa.Table:
        """Return ISSUES: none."""
        return make_table([], ISSUES)


def _strings(values: Sequence[str]) -> pa.Array:
    return pl.Series(values, dtype=pl.String).to_arrow().cast(pa.string())


def _numbers(values: np.ndarray) -> pa.Array:
    return pl.Series(values).to_arrow()
