"""Basis of an index: the tables that are there, what the last one saw, and its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from polars_alf.alf.ids import check_namespace
from polars_alf.alf.layout import check_lab, count_bases
from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import FolderPath, Root, check_folder, check_tables_dir
from polars_alf.index.earlier import choose_uuid_filenames, find_namespace
from polars_alf.index.guard import check_ids, check_survey
from polars_alf.index.merge import list_subjects
from polars_alf.index.options import (
    IndexOptions,
    Settings,
    check_bucket_options,
    is_same_device,
    lists_the_same,
)
from polars_alf.index.report import read_settings
from polars_alf.index.snapshot import Snapshot
from polars_alf.parallel.progress import Counter, Monitor, Progress
from polars_alf.tables.contract import read_namespace
from polars_alf.tables.files import check_replaceable, own_files
from polars_alf.walk.inventory import Inventory, store_inventory
from polars_alf.walk.sources import open_archive, open_unseen
from polars_alf.walk.walk import Survey


def open_folders(
    root: FolderPath, out: FolderPath | None, options: IndexOptions
) -> tuple[Root, Path, IndexOptions]:
    """Return the archive, the folder of its tables, and options that leave these out."""
    check_tables_dir(root, out, "--out")
    check_bucket_options(root, options)
    if options.inventory:
        must_read = bool(options.digests or options.settings_from)
        opened = open_unseen(root, options.walk, must_read=must_read)
    else:
        opened = open_archive(root, options.walk)
    folder = check_folder(opened.path if out is None else out)
    check_replaceable(folder)
    found, _ = read_namespace(folder, opened.path)
    check_namespace(options.namespace, found, folder, options.namespace_spelling)
    check_ids(folder, hash_ids=options.hash_ids)
    options = replace(
        options,
        walk=replace(options.walk, own_files=own_files(folder, opened.path)),
        uuid_filenames=choose_uuid_filenames(folder, options),
    )
    return opened, folder, options


@contextmanager
def storing_inventory(
    options: IndexOptions,
    root: Root,
    spelling: FolderPath,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[tuple[IndexOptions, Inventory | None]]:
    """Yield options that walk the rows of an inventory, and that, or the options as they are.

    The rows are in the system's folder for temporary files, which all machines of a cluster must
    share. `spelling` is the archive's path as the caller gave it.
    """
    if not options.inventory:
        yield options, None
        return
    with temporary_folder() as folder:
        counter = Counter()
        with Monitor(progress, counter, stage="inventory"):
            inventory = store_inventory(options.inventory, root, spelling, folder, counter)
        yield replace(options, walk=replace(options.walk, inventory=str(folder))), inventory


@dataclass(frozen=True, slots=True)
class Basis:
    """Basis of an index.

    Parameters
    ----------
    namespace
        Namespace of the ids, None for a new one.
    problems
        What becomes of tables that are there, where that is not as usual.
    before
        Settings of the last index.
    snapshot
        What the last index saw, None where that is not known.
    same_device
        Whether the archive is on the device that it was on then.
    columns
        Columns of datasets beside DATASETS.
    settings
        All that decides about the rows of a shard but its files.
    """

    namespace: UUID | None
    problems: Sequence[str]
    before: Settings
    snapshot: Snapshot | None
    same_device: bool
    columns: Sequence[str]
    settings: Settings

    @classmethod
    def find(
        cls, root: Root, folder: Path, options: IndexOptions, inventory: Inventory | None
    ) -> Basis:
        """Find what an index into a folder builds on. Under the state's lock."""
        namespace, problems = find_namespace(folder, root, options)
        before = read_settings(folder)
        snapshot = Snapshot.find(folder)
        if snapshot and before.get("root") != str(root) and not snapshot.is_of(folder):
            snapshot = None
        columns = options.list_columns(before if snapshot else {})
        settings = options.describe_rows(
            root, namespace, snapshot.path.name if snapshot else None, columns
        )
        if inventory:
            settings = {**settings, "inventory": inventory.checksum}
        same_device = is_same_device(before, root)
        return cls(namespace, problems, before, snapshot, same_device, columns, settings)

    @property
    def lists_the_same(self) -> bool:
        """Whether the last index listed the same directories in the same way."""
        return self.snapshot is not None and lists_the_same(self.before, self.settings)


def check_found(
    root: Root, folder: Path, options: IndexOptions, survey: Survey, basis: Basis
) -> None:
    """Raise MassRemovalError or LabConflictError before anything is listed in vain."""
    check_own_lab(root, options, survey)
    snapshot = basis.snapshot
    # Where all is there that the tables were made of, nothing goes that a survey can tell of.
    if not (snapshot and snapshot.is_of(folder) and snapshot.has_folders(survey.folders)):
        check_survey(
            folder,
            root,
            survey.folders,
            snapshot.folders["folder"] if snapshot else survey.folders.clear(),
            options.lab,
            survey.issues,
            options.max_removed,
        )


def check_own_lab(root: Root, options: IndexOptions, survey: Survey) -> None:
    """Raise LabConflictError where the lab that was given is not that of the folders."""
    if options.lab:
        check_lab(options.lab, count_bases(list_subjects(root, survey.folders)))
