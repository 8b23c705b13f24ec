"""Find what may be removed. Nothing here changes the archive."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pathspec
import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import check_folder, check_root, temporary_folder
from polars_alf.errors import ForeignTablesError, KeptWarning
from polars_alf.parallel.executors import choose_executor, count_workers, run_tasks
from polars_alf.parallel.progress import CounterFile, Monitor, Progress
from polars_alf.prune.claims import Claims, claim_files, find_claimed, list_owners
from polars_alf.prune.examine import REMOVALS, Removal, examine_files, find_emptied
from polars_alf.prune.tables import Tables, find_tables
from polars_alf.schema import DIRECTORIES, ENTRIES, IssueKind, polars_schema
from polars_alf.tables.files import STATE_DIR, own_files
from polars_alf.walk.options import Options, is_excluded, parse_exclude
from polars_alf.walk.shards import Shard, path_key, plan_shards
from polars_alf.walk.walker import Walker

WITHOUT_ROW = "not in the datasets table"

WITHOUT_SESSION = "its session is not in the tables"

_PATH = pl.concat_str("directory", "name", separator="/").str.strip_prefix("/")


def plan_removals(
    root: str | os.PathLike[str],
    tables_dir: str | os.PathLike[str] | None = None,
    *,
    sessions: pl.DataFrame | pl.LazyFrame | None = None,
    datasets: pl.DataFrame | pl.LazyFrame | None = None,
    remove_empty_sessions: bool = True,
    exclude: str | Sequence[str] = (),
    force: bool = False,
    n_jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> pl.DataFrame:
    """Find the dataset files and session folders that tables do not have. Changes nothing.

    A file is kept if a row of the tables could mean it, in whatever way the folders of its
    session are spelt; if it is a link, is reached through one, or is what a dataset that is a
    link, or a linked folder, leads to; if it is no dataset, or in no session. Whatever is newer
    than the tables is in no row: index first.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    tables_dir
        Folder of the tables; by default the root. Ignored where frames are given.
    sessions, datasets
        Frames instead of the files, both or none: of ``id``, ``lab``, ``subject``, ``date``,
        ``number``, and of ``eid``, ``rel_path``. Other columns are ignored.
    remove_empty_sessions
        Whether to remove folders of sessions that have no row and nothing in them, with the
        folders of their dates and subjects where these have nothing else in them.
    exclude
        What to keep: one or several patterns as in .gitignore, relative to the root. Give those
        that were given to the index: what was left out of the tables is in no row.
    force
        Plan even if there are no tables, or they are not those of this archive.
    n_jobs
        Number of workers; by default one for each processor.
    progress
        Called a few times a second, from another thread.

    Returns
    -------
    polars.DataFrame
        `polars_alf.schema.REMOVALS`: datasets in the order of their paths, then folders, each
        after what is in it.

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
    root = check_root(root)
    n_jobs = count_workers(n_jobs)
    spec = pathspec.GitIgnoreSpec.from_lines(parse_exclude(exclude))
    folder = root if tables_dir is None else check_folder(tables_dir, to_write=False)
    tables = find_tables(root, folder, sessions, datasets)
    if tables.are_empty and not force:
        raise ForeignTablesError(
            f"{tables.place} are missing or empty, so all of {root} would go; index it first, or "
            "force it"
        )
    options = Options(ignored=own_files(folder, root))
    listing = _list_archive(root, options, n_jobs, progress)
    owners = list_owners(listing.directories.lazy(), root.as_posix()).collect().lazy()
    claims = claim_files(owners, tables.sessions.lazy(), tables.datasets.lazy())
    if not claims.belong and not force:
        raise ForeignTablesError(
            f"{tables.place} have no session that is in {root}; give the tables of this archive, "
            "or force it"
        )
    if not claims.paths.is_empty():
        warnings.warn(
            f"{tables.place} have datasets whose sessions are in neither table: files with one of "
            f"their {len(claims.paths)} paths are kept in every session; index {root} again",
            KeptWarning,
            stacklevel=2,
        )
    doubts = _find_doubts(root, listing, tables)
    strays = _find_strays(root, listing, owners, claims)
    strays = [stray for stray in strays if not is_excluded(spec, stray.path)]
    removals = _drop_doubtful(strays, doubts)
    if remove_empty_sessions:
        unknown = [
            session
            for session in _find_unknown_sessions(root, owners, claims)
            if not (_lies_below(session, doubts) or is_excluded(spec, f"{session}/"))
        ]
        removals += find_emptied(root, unknown, [removal.path for removal in removals])
    schema = polars_schema(REMOVALS)
    stamp = pl.lit(tables.stamp, schema.pop("tables"))
    return pl.DataFrame(removals, schema, orient="row").with_columns(tables=stamp)


@dataclass(frozen=True, slots=True)
class _Task:
    root: str
    options: Options
    shard: Shard
    counters: str


@dataclass(frozen=True, slots=True)
class _Listing:
    """ENTRIES and DIRECTORIES of an archive, and the linked folders that were not entered."""

    entries: pl.DataFrame
    directories: pl.DataFrame
    links: list[str]


def _list_archive(
    root: Path, options: Options, n_jobs: int, progress: Callable[[Progress], None] | None
) -> _Listing:
    walker = Walker(str(root), options)
    with (
        temporary_folder() as temporary,
        Monitor(progress, walker.counter) as monitor,
    ):
        shards = plan_shards(walker.survey())
        counters = temporary / "counters"
        monitor.begin_scan(CounterFile.create(counters, len(shards)), len(shards))
        entries: list[pl.DataFrame] = []
        directories: list[pl.DataFrame] = []
        links = _links(walker)
        for batches, table, more in run_tasks(
            _list_shard,
            [_Task(str(root), options, shard, str(counters)) for shard in shards],
            executor=choose_executor(len(shards), n_jobs),
            n_jobs=n_jobs,
            ordered=True,
        ):
            entries += map(pl.DataFrame, batches)
            directories.append(pl.DataFrame(table))
            links += more
            monitor.shards += 1
    return _Listing(_concat(entries, ENTRIES), _concat(directories, DIRECTORIES), links)


def _concat(frames: list[pl.DataFrame], schema: pa.Schema) -> pl.DataFrame:
    return pl.concat(frames) if frames else polars_schema(schema).to_frame()


def _list_shard(task: _Task) -> tuple[list[pa.RecordBatch], pa.Table, list[str]]:
    counter = CounterFile(Path(task.counters)).slot(task.shard.index)
    walker = Walker(task.root, task.options, counter)
    return list(walker.walk(task.shard.units)), walker.directories(), _links(walker)


def _links(walker: Walker) -> list[str]:
    issues = pl.DataFrame(walker.issues())
    return issues.filter(kind=IssueKind.LINKED_DIRECTORY)["path"].to_list()


def _find_strays(
    root: Path, listing: _Listing, owners: pl.LazyFrame, claims: Claims
) -> list[Removal]:
    """Find the datasets that no row claims, by whatever way, in the order of their paths."""
    entries = listing.entries.with_row_index("entry").lazy()
    names = entries.select("entry", pl.col("directory", "name").cast(pl.String))
    claimed = find_claimed(names, owners, claims).collect(engine="streaming").lazy()
    has_row = pl.col("session").is_in(claims.sessions["session"].implode())
    reason = pl.when(has_row).then(pl.lit(WITHOUT_ROW)).otherwise(pl.lit(WITHOUT_SESSION))
    strays, kept = pl.collect_all(
        [
            names.join(claimed, on="entry", how="anti")
            .join(listing.directories.lazy(), on="directory")
            .with_columns(reason=reason),
            entries.join(claimed, on="entry", how="semi").select("directory", "name", "inode"),
        ]
    )
    if strays.is_empty():
        return []
    removals = list(examine_files(root, strays))
    led_to = _find_targets(root, strays, {removal.path for removal in removals})
    removals = [removal for removal in removals if removal.path not in led_to]
    # A link among what is claimed leads to the very file, wherever that lies, and so does a
    # second name: what the tables have is the file. Windows tells no inodes on listing.
    inodes = [0, *(removal.inode for removal in removals)]
    alike = kept.filter(pl.col("inode").is_in(inodes))
    known = _identify(root, alike.select(_PATH).to_series())
    return sorted(
        (
            removal
            for removal in removals
            if not (known and _identify(root, [removal.path]) <= known)
        ),
        key=lambda removal: path_key(removal.path),
    )


def _find_targets(root: Path, strays: pl.DataFrame, regular: set[str]) -> set[str]:
    """Return what those of the strays that are links lead to, relative to the root."""
    paths = [path for path in strays.select(_PATH).to_series() if path not in regular]
    targets = [root.joinpath(path).resolve() for path in paths if root.joinpath(path).is_symlink()]
    return {
        target.relative_to(root).as_posix() for target in targets if target.is_relative_to(root)
    }


def _find_unknown_sessions(root: Path, owners: pl.LazyFrame, claims: Claims) -> list[str]:
    """Return the folders of sessions without a row, but for those that a linked one leads to."""
    with_row = set(claims.sessions["session"])
    sessions = owners.select("session").unique().collect()["session"]
    # The folder of the root is the caller's.
    unknown = sorted({*sessions} - with_row - {""}, key=path_key)
    known = _identify(root, with_row) if unknown else set()
    return [session for session in unknown if not _identify(root, [session]) <= known]


def _identify(root: Path, paths: Iterable[str]) -> set[tuple[int, int]]:
    """Return what tells files apart, links followed; nothing for what is not there."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            status = root.joinpath(path).stat()
            found.add((status.st_dev, status.st_ino))
    return found


def _find_doubts(root: Path, listing: _Listing, tables: Tables) -> dict[str, str]:
    """Return folders and files below which nothing may go, and why."""
    doubts = dict.fromkeys(
        tables.skipped, "the last index could not take them; see its issues, and index again"
    )
    for link in listing.links:
        target = (root / link).resolve()
        if target.is_relative_to(root):
            path = target.relative_to(root).as_posix()
            doubts["" if path == "." else path] = (
                f"the linked folder {link!r} leads there; remove the link, or the files by hand"
            )
    return doubts


def _lies_below(path: str, folders: Mapping[str, str]) -> str | None:
    """Return the value of a folder that is, or holds, a path; "" holds all."""
    above = accumulate(path.split("/"), "{}/{}".format)
    return next((folders[folder] for folder in ("", *above) if folder in folders), None)


def _drop_doubtful(removals: Iterable[Removal], doubts: Mapping[str, str]) -> list[Removal]:
    """Return what may go without a doubt; warn of the rest."""
    sure = []
    kept = defaultdict(list)
    for removal in removals:
        why = _lies_below(removal.path, doubts)
        if why:
            kept[why].append(removal.path)
        elif STATE_DIR not in removal.path.split("/"):
            sure.append(removal)
    for why, paths in kept.items():
        warnings.warn(
            f"kept {len(paths)} that no table has, {paths[0]!r} for one: {why}",
            KeptWarning,
            stacklevel=3,
        )
    return sure
