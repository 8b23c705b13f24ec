"""New and changed records into tables."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import pandas as pd

from polars_alf.cache.frames import INDEX_NAMES, QC_TYPE, _metadata, parse_qc
from polars_alf.cache.indexes import (
    Codes,
    Objects,
    as_uuid,
    build_index,
    combine_codes,
    find_order,
    holds_uuid_strings,
    pack_uuids,
    rank_octets,
)
from polars_alf.errors import ColumnsError, TableError, UnknownTableError


def merge_tables(
    cache: MutableMapping[str, Any],
    strict: bool = False,
    origin: str | None = None,
    **kwargs: pd.DataFrame | pd.Series[Any] | None,
) -> datetime.datetime | None:
    """Insert records into tables, or update them where their ids are there already.

    All tables are replaced, sorted by their indexes, or after an error none.

    Parameters
    ----------
    cache : dict
        Tables by name, and `_meta`, as from `load_tables`.
    strict : bool
        Refuse records whose columns are not those of the table. Otherwise columns that the table
        does not have are dropped. Columns that the records do not have become nullable, and
        missing in these rows; `exists_*` take the values of `exists`.
    origin : str, optional
        Where the records are from: added to the origins of the tables.
    **kwargs : pandas.DataFrame, pandas.Series
        Records for each table, indexed as it is; a Series is one record, with its id as the name.
        Levels may be in another order, and ids strings in place of UUIDs or the reverse. Of
        records with the same id the first counts. `qc` may be a name in any case, a number or a
        `QC`. None and empty frames are ignored.

    Returns
    -------
    datetime.datetime
        When the tables were changed; None if there were no records.

    Raises
    ------
    UnknownTableError
        The cache has no such table.
    ColumnsError
        Columns differ, and `strict` is true.
    TableError
        Ids or values do not fit the table.
    """
    given = {name: new for name, new in kwargs.items() if new is not None and not new.empty}
    for name in given:
        if name not in cache or name.startswith("_"):
            known = [key for key in cache if not key.startswith("_")]
            raise UnknownTableError(f"there is no table {name!r}: use one of {known}")
    merged = {name: _merge(cache[name], new, strict, name) for name, new in given.items()}
    if not merged:
        return None
    updated = datetime.datetime.now()
    for name, table in merged.items():
        cache[name] = table
        _note_merge(cache["_meta"]["raw"].setdefault(name, {}), origin)
    cache["_meta"]["modified_time"] = updated
    return updated


def _note_merge(raw: dict[str, Any], origin: str | None) -> None:
    if origin is not None:
        # One.save_cache leaves a list here.
        raw["origin"] = {*raw.get("origin", ()), origin}
    raw.setdefault("date_created", _metadata("")["date_created"])


def _merge(
    table: pd.DataFrame, records: pd.DataFrame | pd.Series[Any], strict: bool, name: str
) -> pd.DataFrame:
    try:
        records = _frame_records(records, table, name)
        table, records = _align_columns(table, records, strict)
        records = _cast_columns(records, table)
        return _merge_rows(table, records, _expected_names(table, name))
    except ColumnsError:
        raise
    except (TypeError, ValueError) as error:
        raise TableError(f"records do not fit the table {name!r}: {error}") from error


def _expected_names(table: pd.DataFrame, name: str) -> list[Any]:
    # ONE's own merging loses the names.
    names = list(table.index.names)
    return names if any(names) else INDEX_NAMES.get(name, names)


def _frame_records(
    records: pd.DataFrame | pd.Series[Any], table: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Return records as a frame whose levels are in the table's order."""
    names = _expected_names(table, name)
    if isinstance(records, pd.Series):
        records = pd.DataFrame([records])
    index = records.index
    if isinstance(index, pd.RangeIndex) and set(names) <= set(records.columns):
        return records.set_index(names)
    if index.nlevels != len(names):
        raise ValueError(f"the index is {list(index.names)}, not {names}")
    if index.nlevels > 1 and set(index.names) == set(names):
        return records.reorder_levels(names)
    return records


def _align_columns(
    table: pd.DataFrame, records: pd.DataFrame, strict: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give both the table's columns."""
    lacking = [column for column in table.columns if column not in records.columns]
    if strict and (lacking or len(records.columns) != len(table.columns)):
        raise ColumnsError(
            f"columns are {list(records.columns)}, not {list(table.columns)}: "
            "give these, or strict=False"
        )
    if lacking:
        nullable = table[lacking].convert_dtypes()
        table = table.copy(deep=False)
        table[lacking] = nullable
        records = records.copy(deep=False)
        for column, dtype in nullable.dtypes.items():
            # An archive's mirrors have what the archive has, as far as the records can tell.
            is_mirror = str(column).startswith("exists_")
            missing = getattr(dtype, "na_value", np.nan)
            records[column] = records.get("exists", True) if is_mirror else missing
    return table, records.reindex(columns=table.columns)


def _cast_columns(records: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    columns = {}
    for column, dtype in table.dtypes.items():
        values = records[column]
        try:
            columns[column] = parse_qc(values) if dtype == QC_TYPE else values.astype(dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {column!r}: {error}") from error
    return pd.DataFrame(columns, index=records.index, columns=table.columns)


def _merge_rows(table: pd.DataFrame, records: pd.DataFrame, names: list[Any]) -> pd.DataFrame:
    """Combine frames of the same columns: of rows with the same id, the records' remains."""
    old, new = _split_index(table.index), _split_index(records.index)
    levels, codes = zip(*map(_merge_level, old, new), strict=True)
    rows = combine_codes(codes, [len(level) + 1 for level in levels])
    old_rows, new_rows = np.split(rows, [len(table)])
    # Of the records with the same id, the first.
    distinct, first = np.unique(new_rows, return_index=True)
    nearest = np.minimum(np.searchsorted(distinct, old_rows), len(distinct) - 1)
    is_updated = distinct[nearest] == old_rows
    is_fresh = np.ones(len(distinct), dtype=bool)
    is_fresh[nearest[is_updated]] = False

    kept = np.arange(len(table))
    kept[is_updated] = len(table) + first[nearest[is_updated]]
    chosen = np.concatenate([kept, len(table) + first[is_fresh]])
    order = find_order(rows[chosen])
    if order is not None:
        chosen = chosen[order]
    merged = pd.concat([table, records], ignore_index=True).take(chosen)
    chosen_codes = [
        np.where(level_codes[chosen] == len(level), -1, level_codes[chosen])
        for level, level_codes in zip(levels, codes, strict=True)
    ]
    merged.index = build_index(levels, chosen_codes, names)
    return merged


def _split_index(index: pd.Index[Any]) -> list[tuple[Codes, pd.Index[Any]]]:
    """Return for each level the codes of the rows, -1 if missing, and the distinct ids."""
    if not isinstance(index, pd.MultiIndex):
        codes, ids = index.factorize()
        return [(codes, pd.Index(ids))]
    # A few rows taken from a large table still have all its ids.
    index = index.remove_unused_levels()
    return [
        (np.asarray(codes, dtype=np.int64), ids)
        for codes, ids in zip(index.codes, index.levels, strict=True)
    ]


def _merge_level(
    old: tuple[Codes, pd.Index[Any]], new: tuple[Codes, pd.Index[Any]]
) -> tuple[pd.Index[Any], Codes]:
    """Return the distinct ids of both in order, and the position of each row's id in them."""
    (old_codes, old_ids), (new_codes, new_ids) = old, new
    old_ids, new_ids = _unify_ids(old_ids, new_ids)
    ids = old_ids.append(new_ids)
    ranks, first = _rank_ids(ids)
    # A missing id, whose code is -1, has the code after the last: it comes last, as in pandas.
    ranks = np.append(ranks, len(first))
    codes = [old_codes, np.where(new_codes < 0, -1, new_codes + len(old_ids))]
    return ids.take(first), ranks[np.concatenate(codes)]


def _rank_ids(ids: pd.Index[Any]) -> tuple[Codes, Codes]:
    """Do as `rank_octets`, for ids of any one kind."""
    values: Objects = ids.to_numpy(dtype=object)
    if len(values) and isinstance(values[0], uuid.UUID):
        return rank_octets(pack_uuids(values))
    order = np.argsort(values, kind="stable")
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = values[order][1:] != values[order][:-1]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(is_first) - 1
    return ranks, order[is_first]


def _unify_ids(old: pd.Index[Any], new: pd.Index[Any]) -> tuple[pd.Index[Any], pd.Index[Any]]:
    """Make ids of one kind, the table's if it has any, from UUID objects and strings."""
    old_kinds, new_kinds = _find_kinds(old), _find_kinds(new)
    if uuid.UUID in (old_kinds or new_kinds):
        return _as_uuids(old, old_kinds), _as_uuids(new, new_kinds)
    if uuid.UUID in new_kinds:
        if not holds_uuid_strings(old):
            raise ValueError(f"its ids are as {old[0]!r}, and not UUIDs")
        return old, new.map(str).astype(old.dtype)
    return old, new


def _find_kinds(ids: pd.Index[Any]) -> set[type]:
    return set(map(type, ids.to_numpy())) if ids.dtype == object else {type(id_) for id_ in ids[:1]}


def _as_uuids(ids: pd.Index[Any], kinds: set[type]) -> pd.Index[Any]:
    return ids if kinds <= {uuid.UUID} else ids.map(as_uuid).astype(object)
