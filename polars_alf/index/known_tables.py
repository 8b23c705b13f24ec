"""The tables whose rows an index knows: opened, and what people and databases wrote in them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from polars_alf.alf.ids import expr_uuid3
from polars_alf.alf.paths import printable
from polars_alf.alf.uuid_names import expr_without_uuid
from polars_alf.errors import TableError, TableNotFoundError
from polars_alf.index.report import read_settings
from polars_alf.query.revisions import keep_own_choices
from polars_alf.query.scan import ORIGIN, scan_datasets, scan_sessions
from polars_alf.schema import DIGEST_COLUMNS, TABLES, IssueKind, polars_schema
from polars_alf.tables.contract import TableHeader, read_headers
from polars_alf.tables.files import REPAIR_ADVICE
from polars_alf.tables.foreign import Columns, have_values, list_foreign, mark_columns
from polars_alf.tables.named_rows import IS_NAMED
from polars_alf.tables.parquet import find_damage

WRITTEN = {"sessions": {"task_protocol": "", "projects": ""}, "datasets": {"qc": "NOT_SET"}}
"""Columns of ours that others write, and their value where nobody did."""

Issue = tuple[object, ...]
"""A row of ISSUES."""

_UUID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class KnownTables:
    """Tables that know rows: `is_own` are those that are there, `is_given` those whose ids win.

    Rows without a file on this disk stay if `keeps_missing`. If `keeps_choices`, each default
    revision that they choose stays; else only those that are not by the rule.
    """

    folder: Path
    is_own: bool
    is_given: bool
    keeps_missing: bool
    keeps_choices: bool
    headers: Sequence[TableHeader]
    sessions: pl.LazyFrame
    datasets: pl.LazyFrame

    @property
    def is_database(self) -> bool:
        """Whether they come from a database: ONE records its name, or address, as an origin."""
        return _are_of_database(self.headers)

    @property
    def has_named_ids(self) -> bool:
        """Whether ids are in the names of files, which their paths do not have."""
        return any(header.uuid_filenames for header in self.headers)

    def select_datasets(self, columns: Columns, *, without_uuids: bool) -> pl.LazyFrame:
        """Return what they say of datasets, with ``known_eid`` and ``known``, their ids.

        Paths go without the UUIDs in names if `without_uuids`.
        """
        path = pl.col("rel_path")
        if without_uuids and not self.has_named_ids:
            path = expr_without_uuid(path)
        return self.datasets.drop_nulls("rel_path").select(
            *self.select_written("datasets", columns),
            path,
            "file_size",
            "hash",
            known_eid="eid",
            known="id",
        )

    def list_columns(self, name: str) -> Columns:
        """Return the columns of a table that are not ours."""
        frame = self.sessions if name == "sessions" else self.datasets
        ours = (*TABLES[name].names, *DIGEST_COLUMNS.values(), ORIGIN)
        return list_foreign(frame.collect_schema(), ours)

    def select_written(self, name: str, columns: Columns) -> list[pl.Expr]:
        """Return what others may have written in a table: null where they did not.

        `columns` are those that are not ours, of all tables; their names are marked.
        """
        frame = self.sessions if name == "sessions" else self.datasets
        own = [
            pl.when(pl.col(column).cast(pl.String) != value)
            .then(pl.col(column).cast(pl.String))
            .alias(column)
            for column, value in WRITTEN[name].items()
        ]
        return [*own, *mark_columns(frame.collect_schema(), columns)]


def open_known_tables(
    own: Path | None,
    given: Sequence[Path],
    *,
    took_ids: bool,
    keep_missing: bool,
) -> list[KnownTables]:
    """Open the tables whose rows are to be kept, and check that they can be read.

    `own` is the folder of the tables that are there, None where nothing of them is to be kept;
    `took_ids` is whether their ids came from others, and `keep_missing` whether, if they are a
    database's, rows of databases without a file on this disk stay. `given` are folders whose ids
    and values win. Raises TableError where a table cannot be read, or one that is there is damaged.
    """
    if own and (damage := find_damage(own)):
        raise damage[0]
    keep = keep_missing and own is not None and _are_of_database([*read_headers(own).values()])
    folders = list(dict.fromkeys((*given, *([] if own is None else [own]))))
    opened = []
    for folder in folders:
        tables = _open(folder, is_own=folder == own, is_given=folder in given, keep=keep)
        tables = _drop_computed(tables)
        is_plain = not (tables.is_given or took_ids or _are_of_others(tables))
        if not is_plain or _has_other_ids(tables) or _says_something(tables):
            _check_rows(tables)
            opened.append(tables)
    return opened


def _open(folder: Path, *, is_own: bool, is_given: bool, keep: bool) -> KnownTables:
    frames = []
    for name, scan in (("sessions", scan_sessions), ("datasets", scan_datasets)):
        try:
            frames.append(scan(folder))
        except TableNotFoundError:
            if is_given:
                raise
            frames.append(polars_schema(TABLES[name]).to_frame().lazy())
    headers = [*read_headers(folder).values()]
    is_database = _are_of_database(headers)
    are_chosen = is_database or bool(read_settings(folder).get("keeps_choices"))
    are_chosen |= is_given and any(header.generation is None for header in headers)
    return KnownTables(folder, is_own, is_given, keep and is_database, are_chosen, headers, *frames)


def _drop_computed(tables: KnownTables) -> KnownTables:
    """Leave out default revisions that an index has computed, and can compute anew."""
    if tables.keeps_choices:
        return tables
    with _reading(tables.folder):
        return replace(tables, datasets=keep_own_choices(tables.datasets))


def _are_of_database(headers: Sequence[TableHeader]) -> bool:
    return any(header.databases for header in headers)


def _are_of_others(tables: KnownTables) -> bool:
    return tables.is_database or any(header.generation is None for header in tables.headers)


def _has_other_ids(tables: KnownTables) -> bool:
    """Whether sessions have UUIDs that are not of the tables' namespace, as in merged tables."""
    namespace = next((header.namespace for header in tables.headers if header.namespace), None)
    if namespace is None:
        return False
    parts = [
        pl.col("subject"),
        pl.col("date").cast(pl.String),
        pl.col("number").cast(pl.String).str.zfill(3),
    ]
    named = tables.sessions.filter(pl.col("id").str.len_chars() == _UUID_LENGTH).select(
        "id",
        below=pl.concat_str(parts, separator="/"),
        name=pl.concat_str([pl.col("lab"), *parts], separator="/"),
    )
    own = [pl.col("id") == expr_uuid3(pl.col(name), namespace) for name in ("name", "below")]
    (found,) = _collect(tables, [named.select((~pl.any_horizontal(own)).any())])
    return bool(found.item())


def _says_something(tables: KnownTables) -> bool:
    """Whether tables of ours have columns that are not, or values that others wrote."""
    if tables.list_columns("sessions") or tables.list_columns("datasets"):
        return True
    written = [
        frame.select(
            pl.any_horizontal(
                column.is_not_null() for column in tables.select_written(name, {})
            ).any()
        )
        for name, frame in (("sessions", tables.sessions), ("datasets", tables.datasets))
    ]
    return any(bool(found.item()) for found in _collect(tables, written))


def _check_rows(tables: KnownTables) -> None:
    """Read all rows once: damage is better found now than after a long walk."""
    _collect(tables, [frame.select(pl.all().null_count()) for frame in _frames(tables)])


def _frames(tables: KnownTables) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    return tables.sessions, tables.datasets


def _collect(tables: KnownTables, frames: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
    with _reading(tables.folder):
        return pl.collect_all(frames, engine="streaming")


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Re-raise errors of Polars as TableError."""
    try:
        yield
    except pl.exceptions.InvalidOperationError as error:
        raise TableError(
            f"a value in the tables in {folder} is not what its column has: "
            f"{str(error).splitlines()[0]}"
        ) from error
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"the tables in {folder} cannot be read: {error}; {REPAIR_ADVICE}"
        ) from error


def take_first(
    known: pl.DataFrame,
    key: list[str],
    columns: Sequence[str],
    more: Mapping[str, pl.Expr] | None = None,
) -> pl.DataFrame:
    """Return, for each key, the first value of each column that says something.

    Of `more` it is the first of the values that each expression gives.
    """
    first = [pl.col(column).drop_nulls().first() for column in columns]
    first += [values.first().alias(name) for name, values in (more or {}).items()]
    return known.sort("source", maintain_order=True).group_by(key, maintain_order=True).agg(first)


def count_kept(joined: pl.DataFrame, table: str, foreign: Columns) -> int:
    """Return the number of rows of which something is known that others wrote."""
    own = [pl.col(f"{column}_").is_not_null() for column in WRITTEN[table]]
    return int(joined.select(pl.any_horizontal(*own, *have_values(foreign)).sum()).item())


def prefer_known(own: pl.DataFrame, table: str) -> list[pl.Expr]:
    """Return the columns that others write, as known (with a suffix) or else as they are."""
    return [
        pl.coalesce(pl.col(f"{column}_").cast(own.schema[column]), column).alias(column)
        for column in WRITTEN[table]
    ]


def report_renamed(rows: pl.DataFrame) -> list[Issue]:
    """Return ISSUES of datasets whose files are named by other ids than the tables given have."""
    differs = pl.col(IS_NAMED) & pl.col("is_given") & (pl.col("known") != pl.col("id"))
    found = rows.filter(differs).select("rel_path", "id", "known")
    return [
        (
            printable(path),
            IssueKind.AMBIGUOUS_ID.value,
            None,
            f"its id is {known} in the tables given, and {named} in the name of its file, which "
            "was taken; rename the file, or give tables of this archive",
        )
        for path, named, known in found.iter_rows()
    ]


def return_repeated(
    rows: pl.DataFrame,
    key: Sequence[str],
    issues: list[Issue],
    describe: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows,
) -> pl.DataFrame:
    """Give rows their ``own`` id back where the known one is also that of another; add ISSUES.

    `describe` makes of such rows those that `report_repeated` takes.
    """
    is_repeated = pl.struct(key).is_duplicated() & (pl.col("id") != pl.col("own"))
    while len(repeated := rows.filter(is_repeated)):
        issues += report_repeated(describe(repeated))
        rows = rows.with_columns(id=pl.when(is_repeated).then("own").otherwise("id"))
    return rows


def report_repeated(rows: pl.DataFrame) -> Iterator[Issue]:
    """Yield ISSUES of rows whose known ``id`` is also that of another."""
    for row in rows.iter_rows(named=True):
        path = row.get("session") or row.get("rel_path", "")
        yield _describe_ambiguous(path, f"the id {row['id']!r} is also that of another")


def report_unclear(rows: pl.DataFrame) -> Iterator[Issue]:
    """Yield ISSUES of paths and known ids of which one has several of the other."""
    for path, known in rows.iter_rows():
        what = f"its id {known!r} stands for several paths, or it has several"
        yield _describe_ambiguous(path, what)


def _describe_ambiguous(path: str, what: str) -> Issue:
    message = f"{what}, so it keeps the id that follows from its path; mend the tables it is in"
    return printable(path) or ".", IssueKind.AMBIGUOUS_ID.value, None, printable(message)


def list_ranks(tables: Sequence[KnownTables], quality: str) -> list[int]:
    """Return the positions of the tables that have a quality."""
    return [rank for rank, each in enumerate(tables) if getattr(each, quality)]
