"""An inventory: a listing of a whole archive, of which tables are made without a walk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from polars_alf.alf.address import Address
from polars_alf.alf.paths import printable
from polars_alf.alf.root import FolderPath, Root
from polars_alf.errors import InventoryError
from polars_alf.parallel.progress import Counter
from polars_alf.schema import IssueKind
from polars_alf.walk.inventory_formats import choose_reader, open_source, read_find
from polars_alf.walk.inventory_rows import Kind, Records, Relation
from polars_alf.walk.inventory_s3 import Manifest, find_manifest, read_objects
from polars_alf.walk.inventory_store import Store, StoreWriter
from polars_alf.walk.layout import Layout

_MOST_MALFORMED = 1000
"""Malformed records that are told one by one."""

_LONGEST = 200
"""Characters of a malformed record that are told."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The rows of an inventory in a store.

    Parameters
    ----------
    folder
        Folder of the store.
    checksum
        What tells the listing from others, in hexadecimal.
    n_rows, n_outside
        Rows that lie in the archive, and others.
    """

    folder: Path
    checksum: str
    n_rows: int
    n_outside: int


def store_inventory(
    file: str, root: Root, spelling: FolderPath, folder: Path, counter: Counter
) -> Inventory:
    """Read a listing into a store.

    Parameters
    ----------
    file
        Path of the listing, or `STDIN`: what `find` or `rclone lsjson` printed, a file of dwalk,
        or what S3 Inventory wrote.
    root
        The archive.
    spelling
        Its path as the caller gave it, which paths of the listing may begin with.
    folder
        Existing folder for the store.
    counter
        Counts rows, as files.

    Raises
    ------
    InventoryError
        The listing cannot be read, has nothing, lacks a column, or is not of the archive.
    """
    layout = Layout(root)
    writer = StoreWriter(folder, _DatedFolders(layout))
    malformed: list[str] = []
    n_malformed = 0
    checksum = xxhash.xxh3_128()
    relation: Relation | None = None
    for relation, part in _read(file, root, spelling, checksum):
        writer.add(relation.relate(part))
        counter.add(files=len(part.frame) + len(part.undecoded) + len(part.malformed))
        n_malformed += len(part.malformed)
        malformed += part.malformed[: _MOST_MALFORMED - len(malformed)]
    if relation is None or not relation.n_rows:
        raise _explain_nothing(file, root, relation, malformed)
    writer.finish(
        {
            "name": file,
            "n_malformed": n_malformed,
            "malformed": [printable(record[:_LONGEST]) for record in malformed],
        }
    )
    return Inventory(folder, checksum.hexdigest(), relation.n_rows, relation.n_outside)


def _read(
    file: str, root: Root, spelling: FolderPath, checksum: xxhash.xxh3_128
) -> Iterator[tuple[Relation, Records]]:
    """Yield the records of a listing, with how their paths relate to the archive."""
    manifest = find_manifest(file)
    if manifest is not None:
        if not isinstance(root.path, Address):
            raise InventoryError(
                f"the inventory {file} is one of a bucket, and the archive {root} is a folder; "
                f"give s3://{manifest.bucket or 'BUCKET'} with the folder in it"
            )
        yield from _read_manifest(manifest, root.path, checksum)
        return
    with open_source(file, checksum) as source:
        read, is_relative = choose_reader(source)
        if root.is_bucket and not is_relative:
            raise InventoryError(
                f"the inventory {source.name} is one of folders, and the archive {root} is in a "
                "bucket; give the manifest.json of S3 Inventory, or what rclone lsjson -R prints"
            )
        relation = Relation([], takes_relative=True, is_bucket=root.is_bucket)
        if not is_relative:
            tops = {str(root.path), os.path.abspath(spelling)}  # noqa: PTH100  links stay
            relation.tops = sorted(top.rstrip("/") for top in tops)
        is_first = True
        for part in read(source):
            if is_first and read is read_find and len(part.frame):
                _take_start(source.name, part, root, relation)
            is_first = False
            yield relation, part


def _read_manifest(
    manifest: Manifest, address: Address, checksum: xxhash.xxh3_128
) -> Iterator[tuple[Relation, Records]]:
    if manifest.bucket and manifest.bucket != address.bucket:
        raise InventoryError(
            f"the inventory {manifest.path} is one of the bucket {manifest.bucket}, and the "
            f"archive is {address}; give s3://{manifest.bucket} with the folder in it, or the "
            f"inventory of {address.bucket}"
        )
    folder = address.folder
    relation = Relation([folder] if folder else [], takes_relative=not folder, is_bucket=True)
    for part in read_objects(manifest, address.bucket, checksum):
        yield relation, part


def _take_start(name: str, part: Records, root: Root, relation: Relation) -> None:
    """Judge where `find` began, which it prints first: at the archive, or above it."""
    path, kind = part.frame.row(0)[:2]
    if kind != Kind.FOLDER or path == "":
        return
    if not path.startswith("/"):
        relation.tops = [path.rstrip("/")]
        relation.takes_relative = False
        return
    relation.takes_relative = False
    start = path.rstrip("/")
    if any(start.startswith(f"{top}/") for top in relation.tops):
        raise InventoryError(
            f"the inventory {name} begins at {path}, and the archive {root} has more than that; "
            f"list {root}, or give {path} as the archive"
        )


def report_malformed(store: Store, layout: Layout) -> None:
    """Report the records of a listing that could not be read, the first ones each by itself."""
    about = store.about
    malformed, n_malformed = about["malformed"], about["n_malformed"]
    assert isinstance(malformed, list)
    assert isinstance(n_malformed, int)
    cure = "see to what wrote it; a file that it is about is in no table"
    for record in malformed:
        layout.report(
            "",
            IssueKind.MALFORMED_RECORD,
            f"{record!r} in the inventory {about['name']} cannot be read; {cure}",
        )
    if n_malformed > len(malformed):
        layout.report(
            "",
            IssueKind.MALFORMED_RECORD,
            f"{n_malformed - len(malformed):,} more records in the inventory {about['name']} "
            f"cannot be read; {cure}",
        )


def _explain_nothing(
    file: str, root: Root, relation: Relation | None, malformed: list[str]
) -> InventoryError:
    """Return the error for a listing of which no row lies in the archive."""
    if relation is not None and relation.n_outside:
        return InventoryError(
            f"none of the {relation.n_outside:,} paths in the inventory {file} lies in the archive "
            f"{root}, {relation.example!r} for one; list that archive, or give the one that was "
            "listed"
        )
    if malformed:
        return InventoryError(
            f"no record in the inventory {file} can be read, {malformed[0][:_LONGEST]!r} for one; "
            "write it as the documentation says"
        )
    return InventoryError(
        f"the inventory {file} has nothing that lies in the archive {root}; tables that were there "
        "are as they were; look whether the program that wrote it ended without an error"
    )


class _DatedFolders:
    """Find the outermost dated folder that holds a directory, or is it."""

    def __init__(self, layout: Layout) -> None:
        self._is_dated = layout.is_dated
        self._known: dict[str, str | None] = {}

    def __call__(self, directory: str) -> str | None:
        if len(self._known) > 1 << 18:
            self._known.clear()
        return self._find(directory)

    def _find(self, directory: str) -> str | None:
        if directory in self._known:
            return self._known[directory]
        found = self._find(directory.rpartition("/")[0]) if directory else None
        if found is None and self._is_dated(directory):
            found = directory
        self._known[directory] = found
        return found
