"""Identifiers that follow from paths: UUIDs of version 3 (RFC 9562) in a namespace.

A session is named by ``[lab/]subject/date/number``, a dataset by that and its rel_path: unique in
the archive, and the same in every run over the same namespace.
"""

from __future__ import annotations

import re
import string
import sys
import uuid
from array import array
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa

from polars_alf import native
from polars_alf.errors import NamespaceConflictError, OptionError

_DIGITS = 32

_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

# In groups of nearly the right lengths, or without any.
_ALMOST_UUID = re.compile(
    r"\{?(?:\w{6,10}-\w{3,5}-\w{3,5}-\w{3,5}-\w{10,14}|[0-9a-f]{28,36})\}?", re.IGNORECASE
)


def make_namespace() -> UUID:
    """Make a namespace from the system's clock and network address, as ONE does."""
    return uuid.uuid1()


def parse_namespace(namespace: UUID | str | None) -> UUID | None:
    """Return the namespace for a UUID, its text, or a name; OptionError for anything but None.

    A name, such as that of a site, becomes the UUID that RFC 9562 gives to a domain name. A text
    that is nearly a UUID is a mistake, and would change every id.
    """
    if namespace is None or isinstance(namespace, UUID):
        return namespace
    if not isinstance(namespace, str) or not namespace.strip():
        raise OptionError(f"the namespace {namespace!r} is no name; give a UUID or a name")
    try:
        return UUID(namespace)
    except ValueError:
        digits = sum(letter in string.hexdigits for letter in namespace)
        if digits != _DIGITS and _ALMOST_UUID.fullmatch(namespace.strip()):
            raise OptionError(
                f"the namespace {namespace!r} is nearly a UUID, but has {digits} hexadecimal "
                f"digits of {_DIGITS}; see that it was copied as a whole, or give a name in words"
            ) from None
        return uuid.uuid5(uuid.NAMESPACE_DNS, namespace)


def check_namespace(
    given: UUID | None, found: UUID | None, folder: Path, spelling: str | None = None
) -> None:
    """Raise NamespaceConflictError for a namespace that would change the ids of a folder's tables.

    `given` is what the caller wants, and how that was spelt if it was; `found` is what the tables
    in the folder were made with.
    """
    if given and found and given != found:
        named = str(given) if spelling in (None, str(given)) else f"{spelling!r}, which is {given},"
        raise NamespaceConflictError(
            f"the namespace {named} would change the id of every session and dataset: the "
            f"tables in {folder} were made with {found}; leave the namespace out, or give another "
            "folder for the tables"
        )


def expr_uuid3(names: pl.Expr, namespace: UUID) -> pl.Expr:
    """Return ``str(uuid.uuid3(namespace, name))`` of names, a String column without nulls."""
    return names.map_batches(
        lambda column: _uuid3(column, namespace), return_dtype=pl.String, is_elementwise=True
    )


def make_ids(
    namespace: UUID,
    codes_a: pl.Series,
    texts_a: pl.Series,
    codes_b: pl.Series,
    texts_b: pl.Series,
) -> pl.DataFrame:
    """Return ``uuid.uuid3(namespace, f"{a}/{b}")`` of rows whose a and b are codes of texts.

    Parameters
    ----------
    namespace
        The namespace of the archive.
    codes_a, codes_b
        Int32 or UInt32 without nulls, one for each row: positions in the texts.
    texts_a, texts_b
        String without nulls, such as sessions and rel_paths, each once.

    Returns
    -------
    polars.DataFrame
        ``high`` and ``low``, one row for each: the halves of the UUID as UInt64, which sort as its
        text does. `format_ids` makes that of them.

    Raises
    ------
    ValueError
        A code is no position in the texts, the codes differ in number, or there is a null.
    """
    first, second = _view_column(texts_a, codes_a), _view_column(texts_b, codes_b)
    halves = array("Q", native.make_uuids(namespace.bytes, first, second, True))
    if sys.byteorder == "little":
        halves.byteswap()
    columns = {name: _read_numbers(halves[i::2]) for i, name in enumerate(("high", "low"))}
    return pl.DataFrame(pa.RecordBatch.from_pydict(columns))


def _read_numbers(numbers: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.uint64(), len(numbers), [None, pa.py_buffer(numbers)])


def format_ids(halves: pl.DataFrame) -> pl.Series:
    """Return ``id``, the texts of UUIDs of which there are ``high`` and ``low``, without nulls."""
    views = [_to_array(halves[name]) for name in ("high", "low")]
    buffers = [
        memoryview(view.buffers()[1] or b"").cast("B")[8 * view.offset :][: 8 * len(view)]
        for view in views
    ]
    return _read_uuids("id", native.format_uuids(*buffers))


def split_ids(ids: pl.Expr) -> dict[str, pl.Expr]:
    """Return the halves of UUIDs, ``high`` and ``low``, which sort as their texts do."""
    digits = ids.str.replace_all("-", "", literal=True)
    halves = {"high": digits.str.slice(0, 16), "low": digits.str.slice(16, 16)}
    return {name: half.str.to_integer(base=16, dtype=pl.UInt64) for name, half in halves.items()}


def expr_is_uuid(ids: pl.Expr) -> pl.Expr:
    """Whether ids are UUIDs as `str` writes them; false for null."""
    return ids.str.contains(_UUID).fill_null(value=False)


def identify(ids: pl.Expr) -> pl.Expr:
    """Return numbers of ids, UInt128 and null for null: that of a UUID, or else a hash.

    They take a third of the memory of texts. Only the text that `str` makes has the number of a
    UUID; hashes share the range of these, and are as good as unique.
    """
    is_uuid = expr_is_uuid(ids)
    halves = split_ids(pl.when(is_uuid).then(ids)).values()
    hashes = pl.when(ids.is_not_null()).then(ids.hash()), ids.hash(1)
    number, other = (high.cast(pl.UInt128) * 2**64 + low for high, low in (halves, hashes))
    return pl.when(is_uuid).then(number).otherwise(other)


def format_numbers(numbers: pl.Series) -> pl.Series:
    """Return ``id``, the texts of UUIDs that have some numbers of `identify`.

    The numbers have no nulls, and are no hashes, of which there is no text.
    """
    number = pl.col(numbers.name)
    halves = {"high": number // 2**64, "low": number % 2**64}
    return format_ids(
        numbers.to_frame().select(half.cast(pl.UInt64).alias(name) for name, half in halves.items())
    )


def expr_uuid_text(octets: pl.Expr) -> pl.Expr:
    """Return ``str(uuid.UUID(bytes=octets))`` of 16 bytes, a Binary column; null where it is."""
    digits = octets.bin.encode("hex")
    parts = [digits.str.slice(*part) for part in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(parts, separator="-")


def _uuid3(names: pl.Series, namespace: UUID) -> pl.Series:
    return _read_uuids(names.name, native.make_uuids(namespace.bytes, _view_column(names)))


def _view_column(
    texts: pl.Series, codes: pl.Series | None = None
) -> tuple[memoryview | None, memoryview, memoryview]:
    """Return views of the buffers of a column, as `native.make_uuids` takes them."""
    array = _to_array(texts.cast(pl.String))
    _, offsets, text = array.buffers()
    bounds = memoryview(offsets or bytes(8)).cast("B").cast("q")
    bounds = bounds[array.offset : array.offset + len(array) + 1]
    if codes is None:
        return None, bounds, memoryview(text or b"")
    if codes.dtype not in (pl.Int32, pl.UInt32):
        raise ValueError(f"the codes {codes.name!r} are {codes.dtype}; give Int32 or UInt32")
    numbers = _to_array(codes)
    view = memoryview(numbers.buffers()[1] or b"").cast("B").cast("I")
    return view[numbers.offset : numbers.offset + len(numbers)], bounds, memoryview(text or b"")


def _to_array(column: pl.Series) -> pa.Array:
    if column.null_count():
        raise ValueError(f"the column {column.name!r} has {column.null_count()} nulls; fill them")
    return column.to_arrow()


_UUID_LENGTH = 36


def _read_uuids(name: str, uuids: bytes) -> pl.Series:
    """Return a String column of texts that follow each other."""
    n_rows = len(uuids) // _UUID_LENGTH
    ends = pl.int_range(0, len(uuids) + 1, _UUID_LENGTH, dtype=pl.Int64, eager=True).to_arrow()
    buffers = [None, ends.buffers()[1], pa.py_buffer(uuids)]
    texts = pa.Array.from_buffers(pa.large_string(), n_rows, buffers)
    # Not by pl.Series, which loads pyarrow.compute: a thirtieth of a second in each process.
    return pl.DataFrame(pa.RecordBatch.from_arrays([texts], [name])).to_series()
