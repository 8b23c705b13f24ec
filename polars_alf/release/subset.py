"""Tables of a part: choose its rows, freeze default revisions, commit, describe in a manifest."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import make_namespace
from polars_alf.alf.root import check_folder
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.display import Shown, warn_caller
from polars_alf.errors import NoSessionsWarning, OptionError, OverwriteError, TableError
from polars_alf.insertions.api import stage_insertions
from polars_alf.query.columns import expr_session_path
from polars_alf.query.revisions import DEFAULT_REVISION, with_default_revisions
from polars_alf.query.scan import Folders, find_folders, scan_pair
from polars_alf.query.sql import choose_sessions
from polars_alf.release.manifest import write_manifest
from polars_alf.schema import TABLES, polars_schema
from polars_alf.tables.contract import Origin, read_headers
from polars_alf.tables.files import (
    MANIFEST,
    check_replaceable,
    reporting_write_errors,
    table_path,
)
from polars_alf.tables.foreign import (
    Columns,
    list_foreign,
    mark_columns,
    merge_columns,
    restore_columns,
)
from polars_alf.tables.history import make_record
from polars_alf.tables.keep import KEEP, check_keep
from polars_alf.tables.outdated import warn_of_bundle
from polars_alf.tables.rows import ROWS_AT_ONCE, sum_bytes
from polars_alf.tables.transaction import discard_runs, locked_state, staged

Ids = Iterable[str | uuid.UUID]

_ID_COLUMNS = {"eid": "eids", "session_uuid": "eids", "id": "eids", "dataset_uuid": "dataset_ids"}

_OTHER_IDS = {
    "session": "if they are datasets, begin their file with the line dataset_uuid, or give them as "
    "dataset_ids",
    "dataset": "if they are sessions, begin their file with the line eid, or give them as eids",
}
"""Cures by what ids were taken for."""


@dataclass(frozen=True, slots=True, repr=False)
class Release(Shown):
    """Tables of a part of others, with the manifest that describes them.

    Parameters
    ----------
    folder
        Folder of the tables and of ``manifest.json``.
    manifest
        What the manifest has: ``checksum``, ``n_sessions``, ``n_datasets``, ``n_bytes`` and more.
    seconds
        Time that it took.
    """

    folder: Path
    manifest: dict[str, Any]
    seconds: float

    @property
    def checksum(self) -> str:
        """Checksum of what the tables say, to be cited: ``sha256:`` and 64 digits."""
        return str(self.manifest["checksum"])

    def _list_figures(self) -> dict[str, object]:
        return {
            "sessions": self.manifest["n_sessions"],
            "datasets": self.manifest["n_datasets"],
            "checksum": self.checksum,
            "time": f"{self.seconds:.2f} s",
            "tables": self.folder,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the release in values that JSON has."""
        return {
            "out_dir": str(self.folder),
            "manifest_path": str(self.folder / MANIFEST),
            "manifest": self.manifest,
            "seconds": self.seconds,
        }


@accepting_old_spellings(out_dir="out")
def subset_tables(
    tables: Folders,
    out: str | os.PathLike[str],
    *,
    where: str | None = None,
    eids: Ids | None = None,
    dataset_ids: Ids | None = None,
    like: Folders | None = None,
    tag: str | None = None,
    keep_generations: int = KEEP,
) -> Release:
    """Make tables of a part, with a manifest that can be cited and verified.

    The part is what all of `where`, `eids`, `dataset_ids` and `like` allow. Rows keep their ids and
    all their columns. ``default_revision`` is there for all datasets: a choice that the tables have
    stays, and otherwise it is the last revision in the part, so that ONE loads the same
    files from the release whatever is revised later.

    Parameters
    ----------
    tables
        Folders of tables, as for `scan_sessions`.
    out
        Existing folder for the tables of the part; none of `tables`. Tables that are there must be
        a release as well, and are replaced.
    where
        Condition in SQL on the columns of sessions, such as ``"lab = 'cortexlab'"``; it may ask
        about ``datasets`` too: ``"id IN (SELECT eid FROM datasets WHERE qc = 'PASS')"``.
    eids
        Ids of sessions.
    dataset_ids
        Ids of datasets; their sessions come with them.
    like
        Folders of other tables: the sessions and datasets that these have, by path.
    tag
        Name of the release, as ONE's ``load_cache(tag=…)`` knows it.
    keep_generations
        As for `merge_tables`.

    Returns
    -------
    Release
        The folder, and the manifest.

    Raises
    ------
    OptionError
        Nothing tells which part, an id is not in the tables, or an option is invalid.
    QueryError
        The condition is none.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, TableError
        As of `scan_sessions`, and about `out`.
    OverwriteError
        The tables in `out` are no release, or the part is empty and they are one.
    ArchiveBusyError, OutputError, CommitError
        As of `merge_tables`.
    """
    start = time.perf_counter()
    check_keep(keep_generations)
    if where is None and eids is None and dataset_ids is None and like is None:
        raise OptionError(
            "nothing tells which part; give --where, --eids or --like (where=…, eids=…, "
            "dataset_ids=…, like=…)"
        )
    folders = find_folders(tables)
    folder = check_folder(out)
    _check_out(folder, folders)
    sessions, datasets = scan_pair(folders)
    chosen = _Chosen(
        where=where,
        eids=_list_ids(eids),
        dataset_ids=_list_ids(dataset_ids),
        like=None if like is None else scan_pair(like),
    )
    try:
        part = chosen.pick_sessions(sessions, datasets)
        groups = [*_group_sessions(part, datasets)]
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error
    if part.is_empty():
        if any(table_path(folder, name).exists() for name in TABLES):
            raise OverwriteError(
                f"no session is in the part, and the release in {folder} would be replaced by "
                "empty tables; see what was given to choose it, or give another folder"
            )
        warn_caller(
            f"No session is in the part, so that the tables in {folder} are empty; see what was "
            "given to choose it",
            NoSessionsWarning,
        )
    selection = {
        "where": where,
        "n_eids": None if chosen.eids is None else len(chosen.eids),
        "n_dataset_ids": None if chosen.dataset_ids is None else len(chosen.dataset_ids),
        "like": None if like is None else [str(path) for path in find_folders(like)],
    }
    with reporting_write_errors(folder, "the tables of the part"), locked_state(folder):
        discard_runs(folder)
        manifest = _write_part(
            folder, folders, part, groups, datasets, chosen, selection, tag, keep_generations
        )
    warn_of_bundle(folder)
    return Release(folder, manifest, time.perf_counter() - start)


def read_ids(path: Path) -> dict[str, list[str]]:
    """Return the ids in a file as the argument of `subset_tables` that they are.

    The file has one in each line, those of datasets after a line with the name of their column,
    as the files that ``One.save_loaded_ids`` writes have it; those of sessions may have one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"the ids in {path} cannot be read: {error}; give a file of text"
        ) from error
    lines = [line.strip().strip('"') for line in text.splitlines() if line.strip()]
    kind = _ID_COLUMNS.get(lines[0].lower()) if lines else None
    return {kind or "eids": lines[1:] if kind else lines}


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Conditions that tell the part; None where one does not matter."""

    where: str | None
    eids: pl.Series | None
    dataset_ids: pl.Series | None
    like: tuple[pl.LazyFrame, pl.LazyFrame] | None

    def pick_sessions(self, sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> pl.DataFrame:
        """Return the sessions of the part, sorted by id."""
        found = sessions.unique("id", keep="first", maintain_order=True)
        if self.where is not None:
            ids = choose_sessions(sessions, datasets, self.where)
            found = found.filter(pl.col("id").is_in(ids.implode()))
        if self.eids is not None:
            _check_known(self.eids, sessions.select("id"), "session")
            found = found.filter(pl.col("id").is_in(self.eids.implode()))
        if self.dataset_ids is not None:
            _check_known(self.dataset_ids, datasets.select("id"), "dataset")
            some = datasets.filter(pl.col("id").is_in(self.dataset_ids.implode())).select("eid")
            found = found.join(some.unique(), left_on="id", right_on="eid", how="semi")
        if self.like is not None:
            found = found.join(_find_pairs(found, self.like[0]), on="id", how="semi")
        return found.sort("id").collect(engine="streaming")

    def pick_datasets(self, part: pl.DataFrame, datasets: pl.LazyFrame) -> pl.LazyFrame:
        """Return the datasets of some sessions of the part."""
        lowest, highest = part["id"].min(), part["id"].max()
        # The bounds spare row groups.
        found = datasets.filter(
            pl.col("eid").is_between(pl.lit(lowest), pl.lit(highest)),
            pl.col("eid").is_in(part["id"].implode()),
        )
        if self.dataset_ids is not None:
            found = found.filter(pl.col("id").is_in(self.dataset_ids.implode()))
        if self.like is not None:
            pairs = _find_pairs(part.lazy(), self.like[0])
            known = self.like[1].select("rel_path", other_id="eid").join(pairs, on="other_id")
            found = found.join(
                known, left_on=["eid", "rel_path"], right_on=["id", "rel_path"], how="semi"
            )
        return found


def _find_pairs(sessions: pl.LazyFrame, others: pl.LazyFrame) -> pl.LazyFrame:
    """Return ``id`` of sessions that others are, by lab, subject, date and number, and these."""
    path = expr_session_path()
    left = sessions.select("id", path=path)
    return left.join(others.select(path=path, other_id="id"), on="path").select("id", "other_id")


def _list_ids(ids: Ids | None) -> pl.Series | None:
    if ids is None:
        return None
    given = [ids] if isinstance(ids, str | uuid.UUID) else [*ids]
    return pl.Series("id", [str(value) for value in given], pl.String).unique(maintain_order=True)


def _check_known(ids: pl.Series, known: pl.LazyFrame, what: str) -> None:
    unknown = ids.to_frame().lazy().join(known, on="id", how="anti").collect()
    if len(unknown):
        more = f", and {len(unknown) - 1:,} more are none either" if len(unknown) > 1 else ""
        raise OptionError(
            f"{unknown['id'][0]!r} is no {what} of the tables{more}; leave them out, give the "
            f"tables that have them, or, {_OTHER_IDS[what]}"
        )


def _check_out(folder: Path, folders: Sequence[Path]) -> None:
    check_replaceable(folder)
    if folder in folders:
        raise OptionError(f"the part would replace the tables in {folder}; give another folder")
    has_tables = any(table_path(folder, name).exists() for name in TABLES)
    if has_tables and not (folder / MANIFEST).is_file():
        raise OverwriteError(
            f"the tables in {folder} are no release, which would have a {MANIFEST}; give another "
            "folder, or remove them"
        )


def _group_sessions(part: pl.DataFrame, datasets: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield sessions whose datasets are in memory, and in a row group, together."""
    counts = datasets.group_by("eid").agg(n=pl.len())
    counted = part.lazy().join(counts, left_on="id", right_on="eid", how="left").sort("id")
    n_datasets = pl.col("n").fill_null(0).cast(pl.Int64)
    group = ((n_datasets.cum_sum() - n_datasets) // ROWS_AT_ONCE).alias("group")
    grouped = counted.with_columns(group).collect(engine="streaming")
    yield from grouped.partition_by("group", maintain_order=True)


def _write_part(
    folder: Path,
    folders: Sequence[Path],
    part: pl.DataFrame,
    groups: Sequence[pl.DataFrame],
    datasets: pl.LazyFrame,
    chosen: _Chosen,
    selection: Mapping[str, object],
    tag: str | None,
    keep_generations: int,
) -> dict[str, Any]:
    """Write the tables of the part and their manifest, all or nothing; return the manifest."""
    start = time.perf_counter()
    origin = make_origin(folders, tag)
    n_bytes = 0
    foreign = {
        "sessions": list_columns("sessions", part.lazy()),
        "datasets": list_columns("datasets", datasets) | {DEFAULT_REVISION: pl.Boolean()},
    }
    ids = part.select(grammar.expr_is_uuid(pl.col("id")).all()).item()
    with staged(folder, origin, with_index=bool(ids)) as staging:
        rows = shape_columns("sessions", part.lazy(), foreign["sessions"]).collect()
        staging.write_table("sessions", [rows], len(rows), foreign["sessions"])

        def frames() -> Iterator[pl.DataFrame]:
            nonlocal n_bytes
            for group in groups:
                found = with_default_revisions(chosen.pick_datasets(group, datasets))
                frame = (
                    shape_columns("datasets", found, foreign["datasets"])
                    .sort("eid", "id")
                    .collect()
                )
                n_bytes += sum_bytes(frame["file_size"])
                yield frame

        try:
            n_datasets = staging.write_table("datasets", frames(), more=foreign["datasets"])
        except pl.exceptions.PolarsError as error:
            raise TableError(f"the tables cannot be read: {error}") from error
        stage_insertions(staging, folders)
        manifest = write_manifest(staging.path, selection, tag)
        staging.add_file(MANIFEST)
        record = make_record(
            "subset",
            origin.generation,
            n_sessions=len(rows),
            n_datasets=n_datasets,
            n_bytes=n_bytes,
            seconds=time.perf_counter() - start,
        )
        staging.commit(keep=keep_generations, record=record)
    return manifest


def make_origin(folders: Sequence[Path], tag: str | None) -> Origin:
    """Return the origin of tables that are parts of those in some folders."""
    headers = [header for folder in folders for header in read_headers(folder).values()]
    origins = list(dict.fromkeys(origin for header in headers for origin in header.origins))
    namespaces = [header.namespace for header in headers if header.namespace]
    return Origin(
        root=origins[0] if len(origins) == 1 else origins,
        namespace=namespaces[0] if namespaces else make_namespace(),
        generation=uuid.uuid4().hex,
        created=datetime.now(),
        tags=(tag,) if tag else (),
        uuid_filenames=any(header.uuid_filenames for header in headers),
    )


def list_columns(table: str, frame: pl.LazyFrame) -> Columns:
    """Return the columns of a table that are not ours."""
    return merge_columns([list_foreign(frame.collect_schema(), TABLES[table].names)])


def shape_columns(table: str, frame: pl.LazyFrame, foreign: Columns) -> pl.LazyFrame:
    """Return the columns of a table and those beside them, in the types that are stored."""
    schema = polars_schema(TABLES[table])
    marked = mark_columns(frame.collect_schema(), foreign)
    return frame.select(*schema.names(), *marked).select(*schema.names(), *restore_columns(foreign))
