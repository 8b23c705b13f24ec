"""The table of insertions of a folder of tables: scanned, made, kept up to date."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import make_namespace
from polars_alf.alf.root import FolderPath, check_folder
from polars_alf.arrow import to_arrow
from polars_alf.errors import CommitError, OutputError, TableError, TableNotFoundError
from polars_alf.insertions.probes import list_probes, make_insertions
from polars_alf.query.columns import expr_session_path
from polars_alf.query.scan import scan_pair
from polars_alf.schema import INSERTIONS, polars_schema
from polars_alf.tables.checksums import checksummed_writer
from polars_alf.tables.contract import Origin, read_header, read_headers, table_schema
from polars_alf.tables.files import (
    REPAIR_ADVICE,
    STATE_DIR,
    reporting_write_errors,
    sync_directory,
    table_path,
)
from polars_alf.tables.foreign import Columns, list_foreign, mark_columns, merge_columns
from polars_alf.tables.one_lock import STALE_SECONDS, hold_one_lock
from polars_alf.tables.parquet import scan_table
from polars_alf.tables.transaction import locked_state
from polars_alf.tables.upgrade import upgrade_columns

_NAME = "insertions"


@dataclass(frozen=True, slots=True)
class Insertions:
    """The table of insertions that was written.

    Parameters
    ----------
    path
        The table, ``insertions.pqt``.
    n_insertions, n_sessions
        Number of insertions, and of sessions that have any.
    n_known
        Insertions whose id is that of other tables.
    """

    path: Path
    n_insertions: int
    n_sessions: int
    n_known: int

    def to_dict(self) -> dict[str, object]:
        """Return the figures in values that JSON has."""
        return {
            "path": str(self.path),
            "n_insertions": self.n_insertions,
            "n_sessions": self.n_sessions,
            "n_known": self.n_known,
        }


def scan_insertions(folder: FolderPath) -> pl.LazyFrame:
    """Scan the insertions of a folder of tables.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    polars.LazyFrame
        The columns of INSERTIONS, then those that others have added.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError
        About the folder.
    TableNotFoundError
        It has no such table.
    TableError
        The table cannot be read.
    """
    path = table_path(check_folder(folder, to_write=False), _NAME)
    index = read_header(path).index
    frame = scan_table(path)
    try:
        columns = upgrade_columns(_NAME, frame.collect_schema(), index)
    except TableError as error:
        raise type(error)(f"{path} is no table of insertions: {error}; {REPAIR_ADVICE}") from error
    return frame.select(**columns)


def write_insertions(
    folder: FolderPath, *, ids_from: FolderPath | Sequence[FolderPath] = ()
) -> Insertions:
    """Make the table of insertions, ``insertions.pqt``, of tables that are there.

    With it ONE's ``eid2pid``, ``pid2eid`` and ``search_insertions`` work in local mode. The folder
    of a probe in a session, such as ``alf/probe00`` or ``raw_ephys_data/probe01``, is an insertion
    of that name. Its id follows from the id of the session and the name. What others wrote in a
    table that is there is kept: ids, columns, and insertions of sessions in the tables.

    Parameters
    ----------
    folder
        Folder of the tables.
    ids_from
        Folders of tables of a database, with their insertions: their ids and values win, for
        sessions of the same lab, subject, date and number, and the same name.

    Returns
    -------
    Insertions
        The table, and what it has.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About a folder.
    TableError
        A table is missing, or cannot be read.
    ArchiveBusyError
        Another run is writing the tables.
    OutputError, CommitError
        The table cannot be written, or put in place; one that was there is whole.
    """
    where = check_folder(folder)
    given = [ids_from] if isinstance(ids_from, str | os.PathLike) else [*ids_from]
    others = [check_folder(path, to_write=False) for path in given]
    for other in others:
        if not has_insertions(other):
            raise TableNotFoundError(
                f"{other} has no {_NAME}.pqt; give tables of a database that have one"
            )
    with reporting_write_errors(where, "the insertions"), locked_state(where):
        return refresh_insertions(where, others)


def has_insertions(folder: Path) -> bool:
    """Whether a folder has a table of insertions."""
    return table_path(folder, _NAME).is_file()


def refresh_insertions(folder: Path, others: Sequence[Path] = ()) -> Insertions:
    """Make the insertions of the tables in a folder anew. Only under `locked_state`.

    Those of `others` that have such a table come before that which is there.
    """
    path = table_path(folder, _NAME)
    sessions, datasets = scan_pair(folder)
    paths = sessions.select("id", path=expr_session_path())
    frames = [_read_given(other, paths) for other in others if has_insertions(other)]
    own = scan_insertions(folder).collect() if has_insertions(folder) else None
    frames += [] if own is None else [own]
    ours = INSERTIONS.names
    foreign = merge_columns(list_foreign(frame.schema, ours) for frame in frames)
    try:
        probes, eids = pl.collect_all([list_probes(datasets), sessions.select("id")])
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables in {folder} cannot be read: {error}") from error
    known = [frame.select(*ours, *mark_columns(frame.schema, foreign)) for frame in frames]
    made = make_insertions(probes, eids["id"], known, foreign)
    if own is None or not made.equals(own.sort("eid", "id")):
        _write(folder, path, made, foreign)
    ids = pl.concat(
        [polars_schema(INSERTIONS).to_frame(), *(frame.select(ours) for frame in known)]
    )
    return Insertions(
        path=path,
        n_insertions=len(made),
        n_sessions=made["eid"].n_unique(),
        n_known=len(made.join(ids.select("id").unique(), on="id", how="semi")),
    )


def _read_given(folder: Path, paths: pl.LazyFrame) -> pl.DataFrame:
    """Return the insertions of other tables, with the ids that their sessions have in ours."""
    theirs = scan_pair(folder)[0].select("id", path=expr_session_path())
    pairs = theirs.join(paths, on="path", suffix="_ours").select(eid="id", eid_ours="id_ours")
    found = scan_insertions(folder)
    names = found.collect_schema().names()
    try:
        joined = found.join(pairs.unique("eid", keep="first"), on="eid").with_columns(
            eid="eid_ours"
        )
        return joined.select(names).collect()
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables in {folder} cannot be read: {error}") from error


def _write(folder: Path, path: Path, insertions: pl.DataFrame, foreign: Columns) -> None:
    """Replace the table, under ONE's lock, so that a reader has it whole."""
    headers = read_headers(folder)
    origins = list(dict.fromkeys(o for header in headers.values() for o in header.origins))
    namespaces = [header.namespace for header in headers.values() if header.namespace]
    tags = dict.fromkeys(tag for header in headers.values() for tag in header.tags)
    origin = Origin(
        root=origins[0] if len(origins) == 1 else origins,
        namespace=namespaces[0] if namespaces else make_namespace(),
        generation=uuid.uuid4().hex,
        created=datetime.now(),
        tags=tuple(tags),
    )
    with_index = insertions.select(grammar.expr_is_uuid(pl.col("id", "eid")).all())
    schema = table_schema(
        _NAME,
        len(insertions),
        origin,
        with_index=all(with_index.row(0)),
        more=foreign,
    )
    beside = folder / STATE_DIR / f"{_NAME}.{origin.generation}.tmp"
    try:
        with checksummed_writer(beside, schema, compression="snappy") as write:
            write(to_arrow(insertions, schema))
        with hold_one_lock(folder, STALE_SECONDS + 5):
            try:
                beside.replace(path)
            except OSError as error:
                raise CommitError(
                    error.errno, f"{path} cannot be replaced: {error.strerror}; try again"
                ) from error
    except pl.exceptions.PolarsError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    sync_directory(folder)
