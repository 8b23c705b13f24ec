"""The check of an archive or of tables: their files as frames, then what each rule finds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import polars as pl

from polars_alf.alf.paths import (
    find_folder_above,
    temporary_folder,
)
from polars_alf.alf.root import Root, open_root, warn_of_no_sessions
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.arrow import copy_texts
from polars_alf.check.database import find_differences, find_unpaired, pair_sessions
from polars_alf.check.findings import CheckKind, join_findings, make_findings
from polars_alf.check.listing import DIRECTORIES, read_names
from polars_alf.check.names import count_stems, find_misspelt, learn_spelling
from polars_alf.check.parts import (
    ArchiveParts,
    Parts,
    TableParts,
    reading_tables,
    sum_counts,
)
from polars_alf.check.sizes import find_misfits
from polars_alf.check.template import Template, find_missing
from polars_alf.display import Shown, count
from polars_alf.errors import OptionError
from polars_alf.parallel.progress import Progress
from polars_alf.query.columns import expr_session_folder
from polars_alf.query.scan import Tables, scan_pair
from polars_alf.query.sql import choose_sessions
from polars_alf.schema import DATASETS, HIDING, SESSIONS, polars_schema
from polars_alf.tables.files import own_files
from polars_alf.tables.rows import assemble_sessions, drop_duplicate_sessions
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walk import open_walk

TemplateLike: TypeAlias = "Template | str | os.PathLike[str] | Sequence[str]"


@dataclass(frozen=True, slots=True, repr=False)
class ArchiveCheck(Shown):
    """The result of a check.

    Parameters
    ----------
    findings
        `polars_alf.check.findings.CHECKS`: no rows where nothing is wrong.
    template
        The template that sessions were compared with, None without one.
    n_sessions, n_datasets
        Sessions and datasets that were checked.
    n_other_files
        Files in sessions that are not ALF, whose names were looked at; None where only tables were
        checked, which do not have them.
    seconds
        Duration of the check.
    """

    findings: pl.DataFrame
    template: Template | None
    n_sessions: int
    n_datasets: int
    n_other_files: int | None
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by kind; all kinds, also where there are none."""
        found = dict(self.findings.group_by("kind").len().rows())
        return {str(kind): found.get(kind, 0) for kind in CheckKind}

    def _list_figures(self) -> dict[str, object]:
        return {
            "sessions": self.n_sessions,
            "datasets": self.n_datasets,
            "findings": self.counts,
            "time": f"{self.seconds:.2f} s",
        }

    def to_dict(self) -> dict[str, object]:
        """Return the figures in values that JSON has."""
        return {
            "counts": self.counts,
            "template": [*self.template.patterns] if self.template else None,
            "n_sessions": self.n_sessions,
            "n_datasets": self.n_datasets,
            "n_other_files": self.n_other_files,
            "seconds": self.seconds,
        }


@accepting_old_spellings(n_jobs="jobs")
def check_archive(
    root: str | os.PathLike[str],
    *,
    template: TemplateLike | None = None,
    complete: str | None = None,
    against: Tables | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    include_snapshots: bool = False,
    jobs: int | None = None,
    executor: str | None = None,
    threads: int | None = None,
    op_timeout: float | None = None,
    max_rate: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ArchiveCheck:
    """Check the sessions of an archive. Opens no file, needs no tables, and changes nothing.

    Finds names that nearly are those of datasets, and objects whose attributes cannot have the same
    number of rows by the sizes of their files; datasets that a template has and a session does not;
    and where files differ from the tables of a database.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    template
        What every session should have: a `Template`, the path of a file with a pattern in each
        line, or a sequence of patterns.
    complete
        Condition in SQL on the columns of SESSIONS, such as ``"subject = 'KS001'"``: the sessions
        that are complete. What all of them have is the template, instead of `template`.
    against
        Tables of a database, as for `scan_sessions`, or a pair of frames.
    follow_links, exclude, include_snapshots, jobs, executor, threads, op_timeout, max_rate,
    progress
        As for `index_archive`.

    Returns
    -------
    ArchiveCheck
        The findings. ``eid`` is the path of the session, ``[lab/]subject/date/number``, but for
        findings against a database, which have its ids. A session in which something cannot be read
        lacks nothing: it is `UNREADABLE`.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root, or the folder of the database's tables.
    NamedFileNotFoundError
        There is no file with the template; this is an OptionError and an ArchiveNotFoundError, too.
    OptionError
        The template cannot be read or has no datasets, or it is given in two ways.
    QueryError
        The condition is none.
    TableError
        The database's tables cannot be read.
    ScanError
        The archive went away, or a worker was killed.

    Warns
    -----
    NoSessionsWarning
        There are no sessions: nothing was checked.
    """
    start = time.perf_counter()
    given = _read_template(template, complete)
    registered = None if against is None else _read_tables(against)
    options = WalkOptions(
        follow_links=follow_links,
        exclude=exclude,  # type: ignore[arg-type]
        include_snapshots=include_snapshots,
        threads=threads,
        op_timeout=op_timeout,
        max_rate=max_rate,
        n_jobs=jobs,
        executor=executor,
    )
    opened = open_root(root, op_timeout)
    with temporary_folder() as scratch:
        parts = ArchiveParts(scratch)
        issues, directories = [], [pl.DataFrame(schema=DIRECTORIES)]
        if complete is not None:
            # Of no sessions yet: that it is no condition must not come out after hours of walking.
            parts.sessions = none = _list_sessions(directories, opened)
            _choose_complete(_Checked(none, parts, given, complete, registered), complete)
        with open_walk(opened, _leaving_out_tables(options, opened.path), progress) as walk:
            survey = walk.survey()
            issues.append(pl.DataFrame(survey.issues))
            tasks = [(shard, read_names) for shard in walk.plan_shards(survey.folders)]
            for found in walk.visit_frames(tasks):
                issues.append(found["issues"])
                directories.append(found["directories"])
                parts.write(found["directories"]["session"], found["files"], found["others"])
        parts.sessions = sessions = _list_sessions(directories, opened)
        if sessions.is_empty():
            warn_of_no_sessions(opened)
        unreadable = pl.concat(issues).filter(pl.col("kind").is_in(HIDING))
        found_unreadable = _find_unreadable(sessions, unreadable)
        checked = _Checked(sessions, parts, given, complete, registered)
        return _check(checked, start, found_unreadable)


def check_tables(
    tables: Tables,
    *,
    template: TemplateLike | None = None,
    complete: str | None = None,
    against: Tables | None = None,
) -> ArchiveCheck:
    """Check the sessions of tables, as `check_archive` does those of an archive.

    Parameters
    ----------
    tables
        Folders of tables, as for `scan_sessions`, or a pair of frames ``(sessions, datasets)``.
        Datasets that are not on disk do not count.
    template, complete, against
        As for `check_archive`.

    Returns
    -------
    ArchiveCheck
        The findings. Names that are not ALF are in no table, so that they are not found.

    Raises
    ------
    OptionError, QueryError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `check_archive` and `scan_sessions`.
    """
    start = time.perf_counter()
    given = _read_template(template, complete)
    registered = None if against is None else _read_tables(against)
    sessions, datasets = _read_tables(tables)
    sessions = sessions.with_columns(
        pl.col("lab").fill_null(""), eid="id", session=expr_session_folder()
    ).unique("eid", keep="first", maintain_order=True)
    checked = _Checked(sessions, TableParts(sessions, datasets), given, complete, registered)
    result = _check(checked, start, pl.DataFrame(schema={"eid": pl.String}))
    return replace(result, n_other_files=None)  # no table has them


@dataclass(frozen=True, slots=True)
class _Checked:
    """Sessions to check, in parts with their files, and the tables to compare these with."""

    sessions: pl.DataFrame
    parts: Parts
    template: Template | None
    complete: str | None
    registered: tuple[pl.DataFrame, pl.LazyFrame] | None


def _list_sessions(directories: Sequence[pl.DataFrame], root: Root) -> pl.DataFrame:
    """Return the sessions whose folders (DIRECTORIES) a walk has found, with paths for ids."""
    rows = assemble_sessions(pl.concat(directories).lazy(), root.posix)
    return (
        drop_duplicate_sessions(rows)[0]
        .with_columns(eid="name", folder="session")
        .with_columns(session=expr_session_folder())
        .collect()
    )


def _check(checked: _Checked, start: float, unreadable: pl.DataFrame) -> ArchiveCheck:
    sessions, parts = checked.sessions, checked.parts
    template = checked.template
    if checked.complete is not None:
        complete = _choose_complete(checked, checked.complete)
        if complete.is_empty():
            raise OptionError(
                f"the condition {checked.complete!r} for complete sessions holds for none of "
                f"{count(len(sessions), 'session')}; give another, such as \"subject = 'KS001'\""
            )
        template = Template.of_parts((part.files for part in parts), complete)
    stems = sum_counts((count_stems(part.files) for part in parts), "stem", "n_sessions")
    spelling = learn_spelling(stems, template.patterns if template else ())
    found = [make_findings(CheckKind.UNREADABLE, unreadable)]
    pairs = None
    if checked.registered:
        with reading_tables():
            pairs = pair_sessions(sessions, checked.registered[0])
            unpaired = find_unpaired(sessions, pairs, checked.registered)
        found += _keep_certain(unpaired, sessions, unreadable)
    is_whole = ~pl.col("eid").is_in(unreadable["eid"].drop_nulls().implode())
    n_datasets = n_others = 0
    for part in parts:
        n_datasets += len(part.files)
        n_others += len(part.others)
        found += map(
            copy_texts,
            (find_misspelt(part.files, part.others, spelling), find_misfits(part.files)),
        )
        if template:
            absent = find_missing(part.sessions.filter(is_whole), part.files, template)
            found.append(copy_texts(absent))
        if checked.registered and pairs is not None:
            own = pairs.join(part.sessions, on="eid", how="semi")
            with reading_tables():
                differences = find_differences(part.files, own, checked.registered[1])
            found += _keep_certain(differences, sessions, unreadable)
    return ArchiveCheck(
        findings=join_findings(found),
        template=template,
        n_sessions=len(sessions),
        n_datasets=n_datasets,
        n_other_files=n_others,
        seconds=time.perf_counter() - start,
    )


def _keep_certain(
    found: list[pl.DataFrame], sessions: pl.DataFrame, unreadable: pl.DataFrame
) -> list[pl.DataFrame]:
    """Leave out what is missing where it may be in a folder that could not be read."""
    if unreadable.is_empty():
        return found
    hiding = sessions.join(unreadable.select("eid").unique(), on="eid", how="semi")["session"]
    is_hidden = pl.col("session").is_in(hiding.implode())
    if unreadable["eid"].null_count():  # above the sessions: any of them may be there
        is_hidden |= pl.col("rel_path").is_null()
    is_missing = pl.col("kind") == CheckKind.NOT_ON_DISK.value
    return [rows.filter(~(is_missing & is_hidden)) for rows in found]


def _choose_complete(checked: _Checked, condition: str) -> pl.Series:
    """Return the ids of the sessions that are called complete."""
    schema = polars_schema(SESSIONS)
    sessions = checked.sessions.with_columns(id="eid").select(schema.names()).lazy()
    files = checked.parts.scan()
    there = files.collect_schema().names()
    missing = {
        name: pl.lit(None, dtype)
        for name, dtype in polars_schema(DATASETS).items()
        if name not in there
    }
    return choose_sessions(sessions, files.with_columns(**missing), condition)


def _read_template(template: TemplateLike | None, complete: str | None) -> Template | None:
    if template is not None and complete is not None:
        raise OptionError(
            "a template is given, or made of complete sessions; leave one of both out"
        )
    if template is None or isinstance(template, Template):
        return template
    if isinstance(template, str | os.PathLike):
        return Template.read(template)
    return Template(tuple(template))


def _read_tables(tables: Tables) -> tuple[pl.DataFrame, pl.LazyFrame]:
    """Return the sessions of tables, and their datasets, which are read in parts."""
    sessions, datasets = scan_pair(tables)
    with reading_tables():
        return sessions.collect(), datasets


def _leaving_out_tables(options: WalkOptions, root: Path) -> WalkOptions:
    return replace(options, own_files=own_files(root, root))


def _find_unreadable(sessions: pl.DataFrame, issues: pl.DataFrame) -> pl.DataFrame:
    """Return findings of paths that could not be read, with the session that each lies in."""
    folders = dict(sessions.select("folder", "eid").rows())
    paths = issues["path"].to_list()
    inside = [find_folder_above(path, folders.keys()) for path in paths]
    labels = dict(sessions.select("eid", "session").rows())
    eids = [None if folder is None else folders[folder] for folder in inside]
    return issues.select(
        eid=pl.Series(eids, dtype=pl.String),
        session=pl.Series([labels.get(eid) for eid in eids], dtype=pl.String),
        rel_path="path",
        message="message",
    )
