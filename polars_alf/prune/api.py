"""The plan of removals. Nothing here changes the archive."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from polars_alf.alf.arguments import check_argument
from polars_alf.alf.path_columns import expr_join
from polars_alf.alf.paths import find_folder_above, list_folders_above, path_key, temporary_folder
from polars_alf.alf.root import FolderRoot, check_folder, open_root
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.arrow import copy_texts
from polars_alf.display import count, warn_caller
from polars_alf.errors import ForeignTablesError, KeptWarning
from polars_alf.parallel.pacer import Pacer
from polars_alf.parallel.progress import Progress
from polars_alf.prune.buckets import Buckets
from polars_alf.prune.claims import find_claimed
from polars_alf.prune.examine import REMOVALS, Removal, RemovalKind, examine_files, find_emptied
from polars_alf.prune.guard import refuse_bucket
from polars_alf.prune.skipped import find_taken_out, list_states, read_skipped
from polars_alf.prune.tables import read_tables
from polars_alf.schema import HIDING, IssueKind, polars_schema
from polars_alf.tables.files import STATE_DIR, own_files
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.scan import list_archive
from polars_alf.walk.walk import open_walk

_PATH = expr_join("directory", "name")

_SKIPPED = "the last index could not take them; see its issues, and index again"

_TAKEN_OUT = "the last index did not find them, and took them out of the tables; index again"


@accepting_old_spellings(n_jobs="jobs")
def plan_removals(
    root: str | os.PathLike[str],
    tables_dir: str | os.PathLike[str] | None = None,
    *,
    sessions: pl.DataFrame | pl.LazyFrame | None = None,
    datasets: pl.DataFrame | pl.LazyFrame | None = None,
    remove_empty_sessions: bool = True,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    include_snapshots: bool = False,
    force: bool = False,
    jobs: int | None = None,
    executor: str | None = None,
    threads: int | None = None,
    op_timeout: float | None = None,
    max_rate: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> pl.DataFrame:
    """Find the dataset files and session folders that tables do not have. Changes nothing.

    A file is kept if a row of the tables could mean it, however the folders of its session are
    spelt; if it is a link or is reached through one; if a dataset that is a link leads to it, or
    a linked folder that is not followed; if it is no dataset, or in no session. A file that is
    newer than the tables has no row: index first. What the last index skipped or could not read
    is kept, as is what it found gone: its state beside the tables, the root, or a folder that
    holds the root is read even where frames are given.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    tables_dir
        Folder of the tables; by default the root. Where frames are given, only what the index
        beside them skipped is read there.
    sessions, datasets
        Frames instead of the files, both or none: of ``id``, ``lab``, ``subject``, ``date``,
        ``number``, and of ``eid``, ``rel_path``. Other columns are ignored.
    remove_empty_sessions
        Whether to remove folders of sessions that have no row and nothing in them, with the
        folders of their dates and subjects where these have nothing else in them.
    follow_links, exclude, include_snapshots
        As given to the index. Excluded files are kept, although they have no row. Nothing is
        removed through a link, whether it is followed or not.
    force
        Plan even if there are no tables, or they are not those of this archive.
    jobs, executor, threads, op_timeout, max_rate, progress
        As for `index_archive`. A directory that does not answer in time is kept, with all that
        is in it.

    Returns
    -------
    polars.DataFrame
        `polars_alf.prune.examine.REMOVALS`: datasets in the order of their paths, then folders,
        inner ones first.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root.
    ForeignTablesError
        There are no tables, they are empty, or have no session that is in the archive.
    TableError
        A table cannot be read or lacks a column.
    TornPairError
        The two are of different runs.
    OptionError
        One frame is given without the other, or another option makes no sense.

    Warns
    -----
    KeptWarning
        Files that no row has were kept, as it is not certain that they may go.
    """
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
    check_argument("remove_empty_sessions", remove_empty_sessions, bool)
    check_argument("force", force, bool)
    refuse_bucket(root)
    opened = open_root(root, op_timeout)
    folder = opened.path if tables_dir is None else check_folder(tables_dir, to_write=False)
    tables = read_tables(folder, sessions, datasets)
    states = list_states(opened, folder)
    if tables.are_empty and not force:
        raise ForeignTablesError(
            f"{tables.place} are missing or empty, so all of {opened} would go; index it first, "
            "give the folder of its tables with --tables-dir (tables_dir=…), or, where an index "
            "has found nothing, plan it all the same with --force (force=True)"
        )
    # What is excluded is walked, too: a link in it may lead to a file that has no row.
    walked = replace(options, exclude=(), own_files=own_files(folder, opened.path))
    with (
        temporary_folder() as scratch,
        open_walk(opened, walked, progress) as walk,
        list_archive(walk) as listing,
    ):
        walk.monitor.stage = "compare"
        issues = listing.issues
        buckets = Buckets(listing, opened.posix, tables, scratch)
        if not buckets.belong and not force:
            raise ForeignTablesError(
                f"{tables.place} have no session that is in {opened}; give the tables of this "
                "archive with --tables-dir (tables_dir=…); --force (force=True) plans it all the "
                "same"
            )
        strays, figures = _find_strays(opened, buckets, walk.pacer)
        without_row = _find_unknown_sessions(opened, buckets) if remove_empty_sessions else []
    if not buckets.paths.is_empty():
        warn_caller(
            f"{tables.place} have datasets whose sessions are in neither table: files with one of "
            f"their {len(buckets.paths)} paths are kept in every session; index {opened} again",
            KeptWarning,
        )
    exclusion = options.exclusion
    doubts = _find_doubts(opened, issues, read_skipped(opened, states))
    paths = [stray.path for stray in strays]
    doubts |= dict.fromkeys(find_taken_out(opened, states, paths), _TAKEN_OUT)
    removals = _drop_doubtful(
        [stray for stray in strays if not exclusion.covers(stray.path)], doubts
    )
    if remove_empty_sessions:
        hidden = issues.filter(pl.col("kind").is_in(HIDING))["path"]
        unread = {folder for path in hidden for folder in list_folders_above(path)}
        unknown = [
            session
            for session in without_row
            if find_folder_above(session, doubts.keys()) is None
            and not exclusion.covers(f"{session}/")
        ]
        removals += find_emptied(opened, unknown, [removal.path for removal in removals], unread)
    return _add_figures(removals, tables.stamp, figures)


@dataclass(frozen=True, slots=True)
class _Figures:
    """How many datasets there are."""

    n_archive: int
    n_kept: pl.DataFrame
    """``lab``, and ``n``, of the datasets that are claimed."""
    labs: pl.DataFrame
    """``directory`` of the others, and its ``lab``."""


def _find_strays(
    root: FolderRoot, buckets: Buckets, pacer: Pacer
) -> tuple[list[Removal], _Figures]:
    """Find the datasets that no row claims and no claimed link leads to, sorted by path."""
    n_archive, n_kept, labs = 0, [], []
    paths: set[str] = set()
    removals: dict[str, Removal] = {}
    for part in buckets:
        files = part.files
        entries = files.entries.with_row_index("entry").lazy()
        claimed = find_claimed(entries, part.owners.lazy(), part.claims)
        claimed = claimed.collect(engine="streaming").lazy()
        lab = _list_labs(files.directories)
        strays, kept, n_here = pl.collect_all(
            [
                entries.join(claimed, on="entry", how="anti")
                .join(files.directories.lazy(), on="directory")
                .select("directory", "name", "session"),
                entries.join(claimed, on="entry", how="semi")
                .join(lab.lazy(), on="directory")
                .group_by("lab")
                .agg(n=pl.len()),
                entries.join(lab.lazy(), on="directory", how="semi").select(pl.len()),
            ]
        )
        strays = strays.with_columns(_expr_reason(part.with_row))
        n_archive += n_here.item()
        n_kept.append(copy_texts(kept))
        labs.append(copy_texts(lab.join(strays, on="directory", how="semi")))
        removals.update((removal.path, removal) for removal in examine_files(root, strays, pacer))
        paths.update(strays.select(_PATH).to_series())
    for target in _find_targets(root, [path for path in paths if path not in removals]):
        removals.pop(target, None)
    known = _identify(root, _find_same_inodes(buckets, removals, paths))
    found = [
        removals[path]
        for path in sorted(removals, key=path_key)
        if not (known and _identify(root, [path]) <= known)
    ]
    return found, _Figures(n_archive, pl.concat(n_kept), pl.concat(labs))


def _expr_reason(with_row: pl.DataFrame) -> pl.Expr:
    has_row = pl.col("session").is_in(with_row["session"].implode())
    return (
        pl.when(has_row)
        .then(pl.lit("not in the datasets table"))
        .otherwise(pl.lit("its session is not in the tables"))
        .alias("reason")
    )


def _find_same_inodes(
    buckets: Buckets, removals: Mapping[str, Removal], strays: Collection[str]
) -> Iterator[str]:
    """Yield the claimed files that may be one of the removals under another name.

    A link among the claimed files leads to the very file, wherever that lies, and so does a
    second name: the tables have this file.
    """
    if not removals:
        return
    # Windows gives no inodes in a listing.
    inodes = [0, *(removal.inode for removal in removals.values())]
    for shards in buckets.groups:
        entries = buckets.listing.read(shards).entries.filter(pl.col("inode").is_in(inodes))
        yield from (path for path in entries.select(_PATH).to_series() if path not in strays)


def _list_labs(directories: pl.DataFrame) -> pl.DataFrame:
    """Return ``directory`` and ``lab``, the folder of its lab."""
    # A session is [lab/][Subjects/]subject/date/number.
    lab = pl.col("session").str.replace(r"(?:^|/)(?:[^/]+/){0,2}[^/]+$", "")
    return directories.drop_nulls("session").select(
        "directory", lab=lab.str.replace(r"(?:^|/)Subjects$", "")
    )


def _find_targets(root: FolderRoot, paths: Iterable[str]) -> set[str]:
    """Return the files of the archive that those of some paths that are links lead to."""
    links = [link for path in paths if (link := Path(root.locate(path))).is_symlink()]
    return {path for link in links if (path := root.relate(link.resolve())) is not None}


def _find_unknown_sessions(root: FolderRoot, buckets: Buckets) -> list[str]:
    """Return the folders of sessions without a row, but for those that a known one links to."""
    unknown = sorted(buckets.iter_sessions(with_row=False), key=path_key)
    known = _identify(root, buckets.iter_sessions(with_row=True)) if unknown else set()
    return [session for session in unknown if not _identify(root, [session]) <= known]


def _identify(root: FolderRoot, paths: Iterable[str]) -> set[tuple[int, int]]:
    """Return device and inode of files or folders, links followed; nothing for lost ones."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            status = Path(root.locate(path)).stat()
            found.add((status.st_dev, status.st_ino))
    return found


def _find_doubts(root: FolderRoot, issues: pl.DataFrame, skipped: Iterable[str]) -> dict[str, str]:
    """Return folders and files with the reason why nothing in them may go."""
    doubts = dict.fromkeys(skipped, _SKIPPED)
    for link in issues.filter(kind=IssueKind.LINKED_DIRECTORY)["path"]:
        path = root.relate(Path(root.locate(link)).resolve())
        if path is not None:
            doubts[path] = (
                f"the linked folder {link!r} leads there; remove the link, or the files by hand"
            )
    return doubts


def _drop_doubtful(removals: Iterable[Removal], doubts: Mapping[str, str]) -> list[Removal]:
    """Return the removals that are in no doubt; warn of the others."""
    sure = []
    kept = defaultdict(list)
    for removal in removals:
        folder = find_folder_above(removal.path, doubts.keys())
        if folder is not None:
            kept[doubts[folder]].append(removal.path)
        elif STATE_DIR not in removal.path.split("/"):
            sure.append(removal)
    for why, paths in kept.items():
        warn_caller(
            f"kept {count(len(paths), 'path')} that no table has, {paths[0]!r} for one: {why}",
            KeptWarning,
        )
    return sure


def _add_figures(removals: Iterable[Removal], stamp: str | None, figures: _Figures) -> pl.DataFrame:
    """Make REMOVALS, with how many datasets there are."""
    schema = polars_schema(REMOVALS)
    directory = pl.col("path").str.replace(r"(?:^|/)[^/]*$", "")
    rows = {name: schema[name] for name in Removal._fields}
    plan = (
        pl.DataFrame(removals, rows, orient="row")
        .with_columns(directory=pl.when(kind=RemovalKind.DATASET).then(directory))
        .join(figures.labs, on="directory", how="left", maintain_order="left")
    )
    planned = plan.filter(kind=RemovalKind.DATASET).group_by("lab").agg(n=pl.len())
    counts = pl.concat([figures.n_kept, planned]).group_by("lab").agg(n_lab=pl.col("n").sum())
    return (
        plan.join(counts, on="lab", how="left", maintain_order="left")
        .with_columns(tables=pl.lit(stamp, pl.String), n_archive=pl.lit(figures.n_archive))
        .select(*schema.names())
        .cast(schema)
    )
