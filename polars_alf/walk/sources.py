"""The sources of a walk: folders of a file system, and buckets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from polars_alf.alf.address import Address, parse_address
from polars_alf.alf.encoding import check_encoding
from polars_alf.alf.forks import check_fork
from polars_alf.alf.root import FolderPath, Root, open_root
from polars_alf.errors import ArchiveNotFoundError, OptionError
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
    for name in ("endpoint_url", "region", "anonymous"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(
                f"{flag} ({name}=…) is about buckets, and the archive {os.fspath(path)} is a "
                "folder; leave it out, or give s3://BUCKET"
            )
    return open_root(path, options.op_timeout)


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


def open_walker(
    root: Root, options: WalkOptions, counter: Counter | None = None, *, n_threads: int = 1
) -> AnyWalker:
    """Return a walker of an archive; `n_threads` is as for `Walker`."""
    if not root.is_bucket:
        return Walker(root, options, counter, n_threads=n_threads)
    from polars_alf.walk.bucket_walker import BucketWalker

    return BucketWalker(root, options, counter)
