"""Row groups that threads encode apart, and that are joined to one Parquet file.

Arrow encodes a file in one thread, row group after row group; that thread alone would decide how
long the tables of a large archive take. So each row group is encoded as a file of its own, in
memory. What these files have between their first letters and their footers is joined as it is, and
of their footers all but the positions. The joined file is, byte for byte, the one that Arrow makes
of the same row groups.

Footers are structs in Thrift's compact protocol, of which no more is read here than where the
numbers are. Sources: https://parquet.apache.org/docs/file-format/metadata/ and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = b"PAR1"

TAIL = 4 + len(MAGIC)
"""Bytes after a footer: its size, and the magic."""

_N_ROWS, _ROW_GROUPS, _POSITION, _ORDINAL = "rows", "row groups", "position", "ordinal"

_Wanted: TypeAlias = "Mapping[int, str | _Wanted]"
"""Names of the values to find in a struct, by the numbers of their fields."""

_FOOTER: _Wanted = {3: _N_ROWS, 4: _ROW_GROUPS}

_COLUMN: _Wanted = {2: _POSITION, 3: {9: _POSITION, 10: _POSITION, 11: _POSITION}}

_ROW_GROUP: _Wanted = {1: _COLUMN, 5: _POSITION, 7: _ORDINAL}

_NOTHING: _Wanted = {}

# Types of the compact protocol.
_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 3, 7, 8, 9, 10, 12
_BOOLEANS, _NUMBERS = (1, 2), (4, 5, 6)

_LONG = 15
"""Items from which on a list has their number by itself."""

_ORDINALS = 1 << 16
"""How many ordinals there are: those of more row groups begin again, as Arrow's do."""


class _Found(NamedTuple):
    """A value of a struct: where it begins and ends, and what it is if it is a number."""

    what: str
    start: int
    end: int
    number: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group, encoded as the only one of a file.

    Parameters
    ----------
    file
        The whole file.
    metadata
        Its footer, as Arrow has it; positions are those in `file`.
    """

    file: memoryview
    metadata: pq.FileMetaData

    @classmethod
    def encode(cls, table: pa.Table, **options: Any) -> RowGroup:
        """Encode a table; `options` are those of `pyarrow.parquet.ParquetWriter`.

        They ask for no page index and no Bloom filter, which would have positions of their own:
        NotImplementedError where there is anything but columns.
        """
        sink, footers = pa.BufferOutputStream(), list[pq.FileMetaData]()
        with pq.ParquetWriter(sink, table.schema, metadata_collector=footers, **options) as writer:
            writer.write_table(table, row_group_size=len(table) or 1)
        group = cls(memoryview(sink.getvalue()), footers[0])
        columns = group.metadata.row_group(0)
        sizes = [columns.column(n).total_compressed_size for n in range(columns.num_columns)]
        if sum(sizes) != len(_split(group.file)[0]):
            raise NotImplementedError("a Parquet file has more than the columns of its row groups")
        return group


class JoinedFile:
    """A Parquet file of row groups that were encoded with the same schema and options.

    Parameters
    ----------
    file
        An empty file, open to write.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = file.write(MAGIC)
        self._row_groups: list[bytes] = []
        self.n_rows = 0

    def add(self, group: RowGroup) -> None:
        """Write a row group behind the others."""
        content, footer = _split(group.file)
        struct = _cut_row_group(footer)
        placed = _place(struct, self._position - len(MAGIC), len(self._row_groups))
        self._row_groups.append(placed)
        self._file.write(content)
        self._position += len(content)
        self.n_rows += group.metadata.num_rows

    def make_footer(self, schema: pa.Schema, metadata: Mapping[str, str], **options: Any) -> bytes:
        """Return the footer of the row groups up to now, with what stands after it.

        `metadata` are texts beside those of the schema; `options` are those of the row groups.
        """
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, schema, **options) as writer:
            writer.add_key_value_metadata(metadata)
        _, empty = _split(memoryview(sink.getvalue()))
        new = {_N_ROWS: _encode_number(self.n_rows), _ROW_GROUPS: _encode_list(self._row_groups)}
        found, _ = _find(empty, 0, _FOOTER)
        footer = _replace(empty, [(value, new[value.what]) for value in found])
        return footer + len(footer).to_bytes(4, "little") + MAGIC


def _split(file: memoryview) -> tuple[memoryview, bytes]:
    """Return the content of the columns of a file, and its footer."""
    end = len(file) - TAIL
    start = end - int.from_bytes(file[end : end + 4], "little")
    return file[len(MAGIC) : start], bytes(file[start:end])


def _cut_row_group(footer: bytes) -> bytes:
    """Return the struct of the only row group of a footer."""
    found, _ = _find(footer, 0, _FOOTER)
    (groups,) = [value for value in found if value.what == _ROW_GROUPS]
    return footer[groups.start + 1 : groups.end]  # without the head of the list, which is a byte


def _place(struct: bytes, shift: int, ordinal: int) -> bytes:
    """Return the struct of a row group that lies so many bytes behind where it was encoded."""
    ordinal = (ordinal + _ORDINALS // 2) % _ORDINALS - _ORDINALS // 2
    found, _ = _find(struct, 0, _ROW_GROUP)
    new = []
    for value in found:
        moved = value.number + shift if value.number else 0  # a position of 0 is none
        new.append((value, _encode_number(ordinal if value.what == _ORDINAL else moved)))
    return _replace(struct, new)


def _replace(content: bytes, new: list[tuple[_Found, bytes]]) -> bytes:
    parts, end = [], 0
    for value, encoded in new:
        parts += [content[end : value.start], encoded]
        end = value.end
    return b"".join((*parts, content[end:]))


def _find(content: bytes, at: int, wanted: _Wanted) -> tuple[list[_Found], int]:
    """Find values of the struct that begins `at` a position; return them, and where it ends."""
    found: list[_Found] = []
    field = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _decode_number(content, at)
        at = _pass(content, at, head & 15, wanted.get(field, _NOTHING), found)
    return found, at + 1


def _pass(content: bytes, at: int, kind: int, wanted: str | _Wanted, found: list[_Found]) -> int:
    """Pass over a value of some type, or what is wanted of it, and return where it ends."""
    start, number = at, 0
    within = _NOTHING if isinstance(wanted, str) else wanted
    if kind in _NUMBERS:
        number, at = _decode_number(content, at)
    elif kind == _BINARY:
        size, at = _decode_varint(content, at)
        at += size
    elif kind == _STRUCT:
        values, at = _find(content, at, within)
        found += values
    elif kind in (_LIST, _SET):
        head = content[at]
        n_items, at = (head >> 4, at + 1) if head >> 4 < _LONG else _decode_varint(content, at + 1)
        for _ in range(n_items):
            # Booleans are a byte each in a list, and in the type of a field.
            item = _BYTE if head & 15 in _BOOLEANS else head & 15
            at = _pass(content, at, item, within, found)
    elif kind == _BYTE:
        at += 1
    elif kind == _DOUBLE:
        at += 8
    elif kind not in _BOOLEANS:
        raise NotImplementedError(f"a footer has a value of Thrift's type {kind}")
    if isinstance(wanted, str):
        found.append(_Found(wanted, start, at, number))
    return at


def _decode_varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while (byte := content[at]) & 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return number | byte << shift, at + 1


def _decode_number(content: bytes, at: int) -> tuple[int, int]:
    number, at = _decode_varint(content, at)
    return number >> 1 ^ -(number & 1), at


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _encode_number(number: int) -> bytes:
    return _encode_varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _encode_list(structs: Sequence[bytes]) -> bytes:
    n_structs = len(structs)
    is_long = n_structs >= _LONG
    head = bytes([min(n_structs, _LONG) << 4 | _STRUCT])
    return b"".join((head, _encode_varint(n_structs) if is_long else b"", *structs))
