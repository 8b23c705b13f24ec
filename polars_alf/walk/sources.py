"""The sources of a walk: folders of a file system, buckets, and inventories of either."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from polars_alf.alf.address import Address, parse_address
from polars_alf.alf.encoding import check_encoding
from polars_alf.alf.forks import check_fork
from polars_alf.alf.root import FolderPath, Root, open_root
from polars_alf.errors import ArchiveNotFoundError, ArchivePermissionError, OptionError
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.progress import Counter
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

if TYPE_CHECKING:  # loaded for buckets alone
    from polars_alf.walk.bucket_walker import BucketWalker

AnyWalker: TypeAlias = "Walker | BucketWalker"


def open_archive(path: FolderPath, options: WalkOptions) -> Root:
    """Return the root at a path, or at the address of a bucket, after a look at it.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, ScanError
        It is not there, or does not answer.
    OptionError
        An option has no meaning there.
    MissingExtraError
        It is a bucket, and a package of the extra ``cloud`` is not installed.
    """
    address = parse_address(path)
    if address is not None:
        return _open_bucket(address, options)
    check_reach(path, options)
    return open_root(path, options.op_timeout)


def check_reach(path: FolderPath, options: WalkOptions) -> None:
    """Raise OptionError where options tell how a bucket is reached, and the path is no bucket's."""
    for name in ("endpoint_url", "region", "anonymous"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(
                f"{flag} ({name}=…) is about buckets, and the archive {os.fspath(path)} is a "
                "folder; leave it out, or give s3://BUCKET"
            )


def _open_bucket(address: Address, options: WalkOptions) -> Root:
    if options.follow_links:
        raise OptionError(
            f"{address} is in a bucket, where there are no links; leave out --follow-links "
            "(follow_links=True)"
        )
    check_encoding()
    check_fork()
    from polars_alf.bucket.keys import has_keys
    from polars_alf.bucket.loop import run_requests
    from polars_alf.bucket.service import forget_stores

    forget_stores()  # credentials may be others than for the last run
    service = options.find_service(address)
    if not run_requests(has_keys(service)):
        raise ArchiveNotFoundError(
            f"there is nothing in {address}; give the bucket, or a folder in it that has objects"
        )
    return Root(address, service.number, service.number)


def open_unseen(path: FolderPath, options: WalkOptions, *, must_read: bool) -> Root:
    """Return the root of an archive that has an inventory, and need not be on this machine.

    Parameters
    ----------
    path
        Its path, or the address of a bucket.
    options
        How to walk it.
    must_read
        Whether files are to be read.

    Raises
    ------
    OptionError
        An option has no meaning there, or files are to be read and are not here.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, ScanError
        As `open_archive`, where files are to be read.
    """
    if options.follow_links:
        raise OptionError(
            "an inventory says nothing of what lies behind a link; leave out --follow-links "
            "(follow_links=True), and make the inventory so that it follows them, as find -L does"
        )
    if must_read:
        try:
            return open_archive(path, options)
        except (ArchiveNotFoundError, ArchivePermissionError) as error:
            raise OptionError(
                f"files are to be read, and an inventory has none: {error}; or leave out what "
                "reads them, --hash-files (hash_files), --digest (digest) and --settings-from "
                "(settings_from)"
            ) from error
    address = parse_address(path)
    if address is not None:
        check_encoding()
        check_fork()
        number = options.find_service(address).number
        return Root(address, number, number)
    try:
        return open_archive(path, options)
    except (ArchiveNotFoundError, ArchivePermissionError):
        return Root(Path(path).absolute(), 0, 0)


def open_walker(
    root: Root,
    options: WalkOptions,
    counter: Counter | None = None,
    *,
    n_threads: int = 1,
    pacer: Pacer = NO_PACER,
) -> AnyWalker:
    """Return a walker of an archive; `n_threads` and `pacer` are as for `Walker`."""
    if options.inventory:
        return _open_inventory_walker(root, options, counter, pacer)
    if not root.is_bucket:
        return Walker(root, options, counter, n_threads=n_threads, pacer=pacer)
    from polars_alf.walk.bucket_walker import BucketWalker

    return BucketWalker(root, options, counter, pacer)


def _open_inventory_walker(
    root: Root, options: WalkOptions, counter: Counter | None, pacer: Pacer
) -> AnyWalker:
    if root.is_bucket:
        from polars_alf.walk.inventory_keys import InventoryBucketWalker

        return InventoryBucketWalker(root, options, counter, pacer)
    from polars_alf.walk.inventory_lister import InventoryWalker

    # No storage keeps threads waiting, and none hangs.
    options = replace(options, threads=1, op_timeout=None)
    return InventoryWalker(root, options, counter, pacer=pacer)
