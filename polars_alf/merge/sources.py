"""The tables to merge, from folders or frames, in the order of preference."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import polars as pl
import pyarrow as pa

from polars_alf.alf.arguments import check_argument
from polars_alf.alf.ids import make_namespace
from polars_alf.display import warn_caller
from polars_alf.errors import OptionError, TableError, TableWarning
from polars_alf.query.scan import Pair, choose_header, find_folders, is_pair, scan_pair
from polars_alf.schema import ISSUES, TABLES, polars_schema
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import issues_path, scan_issues
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.foreign import Columns, list_foreign, mark_columns, merge_columns
from polars_alf.tables.transaction import wait_for_commit

Keep = Literal["first", "newest"]
"""Which of several duplicates `polars_alf.merge_tables` keeps."""

KEEPS: tuple[Keep, ...] = get_args(Keep)

Mergeable: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Pair]"

RANK = "rank"
"""Column of the index of a row's tables among the sources; the smallest is preferred."""

# Values that an index gives to columns that a table lacks.
_UNKNOWN = {
    "lab": "",
    "task_protocol": "",
    "projects": "",
    "hash": "",
    "exists": True,
    "qc": "NOT_SET",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One pair of tables to merge.

    Parameters
    ----------
    name
        Their folder, or the position of frames.
    sessions, datasets
        SESSIONS and DATASETS, of which only numbers may be null, and the columns that are not
        ours, of all sources, with marked names (`polars_alf.tables.foreign`).
    columns
        Those columns, by table.
    created
        When they were made, to the minute, and when written, in ns; None for frames.
    origins
        Roots of their archives, as ONE records them.
    namespace
        Namespace of their ids; None if unknown.
    uuid_filenames
        Whether their ids are in the names of files.
    folder, fingerprint
        Their folder and the fingerprint of its files; None for frames.
    """

    name: str
    sessions: pl.LazyFrame
    datasets: pl.LazyFrame
    columns: Mapping[str, Columns]
    created: tuple[datetime, int] | None = None
    origins: tuple[str, ...] = ()
    namespace: uuid.UUID | None = None
    uuid_filenames: bool = False
    folder: Path | None = None
    fingerprint: str | None = None


def find_sources(tables: Mergeable, keep: str) -> list[Source]:
    """Open the tables that a caller names, in the order of preference.

    Raises OptionError where there are none, an item is neither a folder nor a pair of frames, or
    frames would have to be compared by age; otherwise as `polars_alf.scan_sessions`.
    """
    if check_argument("keep", keep, str) not in KEEPS:
        raise OptionError(f"keep={keep!r} is unknown; give one of {', '.join(KEEPS)}")
    if not isinstance(tables, str | os.PathLike | Iterable):
        raise OptionError(f"{tables!r} are no tables to merge; give folders, or pairs of frames")
    items = [tables] if isinstance(tables, str | os.PathLike) or is_pair(tables) else list(tables)
    sources: list[Source] = []
    for item in items:
        if isinstance(item, str | os.PathLike):
            known = {source.folder for source in sources}
            sources += map(_open_folder, [f for f in find_folders(item) if f not in known])
        else:
            sources.append(_wrap_frames(item, f"frames {len(sources) + 1}"))
    if not sources:
        raise OptionError("no tables to merge were given; give one folder at least")
    sources = _align(sources)
    if keep == "first":
        return sources
    dated = [(source.created, source) for source in sources if source.created]
    if len(dated) < len(sources):
        raise OptionError("frames do not say when they were made; keep the first of duplicates")
    # The sort is stable also when reversed: of the same age, the first given.
    return [source for _, source in sorted(dated, key=lambda pair: pair[0], reverse=True)]


def check_present(rows: pl.DataFrame, table: str, column: str, sources: Sequence[Source]) -> None:
    """Raise TableError naming the tables if one of their rows has no value in a column."""
    missing = rows.filter(pl.col(column).is_null())
    if len(missing):
        raise TableError(
            f"{table} of {sources[missing[RANK][0]].name} has rows without {column}; index that "
            "archive again"
        )


def check_unchanged(sources: Sequence[Source]) -> None:
    """Raise TableError if tables were replaced since they were opened."""
    for source in sources:
        if source.folder and fingerprint_tables(source.folder) != source.fingerprint:
            raise TableError(
                f"the tables in {source.folder} were replaced while they were merged; merge again"
            )


def choose_namespace(sources: Sequence[Source]) -> uuid.UUID:
    """Return the namespace of the first tables that have one, with a warning of others."""
    found = list(dict.fromkeys(source.namespace for source in sources if source.namespace))
    if len(found) > 1:
        warn_caller(
            f"the ids of the tables are of {len(found)} namespaces; a later index into the folder "
            f"of the merged tables makes its ids in {found[0]}, that of "
            f"{next(source.name for source in sources if source.namespace)}; for a single one, "
            "index with the same --namespace",
            TableWarning,
        )
    return found[0] if found else make_namespace()


def gather_issues(sources: Sequence[Source], has_several_roots: bool) -> pa.Table:
    """Return the issues of all tables; below the root of their archive if there are several."""
    frames = [polars_schema(ISSUES).to_frame()]
    for source in sources:
        if source.folder and issues_path(source.folder).exists():
            issues = scan_issues(source.folder)
            if has_several_roots and len(source.origins) == 1:
                issues = issues.with_columns(
                    path=pl.format("{}/{}", pl.lit(source.origins[0]), "path")
                )
            frames.append(issues.collect())
    return pl.concat(frames).unique(maintain_order=True).to_arrow().cast(ISSUES)


def _open_folder(folder: Path) -> Source:
    wait_for_commit(folder)
    fingerprint = fingerprint_tables(folder)
    sessions, datasets = scan_pair(folder)
    headers = read_headers(folder)
    header = choose_header(folder, headers, "datasets")
    made = header.created or datetime.min  # older than all others
    return Source(
        name=str(folder),
        sessions=sessions,
        datasets=datasets,
        columns=_list_columns(sessions, datasets),
        created=(made, header.path.stat().st_mtime_ns),
        origins=tuple(dict.fromkeys(o for found in headers.values() for o in found.origins)),
        uuid_filenames=any(header.uuid_filenames for header in headers.values()),
        namespace=header.namespace,
        folder=folder,
        fingerprint=fingerprint,
    )


def _wrap_frames(pair: object, name: str) -> Source:
    if not is_pair(pair):
        raise OptionError(
            f"{pair!r} is neither a folder nor a pair of frames; give a path, or sessions and "
            "datasets as (frame, frame)"
        )
    sessions, datasets = scan_pair(pair, name)
    return Source(name, sessions, datasets, _list_columns(sessions, datasets))


def _align(sources: Sequence[Source]) -> list[Source]:
    """Give all sources the same columns, and fill values that may not be null."""
    columns = {
        table: merge_columns(source.columns[table] for source in sources) for table in TABLES
    }
    return [
        replace(
            source,
            columns=columns,
            sessions=_complete(source.sessions, "sessions", columns["sessions"]),
            datasets=_complete(source.datasets, "datasets", columns["datasets"]),
        )
        for source in sources
    ]


def _complete(frame: pl.LazyFrame, table: str, columns: Columns) -> pl.LazyFrame:
    schema = polars_schema(TABLES[table])
    foreign = mark_columns(frame.collect_schema(), columns)
    return frame.select(*schema.names(), *foreign).with_columns(
        pl.col(column).fill_null(pl.lit(value, schema[column]))
        for column, value in _UNKNOWN.items()
        if column in schema
    )


def _list_columns(sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> dict[str, Columns]:
    frames = {"sessions": sessions, "datasets": datasets}
    return {
        table: list_foreign(frame.collect_schema(), TABLES[table].names)
        for table, frame in frames.items()
    }


def warn_of_replaced_tables(folder: Path, origins: Sequence[str]) -> None:
    """Warn if tables in the folder are of other archives than those merged, and replaced."""
    try:
        headers = read_headers(folder)
    except TableError as error:
        warn_caller(f"{error}; it will be replaced", TableWarning)
        return
    found = {origin for header in headers.values() for origin in header.origins}
    if not found <= set(origins):
        warn_caller(
            f"the tables in {folder} are of {', '.join(sorted(found))}; they will be replaced",
            TableWarning,
        )
