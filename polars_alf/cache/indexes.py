"""Indexes of UUID objects, made from strings without a Python call for each."""

from __future__ import annotations

import binascii
import contextlib
import gc
import operator
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from polars_alf.alf.grammar import is_uuid

Objects = npt.NDArray[np.object_]

Codes = npt.NDArray[np.integer[Any]]


def cast_index_object(df: pd.DataFrame, dtype: Callable[[Any], Any] = uuid.UUID) -> pd.DataFrame:
    """Convert the ids in an index.

    Parameters
    ----------
    df : pandas.DataFrame
        A table. Its index is replaced; missing ids stay missing.
    dtype : type, function
        What to make of each distinct id. `uuid.UUID` leaves UUID objects as they are.

    Returns
    -------
    pandas.DataFrame
        The same table.
    """
    index = df.index
    if not isinstance(index, pd.MultiIndex):
        df.index = _cast_values(index, dtype)
        return df
    names = index.names
    distinct = index.remove_unused_levels()
    levels = [_cast_values(level, dtype) for level in distinct.levels]
    if all(level.is_unique for level in levels):
        # Each id is looked at once, not once for each row.
        df.index = build_index(levels, distinct.codes, names)
    else:
        arrays = [_cast_values(index.get_level_values(i), dtype) for i in range(index.nlevels)]
        df.index = pd.MultiIndex.from_arrays(arrays, names=names)
    return df


def holds_uuid_strings(index: pd.Index[Any]) -> bool:
    """Whether any id of the first level is a string that ONE takes for a UUID."""
    values = index.levels[0] if isinstance(index, pd.MultiIndex) else index
    return any(isinstance(value, str) and is_uuid(value) for value in values)


def make_uuid_index(
    columns: Sequence[pa.ChunkedArray], names: Sequence[str]
) -> tuple[pd.Index[Any], Codes | None] | None:
    """Make a sorted index of UUID objects from Arrow columns.

    Parameters
    ----------
    columns : sequence of pyarrow.ChunkedArray
        One for each level, the outermost first.
    names : sequence of str
        Names of the levels.

    Returns
    -------
    index : pandas.Index
        A MultiIndex if there are several columns.
    order : numpy.ndarray, optional
        The position in the columns of each row of the index; None if they are in order.

    None in place of both where ids are missing, or are not UUIDs as `str` writes them, or none of
    the first level is of a version that ALF uses.
    """
    *outer, inner = columns
    factorized = [*map(_factorize_repeated, outer), _factorize(inner)]
    if any(level is None for level in factorized):
        return None
    codes, levels = zip(*factorized, strict=True)
    if not any(uid.version in (3, 4, 5) for uid in levels[0]):
        return None
    order = find_order(combine_codes(codes, [len(level) for level in levels]))
    if order is not None:
        codes = [level_codes[order] for level_codes in codes]
    return build_index(levels, codes, names), order


def combine_codes(codes: Sequence[Codes], sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return a number for each row; the numbers compare as the tuples of the codes do.

    Parameters
    ----------
    codes : sequence of numpy.ndarray
        One for each level; not negative.
    sizes : sequence of int
        How many codes each level has. Their product has to fit in 63 bits: it is the number of
        possible rows, 1e15 for a million sessions and a thousand million datasets.
    """
    rows = np.zeros(len(codes[0]), dtype=np.int64)
    for level_codes, size in zip(codes, sizes, strict=True):
        rows *= size
        rows += level_codes
    return rows


def find_order(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.intp] | None:
    """Return the stable order of rows, or None if they are in order."""
    if bool(np.all(rows[1:] >= rows[:-1])):
        return None
    return np.argsort(rows, kind="stable")


# pandas takes 0.1 s to see that 680,000 UUIDs are in order, and forgets it with every new id.
_ordered: weakref.WeakValueDictionary[tuple[Any, ...], Objects] = weakref.WeakValueDictionary()


def note_order(ids: pd.Index[Any]) -> pd.Index[Any]:
    """Remember that ids are distinct and in order, for as long as they are in memory."""
    if ids.dtype == object:
        values: Objects = ids.to_numpy()
        # pandas makes new views of it all the time.
        _ordered[_find_memory(values)] = values if values.base is None else values.base
    return ids


def is_ordered(ids: pd.Index[Any]) -> bool:
    """Whether ids are distinct and in order."""
    if ids.dtype == object and _find_memory(ids.to_numpy()) in _ordered:
        return True
    return bool(ids.is_monotonic_increasing and ids.is_unique)


def _find_memory(values: Objects) -> tuple[Any, ...]:
    return values.__array_interface__["data"][0], values.shape, values.strides


def build_index(
    levels: Sequence[pd.Index[Any]], codes: Sequence[Codes], names: Sequence[Any]
) -> pd.Index[Any]:
    """Put an index together; a code of -1 is a missing id."""
    if len(levels) > 1:
        # pandas-stubs knows lists only.
        parts: dict[str, Any] = {"levels": levels, "codes": codes, "names": names}
        return pd.MultiIndex(**parts, verify_integrity=False)
    return levels[0].take(codes[0], fill_value=np.nan).rename(names[0])


def _factorize(ids: pa.ChunkedArray) -> tuple[Codes, pd.Index[Any]] | None:
    """Split ids into the rank of each and the distinct ones in order."""
    octets = _parse_uuids(ids)
    if octets is None:
        return None
    codes, first = rank_octets(octets)
    distinct = octets[first].view("V16").ravel().tolist()
    uuids = _make_uuids(list(map(int.from_bytes, distinct)))
    return codes, note_order(pd.Index(uuids, dtype=object))


def rank_octets(octets: npt.NDArray[np.uint8]) -> tuple[Codes, Codes]:
    """Rank UUIDs, given as 16 bytes in a row.

    Returns
    -------
    ranks : numpy.ndarray
        The position of each in the distinct ones in order.
    first : numpy.ndarray
        The positions of the distinct ones, in their order.
    """
    high, low = octets.view(">u8").astype(np.uint64).T
    order = np.argsort(high)
    # Next to never are the first halves of different UUIDs equal.
    tied = np.diff(high[order]) == 0
    if (np.diff(low[order])[tied] != 0).any():
        order = np.lexsort((low, high))
        tied = np.diff(high[order]) == 0
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = ~tied | (np.diff(low[order]) != 0)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(is_first) - 1
    return ranks, order[is_first]


def _factorize_repeated(ids: pa.ChunkedArray) -> tuple[Codes, pd.Index[Any]] | None:
    """Do as `_factorize`, faster where there are few ids for many rows."""
    encoded = ids.combine_chunks().dictionary_encode()
    factorized = _factorize(pa.chunked_array([encoded.dictionary]))
    if factorized is None or encoded.null_count:
        return None
    codes, level = factorized
    return codes[encoded.indices.to_numpy()], level


def _parse_uuids(ids: pa.ChunkedArray) -> npt.NDArray[np.uint8] | None:
    """Read UUIDs from hyphenated strings, 16 bytes in a row; None if any is something else."""
    if ids.null_count or not len(ids):
        return None
    try:
        column = ids.cast(pa.large_binary()).cast(pa.binary(36)).combine_chunks()
        texts = bytes(memoryview(column.buffers()[1])[column.offset * 36 :][: len(column) * 36])
        digits = binascii.unhexlify(texts.replace(b"-", b""))
    except (pa.ArrowInvalid, binascii.Error):
        return None
    hyphens = np.frombuffer(texts, dtype=np.uint8).reshape(-1, 36)[:, [8, 13, 18, 23]]
    # With all four in place, too few digits betray a hyphen in another.
    if len(digits) != 16 * len(column) or (hyphens != ord("-")).any() or texts != texts.lower():
        return None
    return np.frombuffer(digits, dtype=np.uint8).reshape(-1, 16)


def _make_uuids(numbers: list[int]) -> Objects:
    """Make UUID objects, some ten times as fast as `uuid.UUID(int=number)`.

    `map` sets the two slots of each object from C.
    """
    with _gc_paused():
        blank = map(uuid.UUID.__new__, repeat(uuid.UUID, len(numbers)))
        uuids = np.fromiter(blank, dtype=object, count=len(numbers))
    slots = vars(uuid.UUID)
    deque(map(slots["int"].__set__, uuids, numbers), maxlen=0)
    deque(map(slots["is_safe"].__set__, uuids, repeat(uuid.SafeUUID.unknown)), maxlen=0)
    return uuids


@contextlib.contextmanager
def _gc_paused() -> Iterator[None]:
    """Do without the garbage collector's passes over objects that are all still in use.

    They would take most of the time. Nothing made in the block may be in a reference cycle.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def pack_uuids(uuids: Objects) -> npt.NDArray[np.uint8]:
    """Return UUID objects as 16 bytes in a row."""
    packed = b"".join(map(int.to_bytes, list_integers(uuids), repeat(16)))
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, 16)


def list_integers(uuids: Objects) -> Objects:
    """Return UUID objects as integers, which compare in C."""
    return np.fromiter(map(operator.attrgetter("int"), uuids), dtype=object, count=len(uuids))


def _cast_values(values: pd.Index[Any], dtype: Callable[[Any], Any]) -> pd.Index[Any]:
    if dtype is not uuid.UUID:
        return values.map(dtype, na_action="ignore")
    try:
        factorized = _factorize(pa.chunked_array([pa.array(values.to_numpy(), pa.large_string())]))
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # not only strings
        factorized = None
    if factorized is None:
        return values.map(as_uuid, na_action="ignore")
    codes, level = factorized
    return level.take(codes).rename(values.name)


def as_uuid(value: Any) -> uuid.UUID:
    """Return the UUID that a string spells, or a UUID as it is."""
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is not a UUID") from error
