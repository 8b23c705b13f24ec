"""The options of an index: one object, made once, that travels from the caller into the report."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from polars_alf._version import __version__
from polars_alf.alf.address import parse_address
from polars_alf.alf.arguments import check_argument
from polars_alf.alf.ids import parse_namespace
from polars_alf.alf.layout import check_lab_name
from polars_alf.alf.root import FolderPath, Root, check_folder
from polars_alf.errors import OptionError
from polars_alf.index.session_settings import SettingsMapping
from polars_alf.schema import DATASETS, DIGEST_COLUMNS, GRAIN_NS
from polars_alf.tables.keep import KEEP, check_keep
from polars_alf.tables.limits import check_max_removed
from polars_alf.tables.rows import ROWS_PER_GROUP
from polars_alf.walk.digests import Algorithm, check_digests
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import LEAST_FOLDERS

Settings = Mapping[str, object]
"""All that decides about the rows of a shard but its files, in values that JSON has."""

_FORMAT = 3
"""Format of a shard's files; an interrupted run goes on with its own format only."""

_OF_LISTINGS = ("root", "inode", "follow_links", "exclude", "include_snapshots")
_OF_ROWS = ("version", "lab", "hash_ids", "uuid_filenames", "digests", "columns", "ignore_inode")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """Options of an index, checked when they are made.

    Parameters
    ----------
    walk
        How to walk it.
    changed_from
        Path of a list of the paths that changed, '-' for the standard input, '' for none.
    inventory
        Path of a listing of the whole archive, '-' for the standard input, '' to walk it.
    hash_ids, lab, namespace, reset, prune_missing, quick, restart, assemble, max_removed,
    ignore_inode, etag_md5, keep_generations
        As for `polars_alf.index_archive`.
    namespace_spelling
        The text that the namespace was given as, for messages.
    uuid_filenames
        Whether ids are in the names of files; None does what the last index did.
    digests
        Digests to compute, each once.
    insertions
        Whether to make the table of insertions.
    default_revisions
        Whether to make ``default_revision``; None does so where there are revisions.
    settings_from
        Where to read task protocols and projects; what `SettingsMapping.parse` takes will do.
    ids_from
        Folders of tables whose ids win, absolute.
    least_folders
        Least number of dated folders in a shard.
    rows_per_group
        About how many rows are in one row group of a table, and in memory for each thread.
    clock_ns
        A tick of the file system's clock: what is younger than that may change without a sign.

    Raises
    ------
    OptionError
        A value makes no sense, or two contradict each other.
    ArchiveNotFoundError, ArchiveNotADirectoryError
        A folder of `ids_from` is not there, or is a file.
    """

    walk: WalkOptions = field(default_factory=WalkOptions)
    hash_ids: bool = True
    uuid_filenames: bool | None = None
    digests: tuple[Algorithm, ...] = ()
    lab: str = ""
    namespace: uuid.UUID | None = None
    namespace_spelling: str | None = None
    ids_from: tuple[Path, ...] = ()
    reset: bool = False
    prune_missing: bool = False
    quick: bool = False
    changed_from: str = ""
    inventory: str = ""
    restart: bool = False
    assemble: bool = False
    max_removed: float | None = None
    ignore_inode: bool = False
    etag_md5: bool = False
    keep_generations: int = KEEP
    insertions: bool = False
    default_revisions: bool | None = None
    settings_from: SettingsMapping | None = None
    least_folders: int = LEAST_FOLDERS
    rows_per_group: int = ROWS_PER_GROUP
    clock_ns: int = GRAIN_NS

    def __post_init__(self) -> None:
        flags = ("hash_ids", "reset", "prune_missing", "quick", "restart", "ignore_inode")
        for name in (*flags, "assemble", "etag_md5"):
            check_argument(name, getattr(self, name), bool)
        check_argument("uuid_filenames", self.uuid_filenames, bool, is_optional=True)
        if self.uuid_filenames and not self.hash_ids:
            raise OptionError("ids are taken from names or are paths; leave one of both out")
        self._set("changed_from", os.fspath(self.changed_from))
        if self.changed_from and self.quick:
            raise OptionError(
                "a list of changed paths and --quick (quick=True) are two ways to find what "
                "changed; give one of them"
            )
        self._set("inventory", os.fspath(self.inventory))
        if self.inventory and (self.quick or self.changed_from):
            raise OptionError(
                "an inventory says what all of the archive has; leave out --quick (quick=True) and "
                "--changed-from (changed_from), or --inventory (inventory)"
            )
        if self.assemble and (self.restart or self.changed_from):
            raise OptionError(
                "the parts of a job array have listed all there is to assemble; leave out "
                "--restart (restart) and --changed-from (changed_from), or --assemble (assemble)"
            )
        self._set("lab", check_lab_name(self.lab))
        if isinstance(self.namespace, str):
            self._set("namespace_spelling", self.namespace_spelling or self.namespace)
        self._set("namespace", parse_namespace(self.namespace))
        self._set("digests", check_digests(self.digests))
        check_keep(self.keep_generations)
        self._set("ids_from", _check_ids_from(self.ids_from, hash_ids=self.hash_ids))
        check_max_removed(self.max_removed)
        self._set("settings_from", SettingsMapping.parse(self.settings_from))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, object]:
        """Return the options in values that JSON has."""
        return asdict(self) | {
            "walk": self.walk.to_dict(),
            "digests": [*self.digests],
            "settings_from": self.settings_from and self.settings_from.to_dict(),
            "namespace": self.namespace and str(self.namespace),
            "ids_from": [str(folder) for folder in self.ids_from],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Return the options that `to_dict` gave."""
        walk = WalkOptions.from_dict(values["walk"])  # type: ignore[arg-type]
        return cls(**{**values, "walk": walk})  # type: ignore[arg-type]

    def list_columns(self, before: Settings) -> list[str]:
        """Return the columns of datasets beside DATASETS: those wanted, and those of before."""
        known = before.get("columns")
        wanted = {DIGEST_COLUMNS[algorithm] for algorithm in self.digests}
        wanted.update(known if isinstance(known, list) else [])
        return [c for c in DIGEST_COLUMNS.values() if c in wanted - {*DATASETS.names}]

    def describe_rows(
        self,
        root: Root,
        namespace: uuid.UUID | None,
        snapshot: str | None,
        columns: Sequence[str],
    ) -> Settings:
        """Return all that decides about the rows of a shard but its files."""
        return {
            "version": __version__,
            "format": _FORMAT,
            "root": str(root),
            # Not the device: its number may be another after the machine was started again.
            "inode": root.inode,
            "follow_links": self.walk.follow_links,
            "exclude": [*self.walk.exclude],
            "include_snapshots": self.walk.include_snapshots,
            "lab": self.lab,
            "namespace": str(namespace or ""),
            "hash_ids": self.hash_ids,
            "uuid_filenames": bool(self.uuid_filenames),
            "digests": [*self.digests],
            "columns": [*columns],
            "ignore_inode": self.ignore_inode,
            "etag_md5": self.etag_md5,
            "snapshot": snapshot,
        }


def check_bucket_options(root: FolderPath, options: IndexOptions) -> None:
    """Raise OptionError for an option that has no meaning in a bucket, or outside of one."""
    address = parse_address(root)
    if address and options.quick:
        raise OptionError(
            f"{address} is in a bucket, whose folders have no times: all is listed each time, and "
            "what did not change keeps its digests; leave out --quick (quick=True)"
        )
    if address and options.changed_from:
        raise OptionError(
            f"{address} is in a bucket, of which all is listed each time; leave out --changed-from "
            "(changed_from=…)"
        )
    if address and options.settings_from:
        raise OptionError(
            f"{address} is in a bucket, from which no settings are read; leave out --settings-from "
            "(settings_from=…), or index a copy on disk"
        )
    if options.etag_md5 and not address:
        raise OptionError(
            f"{os.fspath(root)} is a folder, whose files have no ETags; leave out --etag-md5 "
            "(etag_md5=True)"
        )


def is_same_device(before: Settings, root: Root) -> bool:
    """Whether equal inodes now and in the index of some settings mean the same file.

    Some file systems have another device number after each mount, so that nothing is known then.
    """
    known = before.get("device")
    return known == root.device or (known is None and before.get("root") == str(root))


def _check_ids_from(
    folders: FolderPath | Sequence[FolderPath], *, hash_ids: bool
) -> tuple[Path, ...]:
    if not isinstance(folders, str | os.PathLike | Iterable):
        raise OptionError(f"ids_from is {folders!r}; give a folder of tables, or several of them")
    given = [folders] if isinstance(folders, str | os.PathLike) else [*folders]
    if given and not hash_ids:
        raise OptionError("ids are taken from tables or are paths; leave one of both out")
    return tuple(check_folder(folder, to_write=False) for folder in given)


def lists_the_same(before: Settings, settings: Settings) -> bool:
    """Whether a run with other settings lists the same directories in the same way."""
    return all(before.get(name) == settings[name] for name in _OF_LISTINGS)


def makes_the_same(before: Settings, settings: Settings) -> bool:
    """Whether a run with other settings makes the same rows of the same files."""
    return all(before.get(name) == settings[name] for name in _OF_ROWS)
