"""The twins in Python of what is done with MD5 in C."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

Column: TypeAlias = "tuple[memoryview | None, memoryview, memoryview]"
"""The texts of a column: the codes of its rows, or None where row i has text i; the offsets of the
texts, one more than there are texts; the texts in UTF-8."""

MD5State: TypeAlias = Any
"""The state of a message that comes in pieces, of the implementation that began it."""

Piece: TypeAlias = "bytes | bytearray | memoryview"

# RFC 9562: the two highest bits of this hexadecimal digit are 10.
_VARIANT = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}


def count_md5_lanes(instructions: str | None = None, /) -> int:
    """Return how many messages are digested at a time; `instructions` as for `make_uuids`."""
    return 1


def start_md5() -> MD5State:
    """Return the state of a message of which nothing came yet."""
    return hashlib.md5(usedforsecurity=False)


def update_md5s(
    states: Sequence[MD5State], pieces: Sequence[Piece], instructions: str | None = None, /
) -> None:
    """Advance messages, each by a piece of its own.

    Parameters
    ----------
    states
        What `start_md5` returned, each once. No other thread may use them meanwhile.
    pieces
        As many, of any lengths. The more they are alike, the more lanes are busy.
    instructions
        As for `make_uuids`.

    Raises
    ------
    ValueError
        There are more states than pieces, or fewer; no state is changed.
    """
    if len(states) != len(pieces):
        raise ValueError(f"there are {len(states)} states and {len(pieces)} pieces")
    for state, piece in zip(states, pieces, strict=True):
        state.update(piece)


def finish_md5(state: MD5State, /) -> bytes:
    """Return the digest of what came up to now, 16 bytes; more may follow."""
    return bytes(state.digest())


def make_uuids(
    namespace: bytes,
    first: Column,
    second: Column | None = None,
    as_digests: bool = False,
    instructions: str | None = None,
    /,
) -> bytes:
    """Make a UUID of version 3 for each row of one or two columns.

    Parameters
    ----------
    namespace
        16 bytes.
    first, second
        What is named: ``first``, or ``first/second``. Codes are of 4 bytes, offsets of 4 or 8, and
        the memoryviews are cast to that.
    as_digests
        Whether the result has 16 bytes a row, instead of 36 of text.
    instructions
        One of `list_instruction_sets`, by default the first; it has no effect here.

    Returns
    -------
    bytes
        Of one row after the other.

    Raises
    ------
    ValueError
        A row names a text that there is none of; the columns differ in length.
    """
    if len(namespace) != 16:
        raise ValueError(f"a namespace has 16 bytes, not {len(namespace)}")
    # uuid.uuid3 takes four times as long: it makes an object, and hashes the namespace each time.
    start = hashlib.md5(namespace, usedforsecurity=False).copy
    texts = []
    for name in _list_names(first, second):
        digest = start()
        digest.update(name)
        text = digest.hexdigest()
        texts.append(
            f"{text[:8]}-{text[8:12]}-3{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"
        )
    joined = "".join(texts)
    return bytes.fromhex(joined.replace("-", "")) if as_digests else joined.encode("ascii")


def format_uuids(highs: memoryview, lows: memoryview, /) -> bytes:
    """Return the texts of UUIDs, 36 characters each, one after the other.

    `highs` and `lows` are their halves, uint64 of the machine's byte order. ValueError where they
    are not of the same number.
    """
    high, low = memoryview(highs).cast("B"), memoryview(lows).cast("B")
    if len(high) != len(low) or len(high) % 8:
        raise ValueError(f"the halves have {len(high)} and {len(low)} bytes, not 8 a row")
    halves = zip(high.cast("Q"), low.cast("Q"), strict=True)
    digits = (f"{high:016x}{low:016x}" for high, low in halves)
    texts = (f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in digits)
    return "".join(texts).encode("ascii")


def _list_names(first: Column, second: Column | None) -> Iterator[bytes]:
    if second is None:
        return _list_texts(first)
    if (n_first := _count_rows(first)) != (n_second := _count_rows(second)):
        raise ValueError(f"the columns have {n_first} and {n_second} rows")
    rows = zip(_list_texts(first), _list_texts(second), strict=True)
    return (b"%b/%b" % names for names in rows)


def _count_rows(column: Column) -> int:
    codes, offsets, _ = column
    return len(offsets) - 1 if codes is None else len(codes)


def _list_texts(column: Column) -> Iterator[bytes]:
    codes, offsets, text = column
    all_text = bytes(text)
    texts = [all_text[start:end] for start, end in pairwise(offsets.tolist())]
    if codes is None:
        return iter(texts)
    numbers = codes.tolist()
    for row, number in enumerate(numbers):
        if not 0 <= number < len(texts):
            raise ValueError(f"row {row} names a text that there is none of")
    return map(texts.__getitem__, numbers)
