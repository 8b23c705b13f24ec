"""The merge of new and changed records into tables."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from polars_alf.cache.frames import (
    COLUMNS,
    INDEX_NAMES,
    QC_TYPE,
    _metadata,
    index_by_columns,
    join_projects,
    list_id_columns,
    parse_qc,
)
from polars_alf.cache.indexes import (
    Codes,
    Objects,
    as_uuid,
    build_index,
    combine_codes,
    find_order,
    holds_uuid_strings,
    is_sorted,
    list_integers,
    mark_sorted,
    pack_uuids,
    rank_octets,
    rank_sorted,
)
from polars_alf.errors import ColumnsError, TableError, UnknownTableError

_PROJECTS = ("project", "projects")


def merge_tables(
    cache: MutableMapping[str, Any],
    strict: bool = False,
    origin: str | None = None,
    **kwargs: pd.DataFrame | pd.Series[Any] | None,
) -> datetime.datetime | None:
    """Insert records into tables, or update the rows with the same ids.

    Either all tables are replaced, sorted by their indexes, or after an error none.

    Parameters
    ----------
    cache : dict
        Tables by name, and `_meta`, as from `load_tables`.
    strict : bool
        Whether to refuse records whose columns are not those of the table. Otherwise columns that
        the table lacks are dropped; columns that the records lack become nullable, and missing in
        these rows, but `exists_*` take the values of `exists`.
    origin : str, optional
        Origin of the records, added to the origins of the tables.
    **kwargs : pandas.DataFrame, pandas.Series
        Records for each table, indexed as it is; a Series is one record, with its id as the name.
        Levels may be in another order or columns, and ids may be strings in place of UUIDs or the
        reverse. Into a table without an index or without rows, records come with their own; into
        one without columns either, with all their columns.
        The first of records with the same id is used. `qc` may be a name in any case, a number or
        a `QC`. None and empty frames are ignored.

    Returns
    -------
    datetime.datetime
        Time of the change; None if there were no records.

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
        raw = cache["_meta"]["raw"].setdefault(name, {})
        raw.setdefault("date_created", _metadata("")["date_created"])
        if origin is not None:
            raw["origin"] = {*raw.get("origin", ()), origin}  # a list after One.save_cache
    cache["_meta"]["modified_time"] = updated
    return updated


def _merge(
    table: pd.DataFrame, records: pd.DataFrame | pd.Series[Any], strict: bool, name: str
) -> pd.DataFrame:
    if isinstance(records, pd.Series):
        records = pd.DataFrame([records])
    table, records = _unify_columns(table, records)
    try:
        names = _choose_names(table, records, name)
        records = _index_records(records, names)
        table = _index_table(table, records, names, name)
        table, records = _align_columns(table, records, strict)
        records = _cast_columns(records, table)
        index, chosen = _merge_indexes(table.index, records.index, names)
    except ColumnsError:
        raise
    except (TypeError, ValueError) as error:
        raise TableError(f"records do not fit the table {name!r}: {error}") from error
    merged = pd.concat([table, records], ignore_index=True).take(chosen)
    merged.index = index
    return merged


def _unify_columns(table: pd.DataFrame, records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both with each column once, and `project` of old ones as the `projects` of the other.

    Of columns with one name the first counts, as in files.
    """
    frames = [
        frame if frame.columns.is_unique else frame.loc[:, ~frame.columns.duplicated()]
        for frame in (table, records)
    ]
    has_old, has_new = ([name in frame.columns for frame in frames] for name in _PROJECTS)
    if has_old != has_new and any(has_old) and any(has_new):
        frames = [
            join_projects(frame) if "project" in frame.columns and not is_new else frame
            for frame, is_new in zip(frames, has_new, strict=True)
        ]
    return frames[0], frames[1]


def _choose_names(table: pd.DataFrame, records: pd.DataFrame, name: str) -> list[Any]:
    """Return the names of the levels of the index, which the table may have lost, or never had."""
    names = list(table.index.names)
    known = INDEX_NAMES.get(name)
    if known and (not any(names) or {*known} <= {*names, *table.columns}):
        return known if {*names} != {*known} else names
    if any(names):
        return names
    if all(isinstance(frame.index, pd.RangeIndex) for frame in (table, records)):
        ids = list_id_columns(records.columns)
        if ids and (table.empty or {*ids} <= {*table.columns}):
            return ids
        if len(table):  # a number is no id: records would replace rows of others
            raise ValueError("its rows and theirs are only numbered; index both by their ids")
    return names if len(table) else list(records.index.names)


def _index_records(records: pd.DataFrame, names: list[Any]) -> pd.DataFrame:
    """Return records with the given levels in their index, which may be columns."""
    index = records.index
    if {*index.names} == {*names}:
        return records.reorder_levels(names) if index.nlevels > 1 else records
    if {*names} <= {*index.names, *records.columns}:
        return index_by_columns(records, names)
    if index.nlevels != len(names) or isinstance(index, pd.RangeIndex):
        raise ValueError(f"the index is {list(index.names)}, not {names}")
    return records


def _index_table(
    table: pd.DataFrame, records: pd.DataFrame, names: list[Any], name: str
) -> pd.DataFrame:
    """Return a table with the given levels in its index, and, if it has no rows, our types.

    A table without rows and columns takes the columns of the records.
    """
    is_indexed = any(names) and list(table.index.names) == names
    if is_indexed and len(table.columns):
        return table
    if any(names) and not is_indexed and {*names} <= {*table.index.names, *table.columns}:
        table = index_by_columns(table, names)
    elif len(table):
        is_count = any(names) and isinstance(table.index, pd.RangeIndex)
        if is_count or table.index.nlevels != len(names):
            raise ValueError(f"its own index is {list(table.index.names)}, not {names}")
    elif table.columns.empty:
        table = records.iloc[:0]
    elif not is_indexed:
        table = table.set_axis(records.index[:0])
    if len(table):
        return table
    ours = {column: dtype for column, dtype in COLUMNS.get(name, {}).items() if column in table}
    return table.astype(ours)


def _align_columns(
    table: pd.DataFrame, records: pd.DataFrame, strict: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give both the table's columns; those that the records lack become nullable."""
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
            # A file that exists is taken to exist in an archive's mirrors too.
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


def _merge_indexes(
    old: pd.Index[Any], new: pd.Index[Any], names: list[Any]
) -> tuple[pd.Index[Any], Codes]:
    """Return the sorted index of both, and the row of each entry: of the old, then the new."""
    split = _split_index(old), _split_index(new)
    levels, old_codes, new_codes = zip(*map(_merge_level, *split), strict=True)
    sizes = [len(level) + 1 for level in levels]
    chosen = _choose_rows(combine_codes(old_codes, sizes), combine_codes(new_codes, sizes))
    codes = []
    for level, *pair in zip(levels, old_codes, new_codes, strict=True):
        merged = np.concatenate(pair)[chosen]
        codes.append(np.where(merged == len(level), -1, merged))
    return build_index(levels, codes, names), chosen


def _choose_rows(old: npt.NDArray[np.int64], new: npt.NDArray[np.int64]) -> Codes:
    """Return the positions, in the old rows and then the new ones, of the merged rows.

    Rows are the numbers of `combine_codes`, equal where their ids are.
    """
    distinct, first = np.unique(new, return_index=True)
    nearest = np.minimum(np.searchsorted(distinct, old), len(distinct) - 1)
    is_updated = distinct[nearest] == old
    is_fresh = np.ones(len(distinct), dtype=bool)
    is_fresh[nearest[is_updated]] = False
    updated = np.where(is_updated, len(old) + first[nearest], np.arange(len(old)))
    chosen = np.concatenate([updated, len(old) + first[is_fresh]])
    order = find_order(np.concatenate([old, distinct[is_fresh]]))
    return chosen if order is None else chosen[order]


def _split_index(index: pd.Index[Any]) -> list[tuple[Codes, pd.Index[Any]]]:
    """Return for each level the codes of the rows, -1 if missing, and the distinct ids."""
    if isinstance(index, pd.MultiIndex):
        return [*map(_drop_unused, index.codes, index.levels)]
    if is_sorted(index) and not index.hasnans:
        return [(np.arange(len(index)), index)]
    codes, ids = index.factorize()
    return [(codes, pd.Index(ids))]


def _drop_unused(codes: Codes, ids: pd.Index[Any]) -> tuple[Codes, pd.Index[Any]]:
    """Drop ids of no row, of which a few rows taken from a large table have many.

    Unlike `MultiIndex.remove_unused_levels`, keep the others in order.
    """
    is_used = np.zeros(len(ids) + 1, dtype=bool)
    is_used[codes] = True
    is_used = is_used[:-1]  # the code -1 has marked the last
    if is_used.all():
        return codes, ids
    return np.append(np.cumsum(is_used) - 1, -1)[codes], ids[is_used]


def _merge_level(
    old: tuple[Codes, pd.Index[Any]], new: tuple[Codes, pd.Index[Any]]
) -> tuple[pd.Index[Any], Codes, Codes]:
    """Return the distinct ids of both, sorted, and the codes of the old and the new rows.

    The code of a missing id is the number of ids: it comes last, as in pandas.
    """
    (old_codes, old_ids), (new_codes, new_ids) = old, new
    old_ids, new_ids = _unify_ids(old_ids, new_ids)
    old_ids, old_ranks = _rank_ids(old_ids)
    new_ids, new_ranks = _rank_ids(new_ids)
    ids, old_positions, new_positions = _merge_sorted(old_ids, new_ids)
    # The code -1 takes the last position.
    old_positions = np.append(old_positions[old_ranks], len(ids))
    new_positions = np.append(new_positions[new_ranks], len(ids))
    return ids, old_positions[old_codes], new_positions[new_codes]


def _rank_ids(ids: pd.Index[Any]) -> tuple[pd.Index[Any], Codes]:
    """Return the distinct ids, sorted, and the rank of each id."""
    if is_sorted(ids):
        return ids, np.arange(len(ids))
    values: Objects = ids.to_numpy(dtype=object)
    if isinstance(values[0], uuid.UUID):
        ranks, first = rank_octets(pack_uuids(values))
    else:
        ranks, first = rank_sorted(np.argsort(values, kind="stable"), values)
    return mark_sorted(ids.take(first)), ranks


def _merge_sorted(old: pd.Index[Any], new: pd.Index[Any]) -> tuple[pd.Index[Any], Codes, Codes]:
    """Merge distinct sorted ids; return also the positions of both in the result."""
    positions, is_fresh = _find_positions(old, new)
    if not is_fresh.any():
        return old, np.arange(len(old)), positions
    fresh = len(old) + np.arange(np.count_nonzero(is_fresh))
    order = np.insert(np.arange(len(old)), positions[is_fresh], fresh)
    merged = mark_sorted(old.append(new[is_fresh]).take(order))
    return merged, np.flatnonzero(order < len(old)), positions + np.cumsum(is_fresh) - is_fresh


def _find_positions(old: pd.Index[Any], new: pd.Index[Any]) -> tuple[Codes, npt.NDArray[np.bool_]]:
    """Return where each new id is among the old ones, or belongs, and whether it is fresh."""
    haystack, needles = old.to_numpy(dtype=object), new.to_numpy(dtype=object)
    if len(needles) > len(haystack) // 100 and isinstance(needles[0], uuid.UUID):
        # Faster comparisons are worth the integers of all.
        haystack, needles = list_integers(haystack), list_integers(needles)
    positions = np.searchsorted(haystack, needles)
    is_fresh = np.ones(len(needles), dtype=bool)
    is_inside = positions < len(haystack)
    is_fresh[is_inside] = haystack[positions[is_inside]] != needles[is_inside]
    return positions, is_fresh


def _unify_ids(old: pd.Index[Any], new: pd.Index[Any]) -> tuple[pd.Index[Any], pd.Index[Any]]:
    """Convert UUID objects and strings to one kind, that of the table if it has any ids."""
    old_kinds, new_kinds = _list_kinds(old), _list_kinds(new)
    if uuid.UUID in (old_kinds or new_kinds):
        return _as_uuids(old, old_kinds), _as_uuids(new, new_kinds)
    if uuid.UUID in new_kinds:
        if not holds_uuid_strings(old):
            raise ValueError(f"its ids are as {old[0]!r}, and not UUIDs")
        return old, new.map(str).astype(old.dtype)
    return old, new


def _list_kinds(ids: pd.Index[Any]) -> set[type]:
    # Ids of several kinds cannot be sorted.
    return set(map(type, ids[:1] if ids.dtype != object or is_sorted(ids) else ids.to_numpy()))


def _as_uuids(ids: pd.Index[Any], kinds: set[type]) -> pd.Index[Any]:
    return ids if kinds <= {uuid.UUID} else ids.map(as_uuid).astype(object)
