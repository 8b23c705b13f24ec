"""Checksums of a table in its own file, which show damage before anything is made of its rows.

The file is Parquet like any other. One more text in the metadata of its footer, which other
readers pass over and other writers drop or copy, has a checksum of the footer, and one of each
column of each row group, as a query need not read them all. They show damage, not forgery.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from polars_alf.errors import TableError
from polars_alf.parallel.executors import map_ahead
from polars_alf.tables.files import REPAIR_ADVICE
from polars_alf.tables.fingerprint import Fingerprint, fingerprint_file
from polars_alf.tables.row_groups import MAGIC, TAIL, JoinedFile, RowGroup

KEY = b"polars_alf_seal"
"""The key, in the metadata of the footer, of the footer's checksum and then the columns'."""

_ENCODED_KEY = b64encode(KEY)

_DIGITS = 16
_BLANK = b"0" * _DIGITS

_WRITER = "parquet-cpp-arrow"  # as pyarrow calls itself

_MOST_CHECKED = 65_536

_MOST_THREADS = 16
"""Row groups that are in memory at a time, of some 50 MB each; more would wait for the disk."""

Part = TypeVar("Part")


def write_checksummed(
    path: Path,
    schema: pa.Schema,
    parts: Iterable[Part],
    make: Callable[[Part], pa.Table],
    *,
    are_small: bool = False,
    **options: Any,
) -> int:
    """Write a Parquet file with checksums, and return the number of its rows.

    Threads make a table of each part, which becomes a row group, and encode it. `are_small` tells
    that parts take little memory before that, so that more of them may wait. The file is durable
    at the end. `schema` has no nested columns; `options` are those of
    `pyarrow.parquet.ParquetWriter`.
    """

    def encode(part: Part) -> tuple[RowGroup, bytes]:
        group = RowGroup.encode(make(part), **options)
        chunks = _list_chunks(group.metadata)
        sums = (_compute_checksum(group.file[start : start + size]) for start, size in chunks)
        return group, b"".join(sums)

    n_threads = min(pl.thread_pool_size(), _MOST_THREADS)
    columns: list[bytes] = []
    with path.open("wb") as file:
        joined = JoinedFile(file)
        n_ahead = n_threads * (2 if are_small else 1)
        for group, sums in map_ahead(encode, parts, n_threads, n_ahead=n_ahead):
            joined.add(group)
            columns.append(sums)
        text = b"".join((_BLANK, *columns))
        footer = joined.make_footer(schema, {KEY.decode(): text.decode()}, **options)
        file.write(_put(footer, _find_text(footer, text), _compute_checksum(footer)))
        file.flush()
        os.fsync(file.fileno())
    return joined.n_rows


@dataclass(frozen=True, slots=True)
class Checksums:
    """The checksums of the columns of a table, as its footer has them."""

    chunks: tuple[tuple[int, int, bytes], ...]
    """Start, size in bytes and checksum of each column of each row group, group by group."""
    n_columns: int
    fingerprint: Fingerprint
    """Fingerprint of the file when its footer was read."""


def read_checksums(file: BinaryIO, path: Path, metadata: pq.FileMetaData) -> Checksums | None:
    """Check the footer of an open table, and return the checksums of its columns.

    None where it has none: another program wrote it. `metadata` is the parsed footer; `path` is
    for messages. Raises TableError where the footer is damaged.
    """
    text = (metadata.metadata or {}).get(KEY)
    # Who edits a table with Polars may copy all of its metadata.
    if text is None or not metadata.created_by.startswith(_WRITER):
        return None
    _, footer = _read_footer(file)
    sums = [text[at : at + _DIGITS] for at in range(0, len(text), _DIGITS)]
    position = _find_text(footer, text)
    if position < 0 or sums[0] != _compute_checksum(_put(footer, position, _BLANK)):
        if _is_copied(metadata.metadata):
            return None
        raise TableError(f"{path} is damaged: its footer is not what was written; {REPAIR_ADVICE}")
    # Not before: Arrow ends the process where a damaged footer is asked for its columns.
    chunks = zip(_list_chunks(metadata), sums[1:], strict=True)
    return Checksums(
        chunks=tuple((start, size, checksum) for (start, size), checksum in chunks),
        n_columns=metadata.num_columns,
        fingerprint=fingerprint_file(file.fileno()),
    )


def _is_copied(metadata: Mapping[bytes, bytes]) -> bool:
    """Whether another program copied our key, as Arrow does with all metadata that it has read.

    It notes them in its own schema too, where ours are not; a writer may leave that schema out.
    """
    try:
        return KEY in b64decode(metadata.get(b"ARROW:schema", _ENCODED_KEY))
    except binascii.Error:
        return False


_checked: set[tuple[object, ...]] = set()


def check_columns(
    file: BinaryIO,
    path: Path,
    checksums: Checksums,
    groups: Iterable[int],
    columns: Iterable[int],
) -> None:
    """Raise TableError where a column of a row group, each given by its position, is damaged.

    Those that were checked before are not read again.
    """
    columns = [*columns]
    is_final = checksums.fingerprint.is_final
    for group in groups:
        for column in columns:
            start, size, checksum = checksums.chunks[group * checksums.n_columns + column]
            chunk = (checksums.fingerprint, start, size, checksum)
            if chunk in _checked:
                continue
            if _compute_checksum(_read_part(file, start, size)) != checksum:
                raise TableError(
                    f"{path} is damaged: row group {group} is not what was written; {REPAIR_ADVICE}"
                )
            if is_final:
                if len(_checked) >= _MOST_CHECKED:
                    _checked.clear()
                _checked.add(chunk)


def _list_chunks(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """Return the start and the size of each column of each row group."""
    chunks = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(metadata.num_columns)):
            start = column.dictionary_page_offset or column.data_page_offset
            chunks.append((start, column.total_compressed_size))
    return chunks


def _compute_checksum(content: bytes | memoryview) -> bytes:
    return xxhash.xxh3_64_hexdigest(content).encode()


def _read_part(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def read_footer_size(file: BinaryIO) -> int:
    """Return the size in bytes that a Parquet file gives for its footer; 0 for any other file."""
    size = file.seek(0, os.SEEK_END)
    tail = _read_part(file, max(size - TAIL, 0), TAIL)
    return int.from_bytes(tail[:4], "little") if tail.endswith(MAGIC) else 0


def _read_footer(file: BinaryIO) -> tuple[int, bytes]:
    """Return the start of a footer, and the footer with the tail after it."""
    size = TAIL + read_footer_size(file)
    start = file.seek(-size, os.SEEK_END)
    return start, file.read(size)


def _find_text(footer: bytes, text: bytes) -> int:
    # Ours is the last text of a footer; names of labs and paths before it may spell the key, too.
    return footer.find(text, footer.rfind(KEY))


def _put(content: bytes, position: int, part: bytes) -> bytes:
    return content[:position] + part + content[position + len(part) :]
