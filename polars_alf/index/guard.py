"""The guard on mass removals: storage that is not mounted looks like an empty folder.

It compares the rows of an index with those of the tables that are there, whoever wrote them.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.alf.folder_names import is_date
from polars_alf.alf.root import Root
from polars_alf.alf.uuid_names import expr_without_uuid
from polars_alf.errors import IdsConflictError, MassRemovalError, TableError
from polars_alf.index.changes import ChangeKind
from polars_alf.index.options import IndexOptions
from polars_alf.index.removals import Removals, Rows, count_removals
from polars_alf.query.scan import scan_datasets, scan_sessions
from polars_alf.schema import LOST, TABLES
from polars_alf.tables.contract import TableHeader, read_headers
from polars_alf.tables.files import table_path
from polars_alf.tables.limits import FEW, exceeds_limit
from polars_alf.tables.parquet import scan_table

_LABS_NAMED = 3

_LOST = [str(kind) for kind in LOST]


def is_refused(removals: Removals, max_removed: float | None, *, few: int = FEW) -> bool:
    """Decide whether an index must not remove so much unasked.

    `max_removed` is the largest count or share of the datasets, and of the sessions where nothing
    would be left. By default (None) it is half of the datasets, or `few` if that is more; and
    neither may the tables be emptied, nor a lab lose all sessions that it had. A lab that has
    others instead may lose `few` datasets.
    """
    n, before = removals.n_datasets, removals.n_datasets_before
    if max_removed is not None:
        n_sessions, all_sessions = removals.n_sessions, removals.n_sessions_before
        is_emptied = removals.is_emptied and exceeds_limit(n_sessions, all_sessions, max_removed)
        return is_emptied or exceeds_limit(n, before, max_removed)
    labs = [lab for lab in removals.labs if lab.name]
    is_lab_lost = any(lab.is_empty or lab.n_datasets > few for lab in labs)
    return removals.is_emptied or is_lab_lost or exceeds_limit(n, before, None, few=few)


def choose_share(removals: Removals) -> int:
    """Return the percentage that lets removals pass, rounded up: more may go until the next run."""
    n, before = removals.n_datasets, removals.n_datasets_before
    return 100 if removals.is_emptied or n >= before else math.floor(100 * n / before) + 1


def check_survey(
    folder: Path,
    root: Root,
    dated: pl.Series,
    before: pl.Series,
    lab: str,
    issues: pa.Table,
    max_removed: float | None,
) -> None:
    """Raise MassRemovalError where too much goes even if every dated folder is as it was.

    So nothing is listed in vain, and an interrupted run keeps the shards that it finished. `dated`
    are the dated folders that are there, `before` those of the last index; `lab` is that of folders
    in no lab's folder, `issues` are those of the survey.
    """
    old = _read_rows(folder, "sessions")
    is_emptied = dated.is_empty()
    if old is None or (is_emptied and len(_list_lost(issues))):
        return  # that none could be read is another error
    if not is_emptied and (_is_new_database(folder) or before.is_empty()):
        return  # of which this disk may have a part, or of which it is not known where they lay
    if _is_database(folder):
        old = _read_rows(folder) or old
    found = _list_surveyed(root, dated)
    there = old.sessions.join(found, on=["subject", "date"], how="semi")
    labs = {*found["lab"].fill_null(lab)}
    # The id of a session that lies in no lab's folder does not depend on the lab.
    if not found["lab"].has_nulls():
        there = there.filter(pl.col("lab").is_in(["", *labs]))
    if not is_emptied:
        # A session that lies deeper in a dated folder is not seen by a survey.
        seen = _list_surveyed(root, before)
        there = pl.concat(
            [there, old.sessions.join(seen, on=["subject", "date"], how="anti")]
        ).unique()
    if len(there) < len(old.sessions):
        old = _read_rows(folder) or old
        removals = count_removals(old, old.keep_sessions(there))
        # Folders that are new may have others instead.
        lost = (replace(lost, is_empty=lost.name not in labs) for lost in removals.labs)
        removals = replace(removals, is_emptied=is_emptied, labs=tuple(lost))
        _check(removals, folder, root, issues, max_removed)


def check_removals(
    folder: Path,
    root: Root,
    staged: Path,
    issues: pa.Table,
    changes: Mapping[str, int] | None,
    options: IndexOptions,
) -> Removals:
    """Count what goes with the tables in `folder` when those in `staged` replace them.

    Where they cannot be read, `changes` since the last index tell how many go. Raises
    MassRemovalError where it is too much.
    """
    old = _read_rows(folder, uuid_filenames=bool(options.uuid_filenames))
    is_there = any(table_path(folder, name).exists() for name in TABLES)
    if old is None and not is_there:
        return Removals()
    sessions, datasets = (scan_table(table_path(staged, name)) for name in TABLES)
    if _is_database(folder) and not _is_new_database(folder):
        sessions, datasets = _keep_existing(sessions, datasets)
    new = Rows.read(sessions, datasets)
    removals = count_removals(old, new) if old else Removals()
    is_unread = old is None or old.sessions.is_empty() or old.counts.is_empty()
    if is_there and is_unread and changes:
        removals = _count_changes(removals, changes, n_left=len(new.counts))
    _check(removals, folder, root, issues, options.max_removed)
    return removals


def check_ids(folder: Path, *, hash_ids: bool) -> None:
    """Raise IdsConflictError where ids of paths would replace the UUIDs of the tables there.

    UUIDs may replace ids of paths: those can be made again.
    """
    if hash_ids:
        return
    try:
        found = scan_sessions(folder).select(pl.len(), id=pl.col("id").first()).collect()
    except (TableError, pl.exceptions.PolarsError):
        return
    n_sessions, first = found.row(0)
    if not n_sessions or not _is_uuid(first):
        return
    raise IdsConflictError(
        f"the {n_sessions:,} sessions of the tables in {folder} have UUIDs, {first} for one, which "
        "ids of paths would replace; leave out --no-hash-ids (hash_ids=False), give another folder "
        "for the tables, or move those away"
    )


def _is_uuid(text: object) -> bool:
    try:
        return bool(uuid.UUID(str(text)))
    except ValueError:
        return False


def _read_rows(folder: Path, *names: str, uuid_filenames: bool = False) -> Rows | None:
    """Read the rows of a folder's tables, or of the one that can be read; None without any.

    Paths have no UUIDs in their names if `uuid_filenames`, as those of the rows to compare with.
    """
    scans = {"sessions": scan_sessions, "datasets": scan_datasets}
    wanted = names or (*scans,)
    for some in (wanted, *((name,) for name in wanted if len(wanted) > 1)):
        try:
            frames = {name: scans[name](folder) for name in some}
            if uuid_filenames and "datasets" in frames and not _have_named_ids(folder):
                rel_path = expr_without_uuid(pl.col("rel_path"))
                frames["datasets"] = frames["datasets"].with_columns(rel_path=rel_path)
            if len(frames) > 1 and _is_database(folder) and not _is_new_database(folder):
                return Rows.read(*_keep_existing(*frames.values()))
            return Rows.read(**frames)
        except (TableError, pl.exceptions.PolarsError):
            continue
    return None


def _keep_existing(
    sessions: pl.LazyFrame, datasets: pl.LazyFrame
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Return the rows of files that are on this disk: others stay, whatever is mounted."""
    there = datasets.filter(pl.col("exists").ne_missing(other=False))
    return sessions.join(there, left_on="id", right_on="eid", how="semi"), there


def _is_database(folder: Path) -> bool:
    """Whether the tables in a folder come from a database, whose rows need no file here."""
    return any(header.databases for header in _read_headers(folder))


def _is_new_database(folder: Path) -> bool:
    """Whether they do, and no index has told yet which of their files are on this disk."""
    headers = _read_headers(folder)
    return _is_database(folder) and any(header.generation is None for header in headers)


def _have_named_ids(folder: Path) -> bool:
    """Whether ids of the tables in a folder are in the names of files."""
    return any(header.uuid_filenames for header in _read_headers(folder))


def _read_headers(folder: Path) -> list[TableHeader]:
    try:
        return [*read_headers(folder).values()]
    except TableError:
        return []


def _list_surveyed(root: Root, dated: Iterable[str]) -> pl.DataFrame:
    """Return ``lab`` (null where it is in no lab's folder), ``subject`` and ``date`` of folders."""
    rows = []
    for folder in dated:
        parts = (*root.parts, *filter(None, folder.split("/")))
        if not is_date(parts[-1]):
            parts = parts[:-1]
        if len(parts) < 2 or not is_date(parts[-1]):
            continue  # it has the shape of a date only
        lab = parts[-4] if len(parts) > 3 and parts[-3] == "Subjects" else None
        rows.append((lab, parts[-2], date.fromisoformat(parts[-1])))
    schema = {"lab": pl.String, "subject": pl.String, "date": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _list_lost(issues: pa.Table) -> pl.DataFrame:
    """Return the issues of paths that may be there, but could not be read."""
    return pl.DataFrame(issues).filter(pl.col("kind").is_in(_LOST))


def _count_changes(removals: Removals, changes: Mapping[str, int], *, n_left: int) -> Removals:
    """Return removals with the datasets of which a snapshot tells that they are not there now."""
    n_gone = changes[ChangeKind.REMOVED] + changes[ChangeKind.UNREADABLE]
    n_before = sum(changes.values()) - changes[ChangeKind.ADDED]
    is_emptied = removals.is_emptied or (n_before > 0 and not n_left)
    return replace(removals, n_datasets=n_gone, n_datasets_before=n_before, is_emptied=is_emptied)


def _check(
    removals: Removals, folder: Path, root: Root, issues: pa.Table, max_removed: float | None
) -> None:
    others = _list_other_roots(folder, root)
    if not is_refused(removals, max_removed, few=0 if others else FEW):
        return
    share = choose_share(removals)
    where = "".join(_describe(removals, others, _list_lost(issues)))
    raise MassRemovalError(
        f"{removals.n_datasets:,} of {removals.n_datasets_before:,} datasets and "
        f"{removals.n_sessions:,} of {removals.n_sessions_before:,} sessions would be removed from "
        f"the tables in {folder}{where}; the tables are as they were; see that all of {root} is "
        f"mounted, and what --exclude leaves out; to remove them, index with --max-removed {share}%"
        f" (max_removed={share / 100})",
        n_removed=removals.n_datasets,
        n_before=removals.n_datasets_before,
        n_removed_sessions=removals.n_sessions,
        n_sessions_before=removals.n_sessions_before,
        labs=tuple(lab.name for lab in removals.labs),
        examples=removals.examples,
    )


def _describe(removals: Removals, others: Sequence[str], lost: pl.DataFrame) -> Iterator[str]:
    """Yield what a message says of removals after the figures."""
    if others:
        yield (
            f", which are of {', '.join(others)} (to keep them, give another folder for the tables)"
        )
    if removals.is_emptied:
        yield ": none would be left"
    elif labs := [lab for lab in removals.labs if lab.name]:
        names = ", ".join(lab.name for lab in labs[:_LABS_NAMED])
        more = f" and {len(labs) - _LABS_NAMED:,} more" if len(labs) > _LABS_NAMED else ""
        yield f": all sessions of {'the lab' if len(labs) == 1 else 'the labs'} {names}{more}"
    if removals.examples:
        yield f", for example {', '.join(removals.examples)}"
    if len(lost):
        yield (
            f"; {len(lost):,} paths could not be read, {lost['path'][0]} for one "
            f"({lost['message'][0]})"
        )


def _list_other_roots(folder: Path, root: Root) -> list[str]:
    """Return the archives that the tables in a folder are of, unless it is `root`."""
    roots = list(dict.fromkeys(str(r) for h in _read_headers(folder) for r in h.roots))
    return [] if roots in ([], [str(root)]) else roots
