"""Indexes of UUID objects, made from strings without a Python call for each."""

from __future__ import annotations

import binascii
import gc
import operator
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
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
        Applied to each distinct id. `uuid.UUID` leaves UUID objects as they are.

    Returns
    -------
    pandas.DataFrame
        The same table.

    Raises
    ------
    ValueError
        An id is not a UUID.
    """
    index = df.index
    if not isinstance(index, pd.MultiIndex):
        df.index = _cast_values(index, dtype)
        return df
    names = index.names
    distinct = index.remove_unused_levels()
    levels = [_cast_values(level, dtype) for level in distinct.levels]
    if all(level.is_unique for level in levels):
        # Each id is converted once, not once for each row.
        df.index = build_index(levels, distinct.codes, names)
    else:
        arrays = [_cast_values(index.get_level_values(i), dtype) for i in range(index.nlevels)]
        df.index = pd.MultiIndex.from_arrays(arrays, names=names)
    return df


def holds_uuid_strings(index: pd.Index[Any]) -> bool:
    """Whether any id of the first level is a string that ONE takes for a UUID."""
    values = index.levels[0] if isinstance(index, pd.MultiIndex) else index
    return any(isinstance(value, str) and is_uuid(value) for value in values)


def holds_only_uuid_strings(index: pd.Index[Any]) -> bool:
    """Whether all ids of one level, of which there is one at least, are such strings or missing."""
    values = index.dropna().unique()
    return len(values) > 0 and all(isinstance(value, str) and is_uuid(value) for value in values)


def make_uuid_index(
    columns: Sequence[pa.ChunkedArray], names: Sequence[str]
) -> tuple[pd.Index[Any], Codes | None] | None:
    """Make a sorted index of UUID objects from Arrow columns, one for each level.

    The second value is the position in the columns of each row, None if they are in order. None
    replaces both if ids are missing or spelt otherwise than by `str`, or if no id of the first
    level has a version that ALF uses.
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
    """Return a number for each row; numbers compare as the tuples of the levels' codes do.

    The product of the sizes of the levels must fit in 63 bits: it is 1e15 for a million sessions
    and a thousand million datasets.
    """
    rows = np.zeros(len(codes[0]), dtype=np.int64)
    for level_codes, size in zip(codes, sizes, strict=True):
        rows *= size
        rows += level_codes
    return rows


def find_order(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.intp] | None:
    """Return the stable order that sorts rows, or None if they are sorted."""
    if bool(np.all(rows[1:] >= rows[:-1])):
        return None
    return np.argsort(rows, kind="stable")


# Memory of ids that are known to be sorted: pandas takes 0.1 s to check 680,000 UUIDs.
_sorted: weakref.WeakValueDictionary[tuple[Any, ...], Objects] = weakref.WeakValueDictionary()


def mark_sorted(ids: pd.Index[Any]) -> pd.Index[Any]:
    """Remember that ids are distinct and sorted, for as long as they are in memory."""
    if ids.dtype == object:
        values: Objects = ids.to_numpy()
        # The owner of the memory, as pandas makes new views of it all the time.
        _sorted[_locate(values)] = values if values.base is None else values.base
    return ids


def is_sorted(ids: pd.Index[Any]) -> bool:
    """Whether ids are distinct and sorted."""
    if ids.dtype == object and _locate(ids.to_numpy()) in _sorted:
        return True
    return bool(ids.is_monotonic_increasing and ids.is_unique)


def _locate(values: Objects) -> tuple[Any, ...]:
    return values.__array_interface__["data"][0], values.shape, values.strides


def build_index(
    levels: Sequence[pd.Index[Any]], codes: Sequence[Codes], names: Sequence[Any]
) -> pd.Index[Any]:
    """Make an index of levels and codes; the code -1 is a missing id."""
    if len(levels) > 1:
        # pandas-stubs knows lists only.
        parts: dict[str, Any] = {"levels": levels, "codes": codes, "names": names}
        return pd.MultiIndex(**parts, verify_integrity=False)
    return levels[0].take(codes[0], fill_value=np.nan).rename(names[0])


def _factorize(ids: pa.ChunkedArray) -> tuple[Codes, pd.Index[Any]] | None:
    """Return the rank of each id, and the distinct ids sorted; None if any is no UUID."""
    octets = _parse_uuids(ids)
    if octets is None:
        return None
    ranks, first = rank_octets(octets)
    distinct = octets[first].view("V16").ravel().tolist()
    uuids = _make_uuids(list(map(int.from_bytes, distinct)))
    return ranks, mark_sorted(pd.Index(uuids, dtype=object))


def _factorize_repeated(ids: pa.ChunkedArray) -> tuple[Codes, pd.Index[Any]] | None:
    """Return the same as `_factorize`, faster for few distinct ids."""
    encoded = ids.combine_chunks().dictionary_encode()
    factorized = _factorize(pa.chunked_array([encoded.dictionary]))
    if factorized is None or encoded.null_count:
        return None
    ranks, level = factorized
    return ranks[encoded.indices.to_numpy()], level


def rank_octets(octets: npt.NDArray[np.uint8]) -> tuple[Codes, Codes]:
    """Return the dense rank of each row of 16 bytes, and a row of each rank."""
    high, low = octets.view(">u8").astype(np.uint64).T
    halves = pl.DataFrame({"high": high, "low": low})
    order = halves.select(pl.arg_sort_by("high", "low")).to_series().to_numpy()
    return rank_sorted(order, high, low)


def rank_sorted(order: Codes, *keys: npt.NDArray[Any]) -> tuple[Codes, Codes]:
    """Return the dense rank of each row, and a row of each rank, given the order of the keys."""
    is_first = np.zeros(len(order), dtype=bool)
    is_first[:1] = True
    for key in keys:
        is_first[1:] |= key[order][1:] != key[order][:-1]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(is_first) - 1
    return ranks, order[is_first]


def _parse_uuids(ids: pa.ChunkedArray) -> npt.NDArray[np.uint8] | None:
    """Return the 16 bytes of each UUID in `str`'s spelling; None if any is spelt otherwise."""
    if ids.null_count or not len(ids):
        return None
    try:
        column = ids.cast(pa.large_binary()).cast(pa.binary(36)).combine_chunks()
        texts = bytes(memoryview(column.buffers()[1])[column.offset * 36 :][: len(column) * 36])
        digits = binascii.unhexlify(texts.replace(b"-", b""))
    except (pa.ArrowInvalid, binascii.Error):
        return None
    hyphens = np.frombuffer(texts, dtype=np.uint8).reshape(-1, 36)[:, [8, 13, 18, 23]]
    # A fifth hyphen would leave too few digits.
    if len(digits) != 16 * len(column) or (hyphens != ord("-")).any() or texts != texts.lower():
        return None
    return np.frombuffer(digits, dtype=np.uint8).reshape(-1, 16)


def _make_uuids(numbers: list[int]) -> Objects:
    """Make UUID objects, some ten times as fast as `uuid.UUID(int=number)`."""
    # Passes of the garbage collector over objects that all stay would take most of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        blank = map(uuid.UUID.__new__, repeat(uuid.UUID, len(numbers)))
        uuids = np.fromiter(blank, dtype=object, count=len(numbers))
    finally:
        if was_enabled:
            gc.enable()
    # `map` sets the two slots of each object from C.
    slots = vars(uuid.UUID)
    deque(map(slots["int"].__set__, uuids, numbers), maxlen=0)
    deque(map(slots["is_safe"].__set__, uuids, repeat(uuid.SafeUUID.unknown)), maxlen=0)
    return uuids


def pack_uuids(uuids: Objects) -> npt.NDArray[np.uint8]:
    """Return the 16 bytes of each UUID object."""
    packed = b"".join(map(int.to_bytes, list_integers(uuids), repeat(16)))
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, 16)


def list_integers(uuids: Objects) -> Objects:
    """Return the integers of UUID objects, which compare in C."""
    return np.fromiter(map(operator.attrgetter("int"), uuids), dtype=object, count=len(uuids))


def _cast_values(values: pd.Index[Any], dtype: Callable[[Any], Any]) -> pd.Index[Any]:
    if dtype is not uuid.UUID:
        return values.map(dtype, na_action="ignore")
    try:
        factorized = _factorize(pa.chunked_array([pa.array(values.to_numpy(), pa.large_string())]))
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # not all are strings
        factorized = None
    if factorized is None:
        return values.map(as_uuid, na_action="ignore")
    codes, level = factorized
    return level.take(codes).rename(values.name)


def as_uuid(value: Any) -> uuid.UUID:
    """Return the UUID of a string, or a UUID as it is."""
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is not a UUID") from error
