"""The place at a path or an address: the one choice between a file system and a bucket."""

from __future__ import annotations

from polars_alf.alf.address import parse_address
from polars_alf.alf.encoding import check_encoding
from polars_alf.alf.forks import check_fork
from polars_alf.alf.root import FolderPath, check_folder, open_root
from polars_alf.bench.disk import Disk
from polars_alf.bench.objects import Bucket
from polars_alf.bench.place import Place
from polars_alf.bucket.service import forget_stores
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.sources import check_reach

_WHAT = "the folder to measure in"


def find_kind(path: FolderPath) -> type[Place]:
    """Return what the place at a path is; OptionError where it is the address of something else."""
    return Disk if parse_address(path, _WHAT) is None else Bucket


def is_read_by_default(path: FolderPath) -> bool:
    """Whether a place is only read if nobody says otherwise: a bucket, where writing is paid for.

    A bucket may also keep versions of what is deleted.
    """
    return find_kind(path) is Bucket


def open_place(path: FolderPath, options: WalkOptions, *, read_only: bool) -> Place:
    """Return the place at a path, to write in or only to read from.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        A folder cannot be used. Whether a bucket can, shows the first request.
    OptionError
        An option is about buckets, and the path is that of a folder.
    """
    address = parse_address(path, _WHAT)
    if address is None:
        check_reach(path, options)
        return Disk(open_root(path).path if read_only else check_folder(path, what=_WHAT), options)
    check_encoding()
    check_fork()
    forget_stores()  # credentials may be others than for the last run
    return Bucket(address, options)
