"""Parquet files of any program, read so that damage is a TableError and never a crash.

Polars reads Parquet fastest, but there are damaged files that end its process: it asks for as much
memory as a header says. So it reads the files whose checksums are right, and Arrow's own reader,
which handles damage better, reads all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import SEEK_END, BufferedReader
from itertools import accumulate, groupby
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from polars_alf.arrow import make_table
from polars_alf.errors import TableError, TableNotFoundError
from polars_alf.parallel.lazy_frames import make_lazy_frame
from polars_alf.schema import TABLES
from polars_alf.tables.arrow_types import make_frame, simplify_columns
from polars_alf.tables.checksums import Checksums, check_columns, read_checksums, read_footer_size
from polars_alf.tables.files import REPAIR_ADVICE, advise_repair, table_path

MOST_FOOTER_BYTES = 1 << 24
"""Ten times the footer of a table of 100 million datasets."""

_ROWS_PER_BATCH = 1 << 14
"""Polars reads some 40 frames ahead where somebody takes the rows slowly, whatever their size."""

# A thread of Arrow's that lets go of an object of Python's while the interpreter ends takes the
# process along (apache/arrow#34314): none of them is given a file or a buffer of Python's,
# neither to read ahead nor, in `_read_foreign`, to read columns side by side.
_OPTIONS = {"page_checksum_verification": True, "pre_buffer": False}

# Readers have been seen to raise all kinds of errors from damaged files.
_ANY_ERROR = (Exception, pl.exceptions.PanicException)


@dataclass(frozen=True, slots=True)
class TableFile:
    """A Parquet file that stays open, so that it is read to its end even if it is replaced."""

    path: Path
    file: BufferedReader
    parquet: pq.ParquetFile
    checksums: Checksums | None
    """None where another program wrote the file."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the file, with all metadata of its footer.

        Arrow leaves that out where the writer noted an Arrow schema beside it, as Polars does.
        """
        schema = self.parquet.schema_arrow
        noted = {**(self.parquet.metadata.metadata or {}), **(schema.metadata or {})}
        noted.pop(b"ARROW:schema", None)
        return schema.with_metadata(noted)

    @property
    def groups(self) -> range:
        """Positions of the row groups."""
        return range(self.parquet.num_row_groups)

    def check(self, groups: Sequence[int], columns: Sequence[str]) -> None:
        """Raise TableError where the checksum of a column of a row group is wrong."""
        if self.checksums is not None:
            names = self.parquet.schema_arrow.names
            positions = [position for position, name in enumerate(names) if name in columns]
            with _reporting_damage(self.path):
                check_columns(self.file, self.path, self.checksums, groups, positions)

    def read(self) -> pa.Table:
        """Read the whole table, its columns as of `simplify_columns`."""
        self.check(self.groups, self.parquet.schema_arrow.names)
        with _reporting_damage(self.path):
            parquet = pq.ParquetFile(
                _read_file(self.file), metadata=self.parquet.metadata, **_OPTIONS
            )
            table = parquet.read().replace_schema_metadata(self.schema.metadata)
            if self.checksums is None:
                table.validate(full=True)
                table = simplify_columns(table)
            return table


def find_damage(folder: Path, names: Iterable[str] = TABLES) -> list[TableError]:
    """Return the errors of the tables of a folder that cannot be read, or are damaged anywhere.

    Of a file that another program wrote, no more is read than the footer.
    """
    found = []
    for path in (table_path(folder, name) for name in names):
        try:
            with open_table(path) as table:
                table.check(table.groups, table.parquet.schema_arrow.names)
        except TableNotFoundError:
            continue
        except TableError as error:
            found.append(error)
    return found


@contextmanager
def open_table(path: Path) -> Iterator[TableFile]:
    """Open a Parquet file and read its footer.

    Raises TableNotFoundError where there is no file, and TableError where it cannot be read.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except FileNotFoundError as error:
            raise TableNotFoundError(f"there is no table {path}; index an archive first") from error
        except OSError as error:
            raise TableError(
                f"{path} is no readable table: {error}; {advise_repair(error)}"
            ) from error
        with _reporting_damage(path, "is no readable table"):
            _check_footer_size(file)
            parquet = pq.ParquetFile(file, **_OPTIONS)
            table = TableFile(path, file, parquet, read_checksums(file, path, parquet.metadata))
        yield table


def _check_footer_size(file: BufferedReader) -> None:
    # Arrow makes several copies of a footer, and ends the process where memory is too short.
    size = read_footer_size(file)
    if size > MOST_FOOTER_BYTES:
        raise ValueError(f"its footer has {size:,} bytes, and no table's has {MOST_FOOTER_BYTES:,}")
    file.seek(0)


def _read_file(file: BufferedReader) -> pa.Buffer:
    """Read a whole file into memory of Arrow's, which its threads may share."""
    content = pa.allocate_buffer(file.seek(0, SEEK_END))
    file.seek(0)
    n_read = file.readinto(content)
    return content.slice(0, n_read)


@contextmanager
def _reporting_damage(path: Path, what: str = "is damaged") -> Iterator[None]:
    """Re-raise any error as TableError naming the file."""
    try:
        yield
    except TableError:
        raise
    except _ANY_ERROR as error:
        raise TableError(f"{path} {what}: {error}; {REPAIR_ADVICE}") from error


def scan_table(path: Path) -> pl.LazyFrame:
    """Scan a Parquet file, its columns as of `simplify_columns`; damage shows in a query.

    Only the columns that a query needs are read and, where the table has checksums, the row
    groups. Raises the errors of `open_table`.
    """
    with open_table(path) as table:
        schema = _find_schema(table)

    def read(
        columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        with open_table(path) as table:
            if _find_schema(table) != schema:
                raise TableError(f"{path} was replaced by another table; scan it again")
            wanted = _name_columns(schema, columns, predicate)
            if table.checksums is None:
                # Of all row groups: Arrow ends the process where a damaged footer is asked for
                # its statistics.
                frames = _read_foreign(table, wanted, n_rows)
            else:
                # A limit is on all rows, not on those for which the predicate is true.
                groups = table.groups if n_rows else _choose_groups(table, schema, predicate)
                frames = _read_own(table, groups, wanted, n_rows, predicate)
            for frame in frames:
                found = frame if predicate is None or table.checksums else frame.filter(predicate)
                yield found if columns is None else found.select(columns)

    return make_lazy_frame(read, schema, is_pure=True)


def _find_schema(table: TableFile) -> pl.Schema:
    if table.checksums is not None:
        return _scan_file(table).collect_schema()
    with _reporting_damage(table.path, "has types that no table has"):
        return make_frame(simplify_columns(make_table([], table.parquet.schema_arrow))).schema


def _scan_file(table: TableFile) -> pl.LazyFrame:
    table.file.seek(0)
    return pl.scan_parquet(table.file, glob=False, hive_partitioning=False)


def _name_columns(
    schema: pl.Schema, columns: Sequence[str] | None, predicate: pl.Expr | None
) -> list[str]:
    """Return the columns to read, in the order of the file."""
    if columns is None:
        return schema.names()
    needed = {*columns, *(predicate.meta.root_names() if predicate is not None else ())}
    # Without any column there would be no rows to count.
    return [name for name in schema if name in needed] or schema.names()[:1]


def _read_own(
    table: TableFile,
    groups: Sequence[int],
    columns: Sequence[str],
    n_rows: int | None,
    predicate: pl.Expr | None,
) -> Iterator[pl.DataFrame]:
    table.check(groups, columns)
    frame = _scan_file(table).select(columns)
    if len(groups) < len(table.groups):
        parts = [frame.slice(*rows) for rows in _list_rows(table, groups)]
        frame = pl.concat(parts or [frame.head(0)])
    if n_rows is not None:
        frame = frame.head(n_rows)
    if predicate is not None:
        frame = frame.filter(predicate)
    yield from frame.collect_batches(chunk_size=_ROWS_PER_BATCH, maintain_order=True)


def _read_foreign(
    table: TableFile, columns: Sequence[str], n_rows: int | None
) -> Iterator[pl.DataFrame]:
    with _reporting_damage(table.path):
        for batch in table.parquet.iter_batches(
            _ROWS_PER_BATCH, columns=[*columns], use_threads=False
        ):
            # Texts that are not UTF-8, and codes of no category, would do harm later on.
            batch.validate(full=True)
            frame = make_frame(simplify_columns(batch))
            frame = frame if n_rows is None else frame.head(n_rows)
            yield frame
            if n_rows is not None:
                n_rows -= len(frame)
                if n_rows <= 0:
                    return


def _choose_groups(table: TableFile, schema: pl.Schema, predicate: pl.Expr | None) -> Sequence[int]:
    """Return the row groups that may have rows for which a predicate is true."""
    if predicate is None or len(table.groups) < 2:
        return table.groups
    try:
        skips = predicate._skip_batch_predicate(schema)
        if skips is None:
            return table.groups
        statistics = _read_statistics(table, schema, predicate.meta.root_names())
        is_needless = statistics.select(skips.fill_null(value=False)).to_series()
    except _ANY_ERROR:  # statistics only save some reading
        return table.groups
    return [group for group, skipped in enumerate(is_needless) if not skipped]


def _read_statistics(table: TableFile, schema: pl.Schema, columns: Sequence[str]) -> pl.DataFrame:
    """Return ``len`` of row groups, and ``_min``, ``_max`` and ``_nc`` (nulls) of columns."""
    metadata = table.parquet.metadata
    groups = [metadata.row_group(group) for group in table.groups]
    found = {"len": pl.Series([group.num_rows for group in groups], dtype=pl.UInt32)}
    leaves = {metadata.schema.column(leaf).path: leaf for leaf in range(metadata.num_columns)}
    for name in set(columns):
        known = [group.column(leaves[name]).statistics for group in groups]
        bounds = [(s.min, s.max) if s and s.has_min_max else (None, None) for s in known]
        nulls = [s.null_count if s and s.has_null_count else None for s in known]
        found[f"{name}_min"] = pl.Series([lowest for lowest, _ in bounds], dtype=schema[name])
        found[f"{name}_max"] = pl.Series([highest for _, highest in bounds], dtype=schema[name])
        found[f"{name}_nc"] = pl.Series(nulls, dtype=pl.UInt32)
    return pl.DataFrame(found)


def _list_rows(table: TableFile, groups: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of rows of row groups, neighbours together."""
    counts = [table.parquet.metadata.row_group(group).num_rows for group in table.groups]
    starts = [0, *accumulate(counts)]
    for _, run in groupby(enumerate(groups), lambda pair: pair[1] - pair[0]):
        members = [group for _, group in run]
        first, end = starts[members[0]], starts[members[-1] + 1]
        yield first, end - first
