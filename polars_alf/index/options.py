"""What an index is asked to do, and what of it an earlier one has done already."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from polars_alf._version import __version__
from polars_alf.alf.paths import check_folder
from polars_alf.errors import OptionError, ScanError
from polars_alf.index.checkpoint import Settings
from polars_alf.index.snapshot import Snapshot
from polars_alf.schema import DATASETS, DIGEST_COLUMNS
from polars_alf.walk.digests import Algorithm
from polars_alf.walk.options import Options

Folder: TypeAlias = str | os.PathLike[str]

_OF_LISTINGS = ("root", "inode", "follow_links", "exclude")

_OF_ROWS = ("version", "lab", "hash_ids", "digests", "columns")


@dataclass(frozen=True, slots=True)
class Request:
    """What an index is to do, every value checked.

    Parameters
    ----------
    root
        The archive, links resolved.
    identity
        Of the root when the run began, see `identify`.
    folder
        For the tables.
    options
        What to look at.
    namespace, hash_ids, digests, ids_from, quick, restart, lab
        As for `polars_alf.index_archive`.
    """

    root: Path
    identity: tuple[int, int]
    folder: Path
    options: Options
    namespace: uuid.UUID | None
    hash_ids: bool
    digests: tuple[Algorithm, ...]
    ids_from: Sequence[Path]
    quick: bool
    restart: bool
    lab: str = ""

    def list_columns(self, before: Settings) -> list[str]:
        """Return the columns of datasets beside DATASETS: those wanted, and those of before."""
        known = before.get("columns")
        wanted = {DIGEST_COLUMNS[algorithm] for algorithm in self.digests}
        wanted.update(known if isinstance(known, list) else [])
        return [c for c in DIGEST_COLUMNS.values() if c in wanted - {*DATASETS.names}]

    def describe(
        self, namespace: uuid.UUID | None, snapshot: Snapshot | None, columns: Sequence[str]
    ) -> Settings:
        """Return all that decides about the rows of a shard but its files, in JSON's values."""
        return {
            "version": __version__,
            "root": str(self.root),
            # Not the device: its number may be another after the machine was started again.
            "inode": self.identity[1],
            "follow_links": self.options.follow_links,
            "exclude": [*self.options.exclude],
            "lab": self.lab,
            "namespace": str(namespace or ""),
            "hash_ids": self.hash_ids,
            "digests": [*self.digests],
            "columns": [*columns],
            "snapshot": snapshot.path.name if snapshot else None,
        }

    def check_identity(self) -> None:
        """Check that the archive was not unmounted, or replaced, since the run began.

        Raises
        ------
        ScanError
            It was.
        """
        if identify(self.root) != self.identity:
            raise ScanError(
                f"{self.root} is not the folder that it was when the run began; tables that were "
                "there are as they were; see to its mount, and run again"
            )


def identify(root: Path) -> tuple[int, int]:
    """Return what tells a folder from another one that takes its place: device and inode."""
    status = root.stat()
    return status.st_dev, status.st_ino


def check_ids_from(folders: Folder | Sequence[Folder], *, hash_ids: bool) -> Sequence[Path]:
    """Return the folders of tables to take ids from.

    Raises
    ------
    OptionError
        Ids are to be paths.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        One of them cannot be used.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else folders
    if given and not hash_ids:
        raise OptionError("ids are taken from tables or are paths; leave one of both out")
    return [check_folder(folder, to_write=False) for folder in given]


def lists_the_same(before: Settings, settings: Settings) -> bool:
    """Tell whether a run with other settings lists the same directories in the same way."""
    return all(before.get(name) == settings[name] for name in _OF_LISTINGS)


def makes_the_same(before: Settings, settings: Settings) -> bool:
    """Tell whether it makes the same rows of them."""
    return all(before.get(name) == settings[name] for name in _OF_ROWS)
