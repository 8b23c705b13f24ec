"""The formats of listings: `find -printf`, `rclone lsjson -R`, and the files of dwalk."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import compress
from typing import IO

import polars as pl
import xxhash

from polars_alf.errors import InventoryError
from polars_alf.walk.inventory_rows import RECORDS, Kind, Records

STDIN = "-"
"""Stands for the standard input in the place of a file."""

FIND_FORMAT = "%y%Y %s %T@ %i %p"
"""Format for `find -printf`, with a NUL or a line feed after it."""

_BYTES_AT_ONCE = 1 << 25

_HEAD = 1 << 16

_GZIP = b"\x1f\x8b"

_DWALK = (4).to_bytes(8)
"""The version that a file of dwalk begins with."""

_FIND = re.compile(rb"[A-Za-z?]{2} -?\d+ -?\d+(\.\d*)? \d+ ")
_DWALK_TEXT = re.compile(rb"[-bcdlps][-rwxsStT]{9} \S+ \S+ +[0-9.]+ +\S*B \w{3} ")

_LINKED = {"d": Kind.LINKED_DIRECTORY, "N": Kind.BROKEN_LINK, "L": Kind.CIRCULAR_LINK}
_LINKED |= {"f": Kind.LINKED_FILE, "?": Kind.UNREAD_LINK}
_TYPES = {"f": Kind.FILE, "d": Kind.FOLDER}
_OTHER_TYPES = "pscbD"

_FIND_KINDS: dict[str, int] = {
    **{first + second: int(kind) for first, kind in _TYPES.items() for second in "fd"},
    **{"l" + second: int(kind) for second, kind in _LINKED.items()},
    **{
        first + second: int(Kind.SPECIAL_FILE)
        for first in _OTHER_TYPES + "l"
        for second in _OTHER_TYPES
    },
}
"""Kinds by the two letters of `%y%Y`: the type of an entry, and of what a link leads to."""

_MODE_KINDS = {
    0o100000: int(Kind.FILE),
    0o040000: int(Kind.FOLDER),
    0o120000: int(Kind.LINKED_FILE),
}
"""Kinds by the bits of a mode that tell the type, as POSIX has them."""

_REPLACED = re.compile("[\u2400-\u241f\u2421\ufffd\u201b]")
"""Characters of rclone in the place of control characters and of bytes that are not UTF-8."""


class Source:
    """A listing in a file, or on the standard input.

    Parameters
    ----------
    name
        Path of the file, for messages.
    file
        The open file, past any compression.
    checksum
        Takes what is read.

    Attributes
    ----------
    head : bytes
        What it begins with.
    """

    def __init__(
        self, name: str, file: IO[bytes] | gzip.GzipFile, checksum: xxhash.xxh3_128
    ) -> None:
        self.name = name
        self._file = file
        self._checksum = checksum
        self.head = file.read(_HEAD)
        checksum.update(self.head)
        self._rest = self.head

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        parts = [self._rest[:size]]
        self._rest = self._rest[size:]
        n = len(parts[0])
        while n < size:
            try:
                part = self._file.read(size - n)
            except (OSError, EOFError) as error:
                raise InventoryError(
                    f"the inventory {self.name} cannot be read to its end: {error}; copy it again"
                ) from error
            if not part:
                break
            self._checksum.update(part)
            parts.append(part)
            n += len(part)
        return b"".join(parts)

    def explain_end(self) -> InventoryError:
        """Return the error for a listing that was cut off, and lacks the files after that."""
        return InventoryError(
            f"the inventory {self.name} ends in the middle of its records; look whether the "
            "program that wrote it ended without an error, and write or copy it again"
        )

    def read_records(self, separator: bytes) -> Iterator[bytes]:
        """Yield some whole records at a time, each with its separator, which the last may lack."""
        rest = b""
        while block := self.read(_BYTES_AT_ONCE):
            cut = block.rfind(separator) + 1
            if cut:
                yield rest + block[:cut]
                rest = block[cut:]
            else:
                rest += block
        if rest:
            yield rest


@contextmanager
def open_source(path: str, checksum: xxhash.xxh3_128) -> Iterator[Source]:
    """Open a listing, compressed or not; InventoryError where it cannot be read, or is empty.

    What is read goes into the checksum.
    """
    name = "on the standard input" if path == STDIN else path
    with ExitStack() as stack:
        try:
            number = sys.stdin.fileno() if path == STDIN else path
            opened = stack.enter_context(open(number, "rb", closefd=path != STDIN))
            file: IO[bytes] | gzip.GzipFile = opened
            if opened.peek(2)[:2] == _GZIP:
                file = stack.enter_context(gzip.open(opened))
            source = Source(name, file, checksum)
        except (OSError, EOFError) as error:
            raise InventoryError(
                f"the inventory {name} cannot be read: "
                f"{getattr(error, 'strerror', None) or error}; give a file, or {STDIN} for the "
                "standard input"
            ) from error
        if not source.head:
            raise InventoryError(
                f"the inventory {name} is empty; look whether the program that wrote it ended "
                "without an error, and write it again"
            )
        yield source


Reader = Callable[[Source], Iterator[Records]]


def choose_reader(source: Source) -> tuple[Reader, bool]:
    """Return what reads a listing, and whether all of its paths are relative to the archive.

    Raises
    ------
    InventoryError
        It is in none of the formats.
    """
    head = source.head
    if head[:8] == _DWALK:
        return read_dwalk, False
    if head.lstrip()[:1] == b"[":
        return read_rclone, True
    if _FIND.match(head):
        return read_find, False
    if _DWALK_TEXT.match(head):
        raise InventoryError(
            f"the inventory {source.name} is the text of dwalk, whose sizes are rounded, so that "
            "no table can have them; write it without --text, as dwalk --output FILE ROOT does"
        )
    raise InventoryError(
        f"the inventory {source.name} begins with {head[:40]!r}, which is in none of the formats "
        f"that can be read; give the output of find ROOT -printf '{FIND_FORMAT}\\0', of rclone "
        "lsjson -R or of dwalk --output, or the manifest.json of S3 Inventory"
    )


def read_find(source: Source) -> Iterator[Records]:
    """Read what `find` printed in FIND_FORMAT."""
    separator = b"\0" if b"\0" in source.head else b"\n"
    for block in source.read_records(separator):
        if not block.endswith(separator):
            raise source.explain_end()
        lines, others = _decode(block, separator)
        undecoded = [line.split(" ", 4)[4] for line in others if line.count(" ") >= 4]
        record = pl.Series("record", lines, pl.String)
        fields = record.str.splitn(" ", 5).struct.unnest()
        time = pl.col("field_2").str.splitn(".", 2)
        fraction = time.struct.field("field_1").fill_null("").str.slice(0, 9).str.pad_end(9, "0")
        seconds = time.struct.field("field_0").cast(pl.Int64, strict=False)
        kind = pl.col("field_0").replace_strict(_FIND_KINDS, default=None, return_dtype=pl.UInt8)
        frame = fields.select(
            path="field_4",
            kind=kind,
            file_size=pl.col("field_1").cast(pl.UInt64, strict=False),
            # Also before 1970, where find prints seconds rounded down.
            mtime_ns=seconds * 1_000_000_000 + fraction.cast(pl.Int64, strict=False),
            inode=pl.col("field_3").cast(pl.UInt64, strict=False),
        )
        yield _split_malformed(frame, record, undecoded)


def read_rclone(source: Source) -> Iterator[Records]:
    """Read the JSON that `rclone lsjson -R` printed, an object a line."""
    schema = {"Path": pl.String, "Size": pl.Int64, "ModTime": pl.String, "IsDir": pl.Boolean}
    last = ""
    for block in source.read_records(b"\n"):
        found, _ = _decode(block, b"\n")
        last = found[-1].strip() if found else last
        lines = [line for line in (raw.strip().rstrip(",") for raw in found) if line not in "[]"]
        if not lines:
            continue
        malformed: list[str] = []
        try:
            frame = pl.read_ndjson("\n".join(lines).encode(), schema=schema)
        except pl.exceptions.PolarsError:
            objects, malformed = _parse_objects(lines)
            frame = pl.DataFrame(objects, schema, orient="row")
        if len(frame) and frame["Path"].null_count() == len(frame):
            raise InventoryError(
                f"the inventory {source.name} has objects without Path, {lines[0][:80]!r} for one; "
                "give the output of rclone lsjson -R as it is"
            )
        when = pl.col("ModTime").str.to_datetime(
            "%+", time_unit="ns", time_zone="UTC", strict=False
        )
        is_folder = pl.col("IsDir").fill_null(value=False)
        frame = frame.with_columns(
            path="Path",
            kind=pl.when(is_folder).then(int(Kind.FOLDER)).otherwise(int(Kind.FILE)),
            file_size=pl.when(is_folder).then(0).otherwise("Size").cast(pl.UInt64, strict=False),
            # Without --no-modtime each has one.
            mtime_ns=when.dt.epoch("ns").fill_null(0),
            inode=pl.lit(0),
        )
        records = pl.Series("record", lines if not malformed else [""] * len(frame), pl.String)
        parts = _split_malformed(frame, records, [])
        yield _find_replaced(Records(parts.frame, [], [*parts.malformed, *malformed]))
    if not last.endswith("]"):
        raise source.explain_end()


def read_dwalk(source: Source) -> Iterator[Records]:
    """Read what `dwalk --output` wrote: records of one length, numbers in network order."""
    header = [int.from_bytes(source.read(8)) for _ in range(7)]
    _, n_users, user_size, n_groups, group_size, n_files, path_size = header
    numbers = {"mode": 0, "mtime_s": 5, "mtime_ns": 6, "file_size": 9}
    size = path_size + 10 * 8
    # Names of users and groups, each with its number.
    source.read(n_users * (user_size + 8) + n_groups * (group_size + 8))
    n_left = n_files
    while n_left:
        n = min(n_left, max(_BYTES_AT_ONCE // size, 1))
        block = source.read(n * size)
        if len(block) < n * size:
            raise source.explain_end()
        n_left -= n
        found = [block[start : start + size] for start in range(0, len(block), size)]
        names = [record[:path_size].partition(b"\0")[0] for record in found]
        paths = [os.fsdecode(name) for name in names]
        is_decoded = [path.isascii() or _is_text(path) for path in paths]
        frame = pl.DataFrame({"record": pl.Series(found, dtype=pl.Binary)}).select(
            pl.col("record")
            .bin.slice(path_size + 8 * position, 8)
            .bin.reinterpret(dtype=pl.UInt64, endianness="big")
            .alias(name)
            for name, position in numbers.items()
        )
        frame = frame.filter(pl.Series(is_decoded, dtype=pl.Boolean)).select(
            path=pl.Series([*compress(paths, is_decoded)], dtype=pl.String),
            kind=(pl.col("mode") & 0o170000).replace_strict(
                _MODE_KINDS, default=int(Kind.SPECIAL_FILE), return_dtype=pl.UInt8
            ),
            file_size="file_size",
            mtime_ns=pl.col("mtime_s").cast(pl.Int64, wrap_numerical=True) * 1_000_000_000
            + pl.col("mtime_ns").cast(pl.Int64),
            inode=pl.lit(0),
        )
        undecoded = [path for path, is_text in zip(paths, is_decoded, strict=True) if not is_text]
        yield _split_malformed(frame, frame["path"], undecoded)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split_malformed(frame: pl.DataFrame, records: pl.Series, undecoded: Sequence[str]) -> Records:
    """Return the rows that are whole, and the text of the records of the others."""
    needed = ("path", "kind", "file_size", "mtime_ns")
    is_whole = frame.select(pl.all_horizontal(pl.col(needed).is_not_null())).to_series()
    columns = pl.Schema({name: RECORDS[name] for name in frame.columns if name in RECORDS})
    whole = frame.filter(is_whole).select(columns.names()).cast(columns)
    return Records(
        pl.concat([RECORDS.to_frame(), whole], how="diagonal"),
        undecoded,
        records.filter(~is_whole).to_list(),
    )


def _parse_objects(lines: Sequence[str]) -> tuple[list[tuple[object, ...]], list[str]]:
    """Return the values of objects, and the lines that have none: one is enough to stop Polars."""
    found: list[tuple[object, ...]] = []
    malformed = []
    for line in lines:
        try:
            value = json.loads(line)
            row = (str(value["Path"]), int(value["Size"]), str(value["ModTime"]), value["IsDir"])
            found.append((*row[:3], bool(row[3])))
        except (ValueError, KeyError, TypeError):
            malformed.append(line)
    return found, malformed


def _find_replaced(records: Records) -> Records:
    """Set aside paths in which rclone has replaced characters, as no name on disk is so."""
    is_replaced = records.frame["path"].str.contains(_REPLACED.pattern)
    if not is_replaced.any():
        return records
    undecoded = [
        _REPLACED.sub(_restore_character, path)
        for path in records.frame.filter(is_replaced)["path"]
    ]
    return Records(records.frame.filter(~is_replaced), undecoded, records.malformed)


def _restore_character(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(code - 0x2400) if 0x2400 < code < 0x2420 else "\udcff"


def _decode(block: bytes, separator: bytes) -> tuple[list[str], list[str]]:
    """Return the records of a block that are UTF-8, and the others as `os.fsdecode` has them."""
    try:
        lines = block.decode().split(separator.decode())
        return [line for line in lines if line], []
    except UnicodeDecodeError:
        decoded, undecoded = [], []
        for line in filter(None, block.split(separator)):
            try:
                decoded.append(line.decode())
            except UnicodeDecodeError:
                undecoded.append(os.fsdecode(line))
        return decoded, undecoded
