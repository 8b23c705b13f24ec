"""Index an archive, or a part of it, with options by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from polars_alf.alf.root import FolderPath
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.index.array import PartReport, run_part
from polars_alf.index.options import IndexOptions
from polars_alf.index.report import IndexReport
from polars_alf.index.run import run_index
from polars_alf.index.session_settings import SettingsMapping
from polars_alf.parallel.progress import Progress
from polars_alf.tables.keep import KEEP
from polars_alf.walk.digests import Algorithm, check_digests
from polars_alf.walk.options import WalkOptions

_OF_WALK = (
    *("follow_links", "exclude", "include_snapshots", "threads", "op_timeout", "max_rate"),
    *("executor", "endpoint_url", "region", "anonymous"),
)


@accepting_old_spellings(n_jobs="jobs", out_dir="out")
def index_archive(
    root: FolderPath,
    out: FolderPath | None = None,
    *,
    hash_ids: bool = True,
    uuid_filenames: bool | None = None,
    hash_files: bool = False,
    digest: Algorithm | Sequence[Algorithm] = (),
    lab: str | None = None,
    jobs: int | None = None,
    executor: str | None = None,
    namespace: UUID | str | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    include_snapshots: bool = False,
    ids_from: FolderPath | Sequence[FolderPath] = (),
    reset: bool = False,
    prune_missing: bool = False,
    quick: bool = False,
    changed_from: FolderPath | None = None,
    inventory: FolderPath | None = None,
    restart: bool = False,
    assemble: bool = False,
    max_removed: float | None = None,
    ignore_inode: bool = False,
    etag_md5: bool = False,
    keep_generations: int = KEEP,
    insertions: bool = False,
    default_revisions: bool | None = None,
    settings_from: FolderPath | SettingsMapping | Mapping[str, object] | None = None,
    threads: int | None = None,
    op_timeout: float | None = None,
    max_rate: float | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> IndexReport:
    """Index an archive into ``sessions.pqt`` and ``datasets.pqt``.

    A run that was interrupted is taken up where it was. Where there are tables of an earlier index,
    ids stay as they are, and so do digests of files whose size, time of modification, inode and
    device did not change, also if the archive has another path now. Where all of the archive is as
    that index left it, the tables are not written.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session: a folder, or an
        address of a bucket such as ``s3://bucket/folder``, ``gs://…`` or ``az://…``.
    out
        Existing folder for the tables; by default the root, unless that is in a bucket.
    hash_ids
        Whether ids are UUIDs, as ONE needs them; else they are paths.
    uuid_filenames
        Whether a UUID before the extension, as in ``spikes.times.UUID.npy``, is the dataset's id,
        and no part of its ``rel_path``. Such an id wins over those of other tables. ONE loads these
        files with ``one.uuid_filenames = True``. By default as in the last index, and not in a
        first one.
    hash_files
        Whether to read every dataset for its MD5, the ``hash`` of the table.
    digest
        What to read every dataset for: ``md5``, as `hash_files` does, and ``xxh3_128``, which is
        faster to compute and goes into a column of that name; both are of one reading. A column
        stays in later tables; what those were not asked to read has '' there.
    lab
        Lab of the sessions that lie in no lab's folder. Never part of an id.
    jobs
        Number of workers; by default one for each processor, or each thread of a cluster.
    executor
        ``serial``, ``threads`` or ``processes``; by default threads, or processes where the native
        functions are not built. Or ``dask://HOST:PORT``, the scheduler of a Dask cluster: its
        workers must see the root and the folder for the tables at the same paths. All give the
        same tables.
    namespace
        What UUIDs are made in, a UUID or any name; by default that of the tables that are there,
        or else a new one.
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        What to leave out: one or several patterns as in .gitignore, relative to the root.
    include_snapshots
        Whether to enter folders of snapshots and of what was deleted, such as ``.snapshot`` and
        ``lost+found``. They are left out else, each as an issue; so is any that a pattern of
        `exclude` names, unless that begins with ``!``.
    ids_from
        Folders of tables whose ids win, for sessions of the same lab, subject, date and number,
        and for datasets of these with the same rel_path: a local index agrees with a database.
        Later runs over the same tables keep these ids. What people or the database wrote in them
        is taken along: ``qc``, ``projects``, ``task_protocol`` and all columns that are not ours.
    reset
        Whether to forget what people or a database wrote into the tables that are there. It is kept
        by default, for each row that matches by id, or by its path.
    prune_missing
        Whether rows of a database whose files are not on this disk go. They stay by default, with
        ``exists`` False, where the tables that are there come from a database.
    quick
        Whether to trust the times of directories: one that has not changed since the last index is
        not listed again, unless that is faster than to compare it. A file that was rewritten in
        place, or a link's target, is not seen then.
    changed_from
        A file with the paths that changed since the last index, one a line or each with a NUL after
        it, or '-' for the standard input: only their directories are listed, and all else is taken
        as it was. Paths are absolute, or relative to the root. Without an index before, or after
        one that listed otherwise, all is listed, with a warning.
    inventory
        A file that lists the whole archive, of which the tables are made without a walk: what
        ``find -printf`` or ``rclone lsjson -R`` printed, a file of ``dwalk --output``, or the
        manifest.json of S3 Inventory; or '-' for the standard input. The archive need not be on
        this machine, unless files are to be read for a digest or for settings.
    restart
        Whether to scan everything, also what an interrupted run with the same options had finished,
        and to write the tables also where nothing changed.
    assemble
        Whether to make the tables of what the parts of a job array have listed: see `index_part`.
    max_removed
        How many datasets of the tables that are there may be removed: a count (int), or a share
        (float, from 0.0 to 1.0). By default half of them, or 10 if that is more; but neither all,
        nor every session of a lab. A run that is refused goes on when it is repeated with this.
    ignore_inode
        Whether digests hold where a file's size and time of modification are the same, but not its
        inode or device: after a copy with times, or on storage that numbers files anew with each
        mount. By default such files are counted in a warning, and read again where digests are
        wanted.
    etag_md5
        Whether to take the ETag of an object for its MD5 where it looks like one, as it is one
        for objects that were written in one part and not encrypted by KMS. Of buckets only.
    keep_generations
        Number of earlier generations of the tables to keep, whoever wrote them, beside the new
        ones: `polars_alf.restore_tables` puts them back. Where none of them has other files than
        the tables that replaced it, the last that has is kept, too.
    insertions
        Whether to make the table of insertions as well, as `write_insertions` does. One that is in
        the folder of the tables, or of `ids_from`, is reason enough.
    default_revisions
        Whether datasets have the column ``default_revision``: which of several revisions ONE loads
        where none is asked for, as `with_default_revisions` computes it. By default they do where
        there are revisions; True is for an archive that has none yet, False leaves the column out.
        A choice that somebody made stays, and so does the column then.
    settings_from
        Where ``task_protocol`` and ``projects`` of sessions are read from that have none: 'iblrig'
        for the settings that IBL's rigs leave, a file in JSON, or a `SettingsMapping`. What was
        read, or a person wrote, is kept by later indexes. By default nothing is read.
    threads
        Number of calls to the storage that each worker has under way; by default as many as are
        worth it, from measuring as the run goes. All give the same tables.
    op_timeout
        Seconds after which a directory that does not answer becomes an issue, ``timed_out``; by
        default the run waits as long as it takes.
    max_rate
        Calls to the storage a second, of all workers together, at most; by default there is no
        limit. To open, to examine or to read is a call, and so is a request to a bucket. A part of
        a job array keeps to its share.
    endpoint_url
        Address of the service that has the bucket; by default that of the environment, or of the
        provider.
    region
        Region of the bucket; by default that of the environment or a profile.
    anonymous
        Whether requests to the service are not signed, as public buckets allow. Else credentials
        come from the environment and the usual profiles.
    progress
        Called a few times a second, from another thread.

    Returns
    -------
    IndexReport
        Paths, counts, and the issues by kind.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root or the folder for the tables; nothing was written.
    OptionError
        An option makes no sense; nothing was written.
    LabConflictError
        The lab is not that of a lab's folder; nothing was written.
    TableError
        Tables to take ids from cannot be read, or have none; nothing was written.
    NamespaceConflictError
        The namespace is not that of the tables that are there; nothing was written.
    InventoryError
        The inventory cannot be read, is empty, or is not one of the archive; nothing was written.
    IdsConflictError
        Ids of paths would replace the UUIDs of the tables that are there, or names would no longer
        be read for ids that came from them; nothing was written.
    MassRemovalError
        More would be removed from the tables than `max_removed`, as where storage is not mounted;
        the tables are as they were.
    ArchiveBusyError
        Another run is writing the same tables.
    MissingPartsError
        A part of the job array to assemble has not finished, or none has begun.
    ScanError
        The archive went away or does not answer, none of its sessions could be read, a worker was
        killed, or the cluster failed; the tables are as they were.
    MissingExtraError
        A cluster was given, and Dask is not installed; or a bucket, and obstore is not.
    OutputError
        The tables cannot be written; those that were there are whole.
    CommitError
        The new tables are written, but cannot be put in place; the next run tries again.

    Warns
    -----
    NoSessionsWarning
        There are no sessions, or no datasets: the tables are empty.
    TableWarning
        A table that was there could not be read, or was not ours, or of another archive; or digests
        were not kept, as files may be others.
    """
    options = _gather_options(
        hash_ids=hash_ids,
        uuid_filenames=uuid_filenames,
        hash_files=hash_files,
        digest=digest,
        lab=lab,
        jobs=jobs,
        executor=executor,
        endpoint_url=endpoint_url,
        region=region,
        anonymous=anonymous,
        namespace=namespace,
        follow_links=follow_links,
        exclude=exclude,
        include_snapshots=include_snapshots,
        ids_from=ids_from,
        reset=reset,
        prune_missing=prune_missing,
        quick=quick,
        changed_from=changed_from,
        inventory=inventory,
        restart=restart,
        assemble=assemble,
        max_removed=max_removed,
        ignore_inode=ignore_inode,
        etag_md5=etag_md5,
        keep_generations=keep_generations,
        insertions=insertions,
        default_revisions=default_revisions,
        settings_from=settings_from,
        threads=threads,
        op_timeout=op_timeout,
        max_rate=max_rate,
    )
    return run_index(root, out, options, progress)


@accepting_old_spellings(n_jobs="jobs", out_dir="out")
def index_part(
    root: FolderPath,
    out: FolderPath | None = None,
    *,
    shard: str,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> PartReport:
    """List one part of an archive, as one of a job array that shares the work.

    The first part to come plans the array. When all parts have finished, `index_archive` with
    `assemble` and the same options makes the tables, equal to those of an undisturbed index. A part
    that was cut off, or repeated, goes on with what it has not finished; with `restart` it begins
    anew. All must see the root and the folder for the tables at the same paths. As long as a part
    is at work, no other run writes these tables.

    Parameters
    ----------
    root, out
        As for `index_archive`.
    shard
        ``I/N``: part I, from 1 on, of N.
    progress
        Called a few times a second, from another thread.
    **options
        As for `index_archive`; those that decide about rows and directories must be the same for
        all parts and when they are assembled.

    Returns
    -------
    PartReport
        How many shards the part has.

    Raises
    ------
    OptionError
        The shard is no part of a whole, or an option makes no sense.
    ArchiveBusyError
        Another process is at the same part, or another run is writing the same tables.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, LabConflictError,
    NamespaceConflictError, IdsConflictError, MassRemovalError, ScanError, OutputError
        As for `index_archive`; the tables are as they were.
    """
    return run_part(root, out, _gather_options(**options), shard, progress)


def _gather_options(
    *,
    hash_files: bool = False,
    digest: Algorithm | Sequence[Algorithm] = (),
    lab: str | None = None,
    jobs: int | None = None,
    changed_from: FolderPath | None = None,
    inventory: FolderPath | None = None,
    **others: Any,
) -> IndexOptions:
    """Return the options of the parameters of `index_archive`."""
    walk = {name: others.pop(name) for name in _OF_WALK if name in others}
    return IndexOptions(
        walk=WalkOptions(n_jobs=jobs, **walk),
        digests=check_digests(digest, hash_files=hash_files),
        lab="" if lab is None else lab,
        changed_from="" if changed_from is None else os.fspath(changed_from),
        inventory="" if inventory is None else os.fspath(inventory),
        **others,
    )
