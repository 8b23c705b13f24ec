"""The tables that are there before an index: what is taken over from them. For `run` alone.

Warnings are about the line that calls `index_archive`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import polars as pl

from polars_alf.alf.ids import check_namespace
from polars_alf.alf.root import Root
from polars_alf.display import warn_caller
from polars_alf.errors import IdsConflictError, TableError, TableWarning
from polars_alf.index.known_rows import KnownRows
from polars_alf.index.known_tables import open_known_tables
from polars_alf.index.options import IndexOptions
from polars_alf.index.report import read_settings
from polars_alf.schema import TABLES
from polars_alf.tables.contract import read_header, read_headers, read_namespace
from polars_alf.tables.files import REPAIR_ADVICE, table_path
from polars_alf.tables.parquet import find_damage


def open_known_rows(folder: Path, options: IndexOptions) -> KnownRows | None:
    """Open the tables whose rows are to be kept: those given, and those that are there."""
    took_ids = bool(read_settings(folder).get("ids_from"))
    there = [name for name in TABLES if table_path(folder, name).exists()]
    if took_ids and len(there) < len(TABLES):
        warn_caller(
            f"the tables in {folder} had ids from others and are gone; give those again to keep "
            "the ids",
            TableWarning,
        )
    own = folder if there and not options.reset else None
    known = functools.partial(
        _find_known_rows,
        given=options.ids_from,
        hash_ids=options.hash_ids,
        uuid_filenames=bool(options.uuid_filenames),
        took_ids=took_ids,
        prune_missing=options.prune_missing,
    )
    try:
        return known(own)
    except TableError as error:
        if own is None or (isinstance(error.__cause__, OSError) and error.__cause__.errno):
            raise
        found = known(None)  # an error of those that were given is theirs
        if isinstance(error.__cause__, pl.exceptions.InvalidOperationError):
            raise TableError(
                f"{error}; what others wrote in these tables would be lost: mend them, or give "
                "--reset to forget it"
            ) from error
        if took_ids and not options.ids_from:
            raise TableError(
                f"{error}, which does not help here: the ids in these tables were taken from "
                "others; restore the file, give those others again with --ids-from, or --reset to "
                "make new ids"
            ) from error
        with contextlib.suppress(TableError):
            read_headers(folder)  # else there was a warning
            what = str(error).removesuffix(f"; {REPAIR_ADVICE}")  # which this index follows
            warn_caller(
                f"{what}; it will be replaced, and what others may have written in either table "
                "cannot be kept",
                TableWarning,
            )
        return found


def choose_uuid_filenames(folder: Path, options: IndexOptions) -> bool:
    """Return whether ids are in names: as asked for, or else as in the tables that are there.

    Raises IdsConflictError where that would change the ids of these.
    """
    headers = []
    for path in (table_path(folder, name) for name in TABLES):
        with contextlib.suppress(TableError):
            headers.append(read_header(path))
    was_so = any(header.uuid_filenames for header in headers)
    if was_so and options.uuid_filenames is False:
        raise IdsConflictError(
            f"the tables in {folder} have ids from the names of files, which others would replace; "
            "leave out --no-uuid-filenames (uuid_filenames=False), give another folder for the "
            "tables, or move those away"
        )
    if options.uuid_filenames is None and options.hash_ids:
        # One.save_cache keeps no metadata of ours.
        return was_so or bool(headers and read_settings(folder).get("uuid_filenames"))
    return bool(options.uuid_filenames)


def find_namespace(
    folder: Path, root: Root, options: IndexOptions
) -> tuple[UUID | None, list[str]]:
    """Return the namespace of ids, None for a new one, and what becomes of tables there."""
    found, problems = read_namespace(folder, root.path)
    check_namespace(options.namespace, found, folder, options.namespace_spelling)
    fates = []
    may_keep = not (options.reset or (problems and find_damage(folder)))
    for problem, is_readable in problems.items():
        if is_readable and may_keep:
            advice = "it will be replaced, and ids and values of the rows that match are kept"
        elif found or options.namespace:
            advice = "it will be replaced"
        else:
            advice = "it, and its ids, which cannot be kept, will be replaced"
        fates.append(f"{problem}; {advice}")
    return options.namespace or found, fates


def warn_replaced(problems: Sequence[str]) -> None:
    """Warn of what becomes of tables that were there."""
    for problem in problems:
        warn_caller(problem, TableWarning)


def _find_known_rows(
    own: Path | None,
    given: Sequence[Path],
    *,
    hash_ids: bool,
    uuid_filenames: bool,
    took_ids: bool,
    prune_missing: bool,
) -> KnownRows | None:
    """Open the tables whose rows are to be kept; None where there is nothing to keep.

    `own` is the folder of the tables that are there, None where nothing of them is to be kept;
    `given` are folders of tables whose ids and values win. `hash_ids` is whether the ids of the
    index are UUIDs, `uuid_filenames` whether these are in names, `took_ids` whether ids of the
    tables that are there came from others, and `prune_missing` whether rows of a database without a
    file on this disk go. Raises TableError where a table cannot be read, or ids that were given are
    no UUIDs.
    """
    keep = hash_ids and not prune_missing
    tables = open_known_tables(own, given, took_ids=took_ids, keep_missing=keep)
    if not tables:
        return None
    return KnownRows(tables, hash_ids=hash_ids, uuid_filenames=uuid_filenames)
