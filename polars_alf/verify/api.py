"""The comparison of an archive with its tables: walk, locate its sessions, compare, digest."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

import polars as pl

from polars_alf.alf.address import make_location
from polars_alf.alf.arguments import check_argument
from polars_alf.alf.layout import count_bases
from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import Root, check_folder, check_tables_dir
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.arrow import copy_texts
from polars_alf.display import Shown
from polars_alf.errors import ForeignTablesError, OptionError, TableNotFoundError
from polars_alf.parallel.progress import Progress
from polars_alf.query.spill import BUCKET, find_positions
from polars_alf.schema import TABLES
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import own_files, table_path
from polars_alf.verify.buckets import Buckets, Located, fill_buckets
from polars_alf.verify.compare import (
    FindingKind,
    find_changed,
    find_missing,
    find_new,
    find_rotten,
    join_findings,
    list_unreadable,
)
from polars_alf.verify.locate import expect_paths, locate_sessions
from polars_alf.verify.tables import Tables, choose_folders, read_tables
from polars_alf.walk.digest_shards import digest_in_parallel
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.scan import list_archive
from polars_alf.walk.sources import open_archive
from polars_alf.walk.walk import Walk, open_walk


@dataclass(frozen=True, slots=True, repr=False)
class Verification(Shown):
    """The result of a comparison of an archive with its tables.

    Parameters
    ----------
    root
        The archive, links resolved.
    findings
        `polars_alf.verify.compare.FINDINGS`: no rows where the archive is as the tables say.
    n_datasets
        Datasets of the tables that should be in the archive.
    n_checked
        Datasets that were looked for: all of them, or the sample.
    n_digested
        Datasets that were read for their MD5.
    n_without_hash
        Datasets that were not read, as the tables have no MD5 to compare with.
    seconds
        Duration of the comparison.
    """

    root: PurePath
    findings: pl.DataFrame
    n_datasets: int
    n_checked: int
    n_digested: int
    n_without_hash: int
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by kind; all kinds, also where there are none."""
        found = dict(self.findings.group_by("kind").len().rows())
        return {str(kind): found.get(kind, 0) for kind in FindingKind}

    def _list_figures(self) -> dict[str, object]:
        return {
            "checked": self.n_checked,
            "of": self.n_datasets,
            "digested": self.n_digested,
            "findings": self.counts,
            "time": f"{self.seconds:.2f} s",
            "archive": self.root,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the figures in values that JSON has."""
        return {
            "root": str(self.root),
            "counts": self.counts,
            "n_datasets": self.n_datasets,
            "n_checked": self.n_checked,
            "n_digested": self.n_digested,
            "n_without_hash": self.n_without_hash,
            "seconds": self.seconds,
        }


@accepting_old_spellings(n_jobs="jobs")
def verify_archive(
    root: str | os.PathLike[str],
    tables_dir: str | os.PathLike[str] | None = None,
    *,
    digest: bool = False,
    sample: float | None = None,
    seed: int = 0,
    uuid_filenames: bool | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    include_snapshots: bool = False,
    jobs: int | None = None,
    executor: str | None = None,
    threads: int | None = None,
    op_timeout: float | None = None,
    max_rate: float | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Verification:
    """Compare an archive with its tables. Changes nothing.

    The archive is walked as by an index, and only files that the walk finds are read: a path of
    the tables is never opened.

    Parameters
    ----------
    root
        The archive, or a lab, a Subjects folder, a subject, a date or a session of it.
    tables_dir
        Folder of the tables; by default the root, unless that is in a bucket.
    digest
        Whether to read files and compare their MD5 with that of the tables.
    sample
        Share of the datasets to check, from 0 (excluded) to 1, chosen at random; only their
        dates are walked, and nothing new is looked for. None checks all.
    seed
        Chooses the sample: the same one for the same tables. Ignored without `sample`.
    uuid_filenames
        Whether UUIDs in the names of files are ids, as for `index_archive`; by default if they are
        so in the tables.
    follow_links, exclude, include_snapshots
        As given to `index_archive`: files that it left out are neither missing nor new.
    jobs, executor, threads, op_timeout, max_rate, endpoint_url, region, anonymous, progress
        As for `index_archive`. A directory that does not answer in time makes its datasets
        unreadable. A cluster hands listings over in the folder for temporary files, which all its
        machines must share.

    Returns
    -------
    Verification
        The findings, and how much was checked.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root or the folder of the tables.
    TableError
        A table is missing or cannot be read.
    ForeignTablesError
        The tables are of several archives, of which the root is only one, or of another archive
        that has no session in common with it.
    OptionError
        An option makes no sense, all is excluded, or digests are to be compared of which the
        tables have none.
    ScanError
        The archive went away, or a worker was killed.
    """
    start = time.perf_counter()
    options = WalkOptions(
        follow_links=follow_links,
        exclude=exclude,  # type: ignore[arg-type]
        include_snapshots=include_snapshots,
        threads=threads,
        op_timeout=op_timeout,
        max_rate=max_rate,
        n_jobs=jobs,
        executor=executor,
        endpoint_url=endpoint_url,
        region=region,
        anonymous=anonymous,
    )
    check_argument("digest", digest, bool)
    check_argument("uuid_filenames", uuid_filenames, bool, is_optional=True)
    _check_sample(sample)
    check_tables_dir(root, tables_dir, "--tables-dir")
    opened = open_archive(root, options)
    folder = check_folder(opened.path if tables_dir is None else tables_dir, to_write=False)
    options = replace(options, own_files=own_files(folder, opened.path))
    if tables_dir is None and not any(table_path(folder, name).exists() for name in TABLES):
        raise TableNotFoundError(
            f"{folder} has no tables; give the folder of its tables with --tables-dir "
            "(tables_dir=…), or index it first"
        )
    tables = read_tables(opened, folder)
    n_datasets, has_digests = tables.count()
    if digest and n_datasets and not has_digests:
        raise OptionError(
            f"none of the {n_datasets:,} datasets in the tables in {folder} has an MD5 to compare; "
            "index with --hash-files (hash_files=True) first, or verify without --digest"
        )
    n_checked = n_datasets
    with temporary_folder() as scratch, open_walk(opened, options, progress) as walk:
        if sample is not None:
            tables = tables.sample(sample, seed, scratch)
            n_checked, _ = tables.count()
        choose = None if sample is None else partial(choose_folders, opened, tables)
        with list_archive(walk, choose) as listing:
            walk.monitor.stage = "compare"
            in_names = tables.header.uuid_filenames if uuid_filenames is None else uuid_filenames
            buckets = fill_buckets(
                listing,
                partial(_locate, opened, tables),
                tables.iter_datasets(),
                options.exclusion.covers,
                scratch,
                uuid_filenames=in_names,
                find_all=sample is None,
            )
            if buckets.n_gone and not buckets.n_known:
                _check_located(opened, folder, options.exclude, buckets)
            findings, n_digested, n_without_hash = _compare(
                buckets, walk, digest=digest, find_all=sample is None
            )
    return Verification(
        root=opened.path,
        findings=findings,
        n_datasets=n_datasets,
        n_checked=n_checked,
        n_digested=n_digested,
        n_without_hash=n_without_hash,
        seconds=time.perf_counter() - start,
    )


def _compare(
    buckets: Buckets, walk: Walk, *, digest: bool, find_all: bool
) -> tuple[pl.DataFrame, int, int]:
    """Return FINDINGS, and how many datasets were digested, and how many could not be compared."""
    missing, sizes, new, rotten = [buckets.missing], [], [], []
    n_digested = n_without_hash = 0
    for disk, datasets in buckets:
        missing.append(copy_texts(find_missing(disk, datasets, buckets.is_excluded)))
        changed, to_read, n_others = find_changed(disk, datasets)
        sizes.append(copy_texts(changed))
        if find_all:
            new.append(copy_texts(find_new(disk, datasets)))
        if digest:
            files = to_read.select("path", file_size="disk_size")
            digests = digest_in_parallel(walk, files.unique("path", maintain_order=True))
            rotten.append(copy_texts(find_rotten(to_read, digests)))
            n_digested += digests["disk_hash"].count()
            n_without_hash += n_others
    unreadable = list_unreadable(buckets.listing.issues, pl.concat(missing))
    found = [buckets.unsafe, *missing, *sizes, unreadable, *new, *rotten]
    return join_findings(found), n_digested, n_without_hash


def _check_located(root: Root, folder: Path, exclude: Sequence[str], buckets: Buckets) -> None:
    """Raise an error over tables of which no session was compared with one of the archive."""
    if buckets.missing.is_empty() and exclude:
        raise OptionError(
            f"no session of the tables in {folder} was compared: "
            f"what is excluded, {', '.join(map(repr, exclude))}, has all of them; exclude less"
        )
    origins = {origin for header in read_headers(folder).values() for origin in header.roots}
    is_foreign = all(root.relate(origin) is None for origin in origins)
    if folder == root.path and origins and is_foreign and not buckets.n_sessions:
        (first, *_) = sorted(map(str, origins))
        raise ForeignTablesError(
            f"{root} has tables, and no session of the archive that they are of, {first}; give "
            f"that, and the folder of its tables: {first} --tables-dir {folder} (tables_dir=…)"
        )
    if buckets.n_sessions and origins and is_foreign:
        raise ForeignTablesError(
            f"the tables in {folder} are of {', '.join(map(str, sorted(origins)))}, and {root} has "
            "no session of theirs; give the tables of that, or index it"
        )


def _check_sample(sample: float | None) -> None:
    check_argument("sample", sample, float, is_optional=True)
    if sample is not None and not (math.isfinite(sample) and 0 < sample <= 1):
        raise OptionError(f"a sample of {sample} is no share; give more than 0, and 1 at most")


def _locate(root: Root, tables: Tables, places: pl.DataFrame) -> Located:
    """Find the sessions of the tables in the archive, and where the others should be."""
    sessions = tables.read_sessions()
    located = locate_sessions(places, root.posix, sessions, tables.header.namespace)
    # Each date once, with a slash at its end; sessions right in the root are as they are.
    folders = located["session"].str.replace("/[^/]*$", "/").unique()
    subjects = {
        tuple((root.path / folder).parts[: -1 if folder.endswith("/") else -2])
        for folder in folders
    }
    bases = (root.relate(make_location(base.parts)) for base in count_bases(subjects))
    gone = sessions.filter(
        find_positions(sessions["id"], located["eid"].drop_nulls().sort()).is_null()
    )
    expected = expect_paths(gone, root.parts, filter(None, bases))
    places = places.sort("session")
    rows = find_positions(located["session"], places["session"])
    located = located.with_columns(places[BUCKET].gather(rows))
    return Located(located, gone.select(eid="id"), expected)
