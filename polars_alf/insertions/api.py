"""The table of insertions of a folder of tables: scanned, made, kept up to date."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import make_namespace
from polars_alf.alf.root import FolderPath, check_folder
from polars_alf.display import Shown, warn_caller
from polars_alf.errors import TableError, TableNotFoundError, TableWarning
from polars_alf.insertions.probes import list_probes, make_insertions
from polars_alf.query.columns import expr_session_path
from polars_alf.query.scan import scan_pair
from polars_alf.schema import INSERTIONS, polars_schema
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.contract import Origin, read_header, read_headers
from polars_alf.tables.files import REPAIR_ADVICE, reporting_write_errors, table_path
from polars_alf.tables.foreign import list_foreign, mark_columns, merge_columns
from polars_alf.tables.generations import describe_tables, identify_tables
from polars_alf.tables.history import Record, make_record, read_records
from polars_alf.tables.parquet import scan_table
from polars_alf.tables.transaction import Staging, discard_runs, locked_state, staged
from polars_alf.tables.upgrade import upgrade_columns

_NAME = "insertions"


@dataclass(frozen=True, slots=True, repr=False)
class Insertions(Shown):
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

    def _list_figures(self) -> dict[str, object]:
        return {
            "insertions": self.n_insertions,
            "sessions": self.n_sessions,
            "known": self.n_known,
            "table": self.path,
        }

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
    where = check_folder(folder, to_write=False)
    path = table_path(where, _NAME)
    index = read_consistently(where, lambda: read_header(path)).index
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
    where = check_folder(check_folder(folder, to_write=False))
    given = [ids_from] if isinstance(ids_from, str | os.PathLike) else [*ids_from]
    others = [check_folder(path, to_write=False) for path in given]
    for other in others:
        if not has_insertions(other):
            raise TableNotFoundError(
                f"{other} has no {_NAME}.pqt; give tables of a database that have one"
            )
    start = time.perf_counter()
    with reporting_write_errors(where, "the insertions"), locked_state(where):
        discard_runs(where)
        generation = identify_tables(where, read_records(where))
        with staged(where, _make_origin(where, generation), with_index=True) as staging:
            made = _stage(staging, where, others)
            staging.commit(keep=None, record=_describe_run(where, generation, start))
    return made


def has_insertions(folder: Path) -> bool:
    """Whether a folder has a table of insertions."""
    return table_path(folder, _NAME).is_file()


def stage_insertions(
    staging: Staging, others: Sequence[Path] = (), *, wanted: bool = False
) -> None:
    """Add the insertions to a generation whose other tables are written. Under `locked_state`.

    They are made where they are `wanted`, or there already, or `others` have any. Those of `others`
    come before those that are there.
    """
    if wanted or any(map(has_insertions, (staging.folder, *others))):
        _stage(staging, staging.path, others)
    else:  # those of a run that was interrupted
        table_path(staging.path, _NAME).unlink(missing_ok=True)


def _stage(staging: Staging, tables: Path, others: Sequence[Path]) -> Insertions:
    """Write the insertions of the tables in a folder into a generation."""
    folder = staging.folder
    sessions, datasets = scan_pair(tables)
    paths = sessions.select("id", path=expr_session_path())
    frames = [_read_given(other, paths) for other in others if has_insertions(other)]
    frames += _read_replaced(folder, is_kept=tables != folder)
    ours = INSERTIONS.names
    foreign = merge_columns(list_foreign(frame.schema, ours) for frame in frames)
    try:
        probes, eids = pl.collect_all([list_probes(datasets), sessions.select("id")])
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables in {folder} cannot be read: {error}") from error
    known = [frame.select(*ours, *mark_columns(frame.schema, foreign)) for frame in frames]
    made = make_insertions(probes, eids["id"], known, foreign)
    are_uuids = made.select(grammar.expr_is_uuid(pl.col("id", "eid")).all()).row(0)
    staging.write_table(_NAME, [made], len(made), foreign, with_index=all(are_uuids))
    ids = pl.concat(
        [polars_schema(INSERTIONS).to_frame(), *(frame.select(ours) for frame in known)]
    )
    return Insertions(
        path=table_path(folder, _NAME),
        n_insertions=len(made),
        n_sessions=made["eid"].n_unique(),
        n_known=len(made.join(ids.select("id").unique(), on="id", how="semi")),
    )


def _read_replaced(folder: Path, *, is_kept: bool) -> list[pl.DataFrame]:
    """Return the insertions that are there and about to be replaced.

    Damaged ones are a warning where a generation keeps them; else, and where the system refuses to
    read them, a TableError.
    """
    if not has_insertions(folder):
        return []
    try:
        return [scan_insertions(folder).collect()]
    except (TableError, pl.exceptions.PolarsError) as error:
        is_refused = isinstance(error.__cause__, OSError) and error.__cause__.errno
        if is_refused or not is_kept:
            raise
        warn_caller(f"{error}; it is replaced", TableWarning)
        return []


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


def _make_origin(folder: Path, generation: str | None) -> Origin:
    """Return the origin of insertions that are added to tables, of whatever generation."""
    headers = read_headers(folder)
    origins = list(dict.fromkeys(o for header in headers.values() for o in header.origins))
    namespaces = [header.namespace for header in headers.values() if header.namespace]
    tags = dict.fromkeys(tag for header in headers.values() for tag in header.tags)
    return Origin(
        root=origins[0] if len(origins) == 1 else origins,
        namespace=namespaces[0] if namespaces else make_namespace(),
        generation=generation or uuid.uuid4().hex,
        created=datetime.now(),
        tags=tuple(tags),
    )


def _describe_run(folder: Path, generation: str | None, start: float) -> Record | None:
    """Return the line of the history; None where nothing is known of the tables."""
    if generation is None:
        return None
    counts = describe_tables(folder, generation)
    return make_record(
        "insertions",
        generation,
        n_sessions=counts["n_sessions"],
        n_datasets=counts["n_datasets"],
        seconds=time.perf_counter() - start,
    )
