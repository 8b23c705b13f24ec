"""Earlier generations of the tables of a folder: what there is, and the way back."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from polars_alf.alf.arguments import check_argument
from polars_alf.alf.root import FolderPath, check_folder
from polars_alf.display import Shown, warn_caller
from polars_alf.errors import ArchiveNotFoundError, TableNotFoundError, TableWarning
from polars_alf.schema import SCHEMAS
from polars_alf.tables.files import (
    MANIFEST,
    STATE_DIR,
    check_replaceable,
    find_generation,
    generation_path,
    report_path,
    reporting_write_errors,
    table_path,
)
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.generations import (
    STATE_FILES,
    describe_tables,
    identify_tables,
    list_generations,
    list_tables,
)
from polars_alf.tables.history import Record, frame_records, make_record, read_records
from polars_alf.tables.journal import Journal, commit, read_journal
from polars_alf.tables.outdated import warn_of_bundle, warn_of_manifest
from polars_alf.tables.parquet import find_damage
from polars_alf.tables.transaction import keep_current, locked_state, wait_for_commit

_SNAPSHOT = "snapshot-"


@dataclass(frozen=True, slots=True, repr=False)
class RestoredTables(Shown):
    """Tables that were put back, and those that they replaced.

    Parameters
    ----------
    folder
        Folder of the tables.
    generation
        Name of the generation that was put back.
    replaced
        Name of the generation that was there, which is kept; None where there were no tables.
    n_sessions, n_datasets
        Rows of the tables that were put back; None for one that is missing or damaged.
    """

    folder: Path
    generation: str
    replaced: str | None
    n_sessions: int | None
    n_datasets: int | None

    @property
    def sessions_path(self) -> Path:
        """Path of the table of sessions."""
        return table_path(self.folder, "sessions")

    @property
    def datasets_path(self) -> Path:
        """Path of the table of datasets."""
        return table_path(self.folder, "datasets")

    def _list_figures(self) -> dict[str, object]:
        return {
            "sessions": "unknown" if self.n_sessions is None else self.n_sessions,
            "datasets": "unknown" if self.n_datasets is None else self.n_datasets,
            "generation": self.generation,
            "replaced": self.replaced or "nothing",
            "tables": self.folder,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the report as values for JSON."""
        return asdict(self) | {
            "folder": str(self.folder),
            "sessions_path": str(self.sessions_path),
            "datasets_path": str(self.datasets_path),
        }


def restore_tables(folder: FolderPath, generation: str | None = None) -> RestoredTables:
    """Put back the tables that the last index, merge or restore replaced, with their state.

    Both tables are put back, or neither, as a run replaces them, and so are issues, changes,
    conflicts, report, snapshot and, of a release, the manifest. The tables that are there are kept
    in turn: to restore twice changes nothing, and one that was cut off is finished. Index before
    you prune: files that are newer than the tables put back are in none of their rows.

    Parameters
    ----------
    folder
        Folder of the tables.
    generation
        Name of a generation, of those that `read_history` has with the status ``kept``; by
        default the one that was replaced last.

    Returns
    -------
    RestoredTables
        What was put back, and what it replaced.

    Raises
    ------
    TableNotFoundError
        No earlier generation is kept.
    OptionError
        There is no generation of that name.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        The folder is missing, is a file, or cannot be written.
    ArchiveBusyError
        Another run is writing the tables.
    OutputError, CommitError
        The tables cannot be put in place.

    Warns
    -----
    TableWarning
        A table that was put back is damaged, or the manifest of a release, or the bundle for a web
        server, is of other tables than those put back.
    """
    start = time.perf_counter()
    check_argument("generation", generation, str, is_optional=True)
    path = check_folder(check_folder(folder, to_write=False))
    check_replaceable(path)
    cut_off = read_journal(path)
    with reporting_write_errors(path, "the restored tables"), locked_state(path):
        if cut_off and cut_off.restored and generation in (None, cut_off.restored):
            record = cut_off.records[-1]  # to restore once more would undo what was just finished
            counts = record["n_sessions"], record["n_datasets"]
            return RestoredTables(path, cut_off.restored, cut_off.kept, *counts)
        records = read_records(path)
        name = _choose(path, generation, list_generations(path, records))
        source = generation_path(path, name)
        kept, new_records = keep_current(path)
        record = _describe(source, name, records)
        seconds = time.perf_counter() - start
        new_records.append({**record, "replaced": kept, "seconds": round(seconds, 3)})
        commit(path, _plan(path, source, kept, new_records))
    for damage in find_damage(path, SCHEMAS):
        warn_caller(str(damage), TableWarning)
    warn_of_manifest(path)
    warn_of_bundle(path)
    return RestoredTables(path, name, kept, record["n_sessions"], record["n_datasets"])


def read_history(folder: FolderPath) -> pl.DataFrame:
    """Read which runs wrote the tables of a folder, and which earlier generations are kept.

    Parameters
    ----------
    folder
        Folder of the tables.

    Returns
    -------
    polars.DataFrame
        A row for each run, oldest first: ``time`` of its end (UTC); ``run``, which is ``index``,
        ``merge`` or ``restore``, or null for tables of another program or of an earlier version,
        with the time when they were written; ``generation``, the name of the tables, null for
        those of another program that are current; ``status``, which is ``current``, ``kept``
        (`restore_tables` can put them back) or ``gone``, or ``repeated`` where a later run has the
        same tables, as it put them back, added insertions or found nothing new, and its row has
        their status; ``n_sessions``, ``n_datasets`` and ``n_bytes``, their sizes; ``added``,
        ``changed`` and ``removed``, numbers of datasets; ``issues``, their number; and ``seconds``.
        Counts that are not known are null.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError
        The folder is missing, has no tables and never had, or is a file.
    """
    path = check_folder(folder, to_write=False)
    wait_for_commit(path)
    records = read_records(path)
    kept = list_generations(path, records)
    current = identify_tables(path, records)
    known = {record.get("generation") for record in records}
    # Generations whose lines were lost, or never written.
    rows = [describe_tables(generation_path(path, n), n) for n in reversed(kept) if n not in known]
    rows += records
    if list_tables(path) and current not in known:
        rows.append({**describe_tables(path, ""), "generation": current})
    if not rows:
        raise ArchiveNotFoundError(f"{path} has no tables and no history; give a folder of tables")
    statuses: dict[str | None, str] = {**dict.fromkeys(kept, "kept"), current: "current"}
    last = {row.get("generation"): n for n, row in enumerate(rows)}
    return frame_records(
        {**row, "status": statuses.get(name, "gone") if last[name] == n else "repeated"}
        for n, row in enumerate(rows)
        for name in (row.get("generation"),)
    )


def _choose(folder: Path, wanted: str | None, names: Sequence[str]) -> str:
    if wanted is not None:
        return find_generation(folder, wanted).name.removeprefix("generation-")
    if not names:
        raise TableNotFoundError(
            f"{folder} has no earlier generation of its tables to put back; an index or a merge "
            "keeps that which it replaces, unless --keep-generations (keep_generations) is 0: "
            "leave that out from now on"
        )
    return names[0]


def _describe(source: Path, name: str, records: Sequence[Record]) -> Record:
    """Return the record of a restore, its counts from the run that made the generation."""
    known = [record for record in records if record.get("generation") == name]
    before = known[-1] if known else describe_tables(source, name)
    counts = {key: before.get(key) for key in ("n_sessions", "n_datasets", "n_bytes", "issues")}
    record = make_record("restore", name, n_sessions=None, n_datasets=None)
    return {**record, **counts, "tables": fingerprint_tables(source)}


def _plan(folder: Path, source: Path, kept: str | None, records: Sequence[Record]) -> Journal:
    """Return the steps that exchange the tables of a folder, and their state, for a generation."""
    names = {path.name for path in source.iterdir()}
    there = {path.name for path in (folder / STATE_DIR).iterdir()}
    snapshots = {name for name in names if name.startswith(_SNAPSHOT)}
    others = {name for name in there if name.startswith(_SNAPSHOT)}
    others -= snapshots or _find_own(source)
    removed = {*list_tables(folder), *(STATE_FILES & there)} - names
    return Journal(
        staging=source.name,
        files=tuple(sorted((STATE_FILES | {MANIFEST}) & names)),
        folders={name: name for name in sorted(snapshots)},
        removed=tuple(sorted(removed | others)),
        kept=kept,
        records=tuple(records),
    )


def _find_own(source: Path) -> set[str]:
    """Return the name of the snapshot that a generation has with its report.

    A merge leaves that of the index before in its place, for the tables that it makes.
    """
    try:
        report = json.loads((source / report_path(source).name).read_text(encoding="utf-8"))
        return {f"snapshot-{report['generation']}"}
    except (OSError, ValueError, LookupError, TypeError):
        return set()
