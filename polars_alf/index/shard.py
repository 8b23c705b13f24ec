"""One shard, from dated folders to rows on disk: the part of an index that runs in parallel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa

from polars_alf.alf.path_columns import expr_join
from polars_alf.alf.paths import path_key, printable
from polars_alf.alf.root import Root
from polars_alf.arrow import make_table
from polars_alf.index.changed import ChangedPaths, ShardChanges
from polars_alf.index.changes import CHANGES, DIGESTS, compare_entries, list_changes, mark_unknown
from polars_alf.index.checkpoint import Run
from polars_alf.index.options import IndexOptions
from polars_alf.index.shard_files import ShardSummary, ShardWriter
from polars_alf.index.snapshot import Snapshot, read_known, write_seen
from polars_alf.query.revisions import FOLDER
from polars_alf.schema import DIGEST_COLUMNS, ISSUES, PASSING, IssueKind, polars_schema
from polars_alf.tables.named_rows import NamedDatasets, assemble_named_datasets
from polars_alf.tables.rows import assemble_datasets, assemble_sessions
from polars_alf.walk.digest_shards import digest_paths
from polars_alf.walk.digests import ALGORITHMS, Algorithm
from polars_alf.walk.entries import Entries
from polars_alf.walk.known import Known, KnownListings, Suspects
from polars_alf.walk.recalled import Unchanged
from polars_alf.walk.shards import Shard, shard_folder
from polars_alf.walk.sources import AnyWalker
from polars_alf.walk.walk import Walk
from polars_alf.walk.walker import Walker

FOLDERS_TO_READ = 16
"""Least dated folders of a shard whose files are read on this machine: enough to fill the lanes of
MD5, and few enough that an interrupted run has not much to read again."""


@dataclass(frozen=True, slots=True)
class IndexShard:
    """Make the rows of both tables of a shard, and write them into its folder.

    Parameters
    ----------
    shards
        Folder for the shards of the run.
    options
        The options of the index.
    namespace
        Namespace of the UUIDs; None makes ids of paths.
    digest_threads
        How many files to read at a time.
    snapshot
        Folder of the snapshot of the last index, None where there was none.
    known_shards
        Names of the shards in it that share dated folders with this one.
    is_quick
        Whether directories that have the fingerprints of the snapshot are not listed.
    is_checked
        Whether all of them are known to have these fingerprints.
    changes
        What of the shard may have changed, where a feed tells; all else is as it was.
    same_device
        Whether the archive is on the device that it was on when the snapshot was made.
    """

    shards: Path
    options: IndexOptions
    namespace: UUID | None
    digest_threads: int = 1
    snapshot: Path | None = None
    known_shards: tuple[str, ...] = ()
    is_quick: bool = False
    is_checked: bool = False
    changes: ShardChanges | None = None
    same_device: bool = True

    def __call__(self, walker: AnyWalker, shard: Shard) -> ShardSummary:
        """Walk the shard, and return the summary of its folder."""
        start = time.perf_counter()
        known = listings = None
        if self.snapshot is not None:
            known, listings = read_known(self.snapshot, self.known_shards, shard.folders)
        recalled: Known | None = None
        if known is not None and listings is not None and self.is_quick:
            recalled = self._recall(known, listings, walker.root)
        batches = list(walker.walk(shard.folders, recalled))
        entries, changes = self._compare(known, walker, Entries.join(batches))
        directories = pl.DataFrame(walker.directories())
        sessions = assemble_sessions(
            directories.lazy(), walker.root.posix, lab=self.options.lab, namespace=self.namespace
        ).collect()
        issues = walker.issues()
        if self.options.uuid_filenames and self.namespace:
            named = assemble_named_datasets(
                entries, directories, sessions, namespace=self.namespace
            )
            datasets, rel_paths = named.placed
            issues = pa.concat_tables(
                [issues, make_table([*_describe_names(named, entries)], ISSUES)]
            )
        else:
            datasets, rel_paths = assemble_datasets(
                entries, directories, sessions, namespace=self.namespace
            )
        if self.options.etag_md5 and not isinstance(walker, Walker):
            md5 = walker.md5s.gather(datasets["row"])
            hashed = pl.when(pl.col("hash") == "").then(md5).otherwise("hash")
            datasets = datasets.with_columns(hash=hashed)
        columns = _choose_digests(self.options.digests, entries.files)
        if columns:
            datasets, unreadable = _digest(self, walker, datasets, columns, entries)
            issues = pa.concat_tables([issues, unreadable])
        summary = ShardSummary(
            path=str(self.shards / shard.name),
            first_folder=shard.folders[0],
            n_folders=shard.n_folders,
            n_other_files=walker.n_other_files,
            n_changes=dict(changes["change"].value_counts().iter_rows()),
            is_whole=not any(kind in PASSING for kind in issues.column("kind").to_pylist()),
            seconds=time.perf_counter() - start,
            n_moved=int(entries.files["is_moved"].sum()),
            has_revisions=bool(rel_paths.str.contains(FOLDER).any()),
        )
        with shard_folder(self.shards, shard.name) as folder:
            digests = _order_digests(entries.files, datasets)
            sure_ns = walker.begun_ns - self.options.clock_ns
            writer = ShardWriter(folder)
            seen = write_seen(writer, batches, walker.listings(), digests, sure_ns)
            summary = replace(summary, seen=seen)
            writer.write_rows(
                sessions=_count_datasets(sessions, datasets),
                datasets=datasets.drop("row", "rank"),
                rel_paths=rel_paths,
                issues=issues,
                changes=changes,
            )
            writer.finish(shard, summary)
        return summary

    def _recall(self, known: Entries, listings: pl.DataFrame, root: Root) -> Known:
        """Return what a walk need not list again."""
        if not self.is_checked:
            suspects = self.changes.find_suspects(listings, root) if self.changes else None
            return KnownListings(listings, known, suspects=suspects)
        if listings["mtime_ns"].has_nulls():
            # Folders with issues, whose fingerprints are not kept, are listed each time.
            return KnownListings(listings, known, suspects=Suspects())
        return Unchanged(listings, known)

    def _compare(
        self, known: Entries | None, walker: AnyWalker, entries: Entries
    ) -> tuple[Entries, pl.DataFrame]:
        """Return what `compare_entries` makes of entries, and CHANGES since the last index."""
        if known is None:
            return mark_unknown(entries), polars_schema(CHANGES).to_frame()
        compared = compare_entries(
            known,
            entries,
            same_device=self.same_device,
            ignore_inode=self.options.ignore_inode,
        )
        return compared, list_changes(known, compared, walker.issues())


def index_shards(
    walk: Walk,
    options: IndexOptions,
    run: Run,
    folders: pl.Series,
    snapshot: Snapshot | None = None,
    unchanged: frozenset[str] | None = None,
    changed: ChangedPaths | None = None,
    same_device: bool = True,
) -> tuple[list[ShardSummary], int]:
    """Index the shards of a run that are not finished.

    Parameters
    ----------
    walk
        The walk of the archive.
    options
        The options of the index.
    run
        The run, whose folder takes the shards.
    folders
        The dated folders that there are.
    snapshot
        Snapshot of the last index.
    unchanged
        Names of its shards that are as they were; None lists every directory.
    changed
        The paths that changed, where a feed tells: all else is as it was.
    same_device
        Whether the archive is on the device that it was on then.

    Returns
    -------
    summaries : list of ShardSummary
        Of all shards of the run, in the order of their paths.
    n_jobs : int
        How many workers there were.
    """
    least = choose_least(walk, options, len(folders))
    shards = walk.plan_shards(folders, least=least, finished=run.finished)
    return visit_shards(
        walk,
        options,
        run,
        shards,
        snapshot=snapshot,
        unchanged=unchanged,
        changed=changed,
        same_device=same_device,
        work=run.path,
    )


def choose_least(walk: Walk, options: IndexOptions, n_folders: int) -> int:
    """Return the least number of dated folders in a shard: fewer where files are read."""
    if not options.digests:
        return options.least_folders
    is_local = walk.choose_workers(n_folders).is_local
    return min(options.least_folders, FOLDERS_TO_READ if is_local else 1)


def visit_shards(
    walk: Walk,
    options: IndexOptions,
    run: Run,
    shards: Sequence[Shard],
    *,
    snapshot: Snapshot | None,
    unchanged: frozenset[str] | None,
    changed: ChangedPaths | None = None,
    same_device: bool,
    work: Path,
) -> tuple[list[ShardSummary], int]:
    """Index shards; parameters and results of `index_shards`. Workers count in `work`."""
    n_folders = 0 if options.digests else sum(shard.n_folders for shard in shards)
    workers = walk.choose_workers(len(shards), n_folders=n_folders)
    digest_threads = 1
    if options.digests and (n_wanted := walk.count_workers()) > 1:
        # Two, as one reads while the other computes, and the last shard may have the most to read.
        # Processors that have no shard help here; those of a cluster are elsewhere.
        digest_threads = max(2, -(-n_wanted // workers.n_jobs) if workers.is_local else 1)
    known = snapshot.match_shards(shards) if snapshot else {}
    lists_changed = changed is None and workers.is_local and walk.lists_fast()
    tasks = []
    for shard in shards:
        known_shards = known.get(shard.index, ())
        changes = changed.select(shard) if changed else None
        is_checked = unchanged is not None and unchanged.issuperset(known_shards)
        is_checked |= changed is not None and changes is None
        visit = IndexShard(
            shards=run.shards,
            options=options,
            namespace=run.namespace if options.hash_ids else None,
            digest_threads=digest_threads,
            snapshot=snapshot.path if snapshot else None,
            known_shards=known_shards,
            is_quick=unchanged is not None and (is_checked or not lists_changed),
            is_checked=is_checked,
            changes=changes,
            same_device=same_device,
        )
        tasks.append((shard, visit))
    found = walk.visit(tasks, work, workers=workers, n_resumed=len(run.summaries))
    summaries = [*run.summaries, *found]
    summaries.sort(key=lambda summary: path_key(summary.first_folder))
    return summaries, workers.n_jobs


def _count_datasets(sessions: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
    """Add ``n_datasets``; the datasets are in the order of the sessions."""
    ranks = pl.int_range(len(sessions), dtype=pl.UInt32, eager=True)
    ends = datasets["rank"].search_sorted(ranks, side="right").cast(pl.UInt64)
    return sessions.with_columns(n_datasets=ends - ends.shift(1, fill_value=0))


def _describe_names(named: NamedDatasets, entries: Entries) -> Iterator[tuple[object, ...]]:
    """Yield ISSUES of files whose names have UUIDs that do not tell which dataset they are."""

    def list_paths(rows: pl.Series) -> list[str]:
        found = entries.decode(entries.files[rows.to_list()])
        return found.select(expr_join("directory", "name")).to_series().to_list()

    skipped = list_paths(named.skipped["row"]), list_paths(named.skipped["kept"])
    for path, kept in zip(*skipped, strict=True):
        name = kept.rpartition("/")[2]
        yield _describe_name(
            path,
            IssueKind.DUPLICATE_DATASET,
            f"without its UUID it has the name of {name}, which was taken; remove one of them, or "
            "move it to another collection or revision",
        )
    for path in list_paths(named.repeated["row"]):
        yield _describe_name(
            path,
            IssueKind.AMBIGUOUS_ID,
            "its UUID is also that of another file of the session, so it has the id that follows "
            "from its path, by which ONE does not find it; rename it",
        )
    for path in list_paths(named.odd["row"]):
        yield _describe_name(
            path,
            IssueKind.INVALID_UUID,
            "its name has what is nearly a UUID, but not as ONE takes it: lower-case, with "
            "hyphens, and of version 3, 4 or 5; it was taken as part of the name",
        )


def _describe_name(path: str, kind: IssueKind, message: str) -> tuple[object, ...]:
    return printable(path), kind.value, None, printable(message)


def _order_digests(files: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
    """Return the digests of each file, '' where there is none, and whether they are in doubt.

    Those of files that have another inode or device are kept for an index that ignores that.
    """
    if not files["is_moved"].any() and all((datasets[name] == "").all() for name in DIGESTS):
        return files.select(*DIGESTS, "is_moved", is_young=pl.lit(value=False))
    joined = (
        files.drop(DIGESTS)
        .with_row_index("row")
        .join(datasets.select("row", *DIGESTS), on="row", how="left", maintain_order="left")
    )
    is_moved = pl.col("is_moved") & pl.all_horizontal(pl.col(DIGESTS).fill_null("") == "")
    return joined.select(
        *(
            pl.when(is_moved).then(f"was_{name}").otherwise(name).fill_null("").alias(name)
            for name in DIGESTS
        ),
        is_moved=is_moved,
        is_young=is_moved & pl.col("is_young"),
    )


def _choose_digests(wanted: Sequence[Algorithm], files: pl.DataFrame) -> list[Algorithm]:
    """Return the digests to compute: those wanted, and others that files had and are in doubt.

    A file modified just before its digest was made is read again, asked for or not, lest the
    digest be lost. One that may be another file is read again only if digests are wanted.
    """
    if not wanted and not files["is_young"].any():
        return []
    doubted = files.filter(pl.col("is_young") & ~pl.col("is_moved") | pl.lit(bool(wanted)))
    doubted = doubted.filter(pl.col("is_young") | pl.col("is_moved"))
    had = {name for name in DIGESTS if (doubted[f"was_{name}"] != "").any()}
    return [name for name in ALGORITHMS if name in wanted or DIGEST_COLUMNS[name] in had]


def _digest(
    visit: IndexShard,
    walker: AnyWalker,
    datasets: pl.DataFrame,
    algorithms: Sequence[Algorithm],
    entries: Entries,
) -> tuple[pl.DataFrame, pa.Table]:
    """Complete the digests, '' where a file cannot be read, and return the issues of those."""
    columns = [DIGEST_COLUMNS[algorithm] for algorithm in algorithms]
    wanted = [DIGEST_COLUMNS[algorithm] for algorithm in visit.options.digests]
    if wanted:
        unread = datasets.filter(pl.any_horizontal(pl.col(wanted) == ""))
    else:
        is_young = entries.files.select(pl.col("is_young") & ~pl.col("is_moved")).to_series()
        unread = datasets.filter(is_young.gather(datasets["row"]))
    # The largest first, so that none is left at the end for one thread alone.
    rows = unread.sort("file_size", descending=True)["row"]
    found_files = entries.decode(entries.files.gather(rows))
    unread = found_files.select(row=rows, path=expr_join("directory", "name"))
    outcomes = digest_paths(
        walker, unread["path"].to_list(), algorithms, threads=visit.digest_threads
    )
    found: list[tuple[object, ...]] = []
    issues: list[tuple[object, ...]] = []
    for (row, path), outcome in zip(unread.iter_rows(), outcomes, strict=True):
        if isinstance(outcome, OSError):
            message = f"its content cannot be read, so it has no hash: {outcome.strerror}"
            issues.append(
                (printable(path), IssueKind.UNREADABLE_CONTENT.value, outcome.errno, message)
            )
        else:
            found.append((row, *outcome))
    schema = {"row": pl.UInt32} | dict.fromkeys(columns, pl.String)
    read = pl.DataFrame(found, schema, orient="row")
    return datasets.update(read, on="row"), make_table(issues, ISSUES)
