"""The seal of a table: digests in its own file, which tell damage before anything is made of it.

The file is Parquet like any other. Its seal is one more text in the footer, which other readers
pass over and other writers drop: a digest of the footer, and one of each column of each row group,
as a query need not read them all. They tell damage, not forgery.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from polars_alf.errors import TableError

KEY = b"polars_alf_seal"
"""Of the text in the metadata of the footer: the footer's digest, then those of the columns."""

CURE = "restore the file, remove it, or index the archive again"
"""What helps against a table that cannot be read."""

_DIGITS = 16

_BLANK = b"0" * _DIGITS

_TAIL = 8  # the size of the footer, and the magic

_MOST_CHECKED = 65_536

_SETTLED_NS = 2_000_000_000
"""What is younger may change once more within the same tick of its file system's clock."""


@contextmanager
def sealed_writer(
    path: Path, schema: pa.Schema, **options: Any
) -> Iterator[Callable[[pa.Table], None]]:
    """Write a Parquet file with a seal, and make it durable.

    Parameters
    ----------
    path
        The file.
    schema
        Of the tables; without nested columns.
    **options
        For `pyarrow.parquet.ParquetWriter`.

    Yields
    ------
    callable
        Writes a table as one row group.
    """
    n_groups = 0
    with path.open("w+b") as file:
        with pq.ParquetWriter(file, schema, **options) as writer:

            def write(table: pa.Table) -> None:
                nonlocal n_groups
                writer.write_table(table, row_group_size=len(table) or 1)
                n_groups += 1

            yield write
            blank = _BLANK * (1 + n_groups * len(schema))
            writer.add_key_value_metadata({KEY.decode(): blank.decode()})
        file.flush()
        _fill_in(file, blank)
        file.flush()
        os.fsync(file.fileno())


def _fill_in(file: BinaryIO, blank: bytes) -> None:
    """Write the digests of a file in the place of a blank seal."""
    chunks = _list_chunks(pq.read_metadata(file))
    digests = b"".join(_digest(_read_part(file, start, size)) for start, size in chunks)
    start, footer = _read_footer(file)
    position = _find_seal(footer, blank)
    footer = _put(footer, position, _BLANK + digests)
    file.seek(start + position)
    file.write(_digest(footer) + digests)


@dataclass(frozen=True, slots=True)
class Seal:
    """What the columns of a table have to be.

    Parameters
    ----------
    chunks
        Where each column of each row group starts, its size, both in bytes, and its digest; group
        by group.
    n_columns
        Columns of the table.
    stamp
        Of the file when its footer was read.
    """

    chunks: tuple[tuple[int, int, bytes], ...]
    n_columns: int
    stamp: tuple[int, ...]


def read_seal(file: BinaryIO, path: Path, metadata: pq.FileMetaData) -> Seal | None:
    """Check the footer of a table, and return what its columns have to be.

    Parameters
    ----------
    file
        The open file.
    path
        For messages.
    metadata
        What the footer says.

    Returns
    -------
    Seal or None
        None where the table has no seal: another program wrote it.

    Raises
    ------
    TableError
        The footer is damaged.
    """
    text = (metadata.metadata or {}).get(KEY)
    if text is None:
        return None
    _, footer = _read_footer(file)
    digests = [text[at : at + _DIGITS] for at in range(0, len(text), _DIGITS)]
    position = _find_seal(footer, text)
    if position < 0 or digests[0] != _digest(_put(footer, position, _BLANK)):
        raise TableError(f"{path} is damaged: its footer is not what was written; {CURE}")
    # Not before: Arrow ends the process where a damaged footer is asked for its columns.
    chunks = _list_chunks(metadata)
    status = os.fstat(file.fileno())
    return Seal(
        chunks=tuple(
            (start, size, digest) for (start, size), digest in zip(chunks, digests[1:], strict=True)
        ),
        n_columns=metadata.num_columns,
        stamp=(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns),
    )


_checked: set[tuple[object, ...]] = set()


def check_columns(
    file: BinaryIO, path: Path, seal: Seal, groups: Iterable[int], columns: Iterable[int]
) -> None:
    """Check columns of row groups. Those that were checked before are not read again.

    Parameters
    ----------
    file, path
        As for `read_seal`.
    seal
        What that gave.
    groups, columns
        Their positions.

    Raises
    ------
    TableError
        One is damaged.
    OSError
        One cannot be read.
    """
    columns = [*columns]
    is_settled = time.time_ns() - seal.stamp[-1] > _SETTLED_NS
    for group in groups:
        for column in columns:
            start, size, digest = seal.chunks[group * seal.n_columns + column]
            chunk = (seal.stamp, start, size, digest)
            if chunk in _checked:
                continue
            if _digest(_read_part(file, start, size)) != digest:
                raise TableError(
                    f"{path} is damaged: row group {group} is not what was written; {CURE}"
                )
            if is_settled:
                if len(_checked) >= _MOST_CHECKED:
                    _checked.clear()
                _checked.add(chunk)


def _list_chunks(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """Return where each column of each row group starts, and its size."""
    chunks = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(metadata.num_columns)):
            start = column.dictionary_page_offset or column.data_page_offset
            chunks.append((start, column.total_compressed_size))
    return chunks


def _digest(content: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(content).encode()


def _read_part(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def read_footer_size(file: BinaryIO) -> int:
    """Return how many bytes a Parquet file says that its footer has; 0 if the file is too short."""
    size = file.seek(0, os.SEEK_END)
    return int.from_bytes(_read_part(file, max(size - _TAIL, 0), 4), "little") if size else 0


def _read_footer(file: BinaryIO) -> tuple[int, bytes]:
    """Return where a footer starts, and the footer, what follows it included."""
    size = _TAIL + read_footer_size(file)
    start = file.seek(-size, os.SEEK_END)
    return start, file.read(size)


def _find_seal(footer: bytes, text: bytes) -> int:
    # It is the last of the texts; what names of labs, say, may spell comes before it.
    return footer.find(text, footer.rfind(KEY))


def _put(content: bytes, position: int, part: bytes) -> bytes:
    return content[:position] + part + content[position + len(part) :]
