"""The rows of the tables that should be in an archive, or in a part of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from polars_alf.alf.path_columns import expr_full
from polars_alf.alf.root import Root
from polars_alf.errors import ForeignTablesError, TableError
from polars_alf.query.scan import choose_header, scan_pair
from polars_alf.query.spill import read_batches
from polars_alf.tables.contract import TableHeader, read_headers
from polars_alf.tables.rows import SESSION_KEY
from polars_alf.verify.buckets import sample_rows
from polars_alf.verify.compare import expr_has_digest
from polars_alf.verify.locate import expect_paths


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows that should be below the root, and the header of the datasets."""

    folder: Path
    sessions: pl.LazyFrame
    datasets: pl.LazyFrame
    header: TableHeader

    def count(self) -> tuple[int, bool]:
        """Return the number of datasets, and whether any has an MD5."""
        figures = self.datasets.select(n=pl.len(), has_digest=expr_has_digest().any())
        with _reading(self.folder):
            n_datasets, has_digest = figures.collect(engine="streaming").row(0)
        return n_datasets, bool(has_digest)

    def sample(self, share: float, seed: int, folder: Path) -> Tables:
        """Return the tables with a share of their datasets."""
        with _reading(self.folder):
            return replace(self, datasets=sample_rows(self.datasets, share, seed, folder).lazy())

    def read_sessions(self) -> pl.DataFrame:
        """Return the sessions."""
        with _reading(self.folder):
            return self.sessions.collect()

    def iter_datasets(self) -> Iterator[pl.DataFrame]:
        """Yield the datasets, some at a time."""
        with _reading(self.folder):
            yield from read_batches(self.datasets)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Re-raise errors of Polars as TableError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables in {folder} cannot be read: {error}") from error


def read_tables(root: Root, folder: Path) -> Tables:
    """Scan the tables of a folder; ForeignTablesError where they are of other archives, too."""
    sessions, datasets = scan_pair(folder)
    headers = read_headers(folder)
    header = choose_header(folder, headers, "datasets")
    sessions = sessions.select("id", *SESSION_KEY)
    datasets = datasets.select("eid", "id", "rel_path", "file_size", "hash", "exists")
    if any(header.databases for header in headers.values()):
        # A database may have sessions of which nothing is on this disk.
        here = datasets.filter(pl.col("exists").ne_missing(other=False)).select("eid").unique()
        sessions = sessions.join(here, left_on="id", right_on="eid", how="semi")
    tables = Tables(folder, sessions, datasets, header)
    origins = [origin for header in headers.values() for origin in header.roots]
    foreign = [origin for origin in origins if root.relate(origin) is None]
    if len(foreign) < len(origins):
        if foreign:
            raise ForeignTablesError(
                f"the tables in {folder} are of {foreign[0]} too, so that it is not known what "
                f"should be in {root}; give tables of that alone"
            )
        return tables
    whole = next((origin for origin in origins if root.path.is_relative_to(origin)), None)
    if whole is not None:
        # Only the sessions that would lie below the root.
        part = "/".join(root.parts[len(whole.parts) :])
        inside = [
            eid
            for eid, paths in expect_paths(tables.read_sessions(), whole.parts, ()).items()
            if any(f"{path}/".startswith(f"{part}/") for path in paths)
        ]
        sessions = sessions.filter(pl.col("id").is_in(inside))
        datasets = datasets.filter(pl.col("eid").is_in(inside))
    return replace(tables, sessions=sessions, datasets=datasets)


def choose_folders(root: Root, tables: Tables, dated: pl.Series) -> pl.Series:
    """Return the dated folders that the datasets could lie in."""
    eids = tables.datasets.select("eid").unique().collect()["eid"]
    wanted = (
        tables.read_sessions()
        .filter(pl.col("id").is_in(eids.implode()))
        .select(pl.concat_str("subject", "date", separator="/").unique().implode())
        .to_series()
    )
    folder = expr_full(root.posix, dated.name)
    # A date or, where the root is a date or a session, a session.
    of_date, of_session = (folder.str.extract(rf"([^/]+/[^/]+){end}$") for end in ("", "/[^/]+"))
    is_wanted = (of_date.is_in(wanted) | of_session.is_in(wanted)).fill_null(value=False)
    return dated.to_frame().filter(is_wanted).to_series()
