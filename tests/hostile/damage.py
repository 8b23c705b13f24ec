"""Damage to Parquet files, as disks, transfers and people with bad intentions make it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

Damage = Callable[[random.Random, bytes], bytes]

# Numbers as Parquet's headers spell them: the largest of 32 and of 64 bits, negative, none.
HUGE = (b"\xfe\xff\xff\xff\x0f", b"\xfe" + b"\xff" * 8 + b"\x01", b"\x80" * 9 + b"\x01", b"\0" * 8)

BOMBS: dict[str, bytes] = {
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "long": json.dumps({"origin": "x" * 20_000_000}).encode(),
    "many": json.dumps(dict.fromkeys(map(str, range(200_000)), "x")).encode(),
    "a number of many digits": b'{"date_created": ' + b"9" * 100_000 + b"}",
    "infinity": b'{"date_created": 1e999, "index_columns": 1e999, "namespace": NaN}',
    "no text": b"\xff\xfe{}",
    "other types": json.dumps(
        {"index_columns": {"a": [1]}, "columns": 3, "date_created": [], "origin": {"a": 1},
         "namespace": 7, "generation": ["x"], "min_api_version": {}}
    ).encode(),
}  # fmt: skip
"""JSON that harms who reads it carelessly."""


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def _flip(rng: random.Random, content: bytes, start: int, end: int) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        damaged[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _put(content: bytes, start: int, part: bytes) -> bytes:
    return content[:start] + part + content[start + len(part) :]


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    return _flip(rng, content, 0, len(content))


def flip_bits_of_footer(rng: random.Random, content: bytes) -> bytes:
    return _flip(rng, content, footer_start(content), len(content))


def declare_huge_in_footer(rng: random.Random, content: bytes) -> bytes:
    return _put(content, rng.randrange(footer_start(content), len(content) - 18), rng.choice(HUGE))


def declare_huge_in_page(rng: random.Random, content: bytes) -> bytes:
    return _put(content, rng.randrange(4, footer_start(content) - 10), rng.choice(HUGE))


def put_huge(rng: random.Random, content: bytes) -> bytes:
    numbers = (b"\xff" * 8, b"\xff\xff\xff\x7f" + bytes(4), bytes(7) + b"\x20")
    return _put(content, rng.randrange(len(content) - 8), rng.choice(numbers))


def truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_out(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) - 1)
    return content[:start] + content[start + rng.randrange(1, 64) :]


def zero(rng: random.Random, content: bytes) -> bytes:
    return _put(content, rng.randrange(len(content) - 16), bytes(16))


def append(rng: random.Random, content: bytes) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 100))


def repeat_pages(rng: random.Random, content: bytes) -> bytes:
    """Put some of the pages in the place of others, as a write that went astray does."""
    start = footer_start(content)
    size = rng.randrange(8, 64)
    source, target = (rng.randrange(4, start - size) for _ in range(2))
    return _put(content, target, content[source : source + size])


def resize_footer(rng: random.Random, content: bytes) -> bytes:
    size = rng.choice((0, 1, len(content), 2**31 - 1, 2**32 - 1, rng.randrange(len(content))))
    return content[:-8] + size.to_bytes(4, "little") + content[-4:]


DAMAGES: tuple[Damage, ...] = (
    *(flip_bits, flip_bits, flip_bits_of_footer, flip_bits_of_footer, declare_huge_in_footer),
    *(declare_huge_in_page, truncate, cut_out, zero, append, repeat_pages, resize_footer),
)


def damage_tables(
    seed: int, count: int, tables: dict[str, bytes]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield what was done, and the tables after it, each time from the whole ones.

    Parameters
    ----------
    seed, count
        The same seed gives the same damage.
    tables
        Contents of the files, by the names of the tables.
    """
    rng = random.Random(seed)
    for number in range(count):
        name, other = rng.sample(sorted(tables), 2)
        if number % 12 == 11:
            # The footer of one table at the end of the other.
            start = footer_start(tables[name])
            content = tables[name][:start] + tables[other][footer_start(tables[other]) :]
            what = "swap_footers"
        else:
            damage = rng.choice(DAMAGES)
            content, what = damage(rng, tables[name]), damage.__name__
        if content != tables[name]:
            yield f"{number} {what} {name}", {**tables, name: content}


def plant_bomb(content: bytes, key: str, bomb: bytes) -> bytes:
    """Return a table, written anew, with other metadata."""
    table = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)
    sink = pa.BufferOutputStream()
    metadata = {**(table.schema.metadata or {}), key.encode(): bomb}
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return bytes(sink.getvalue())
