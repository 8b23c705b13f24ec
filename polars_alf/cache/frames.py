"""The tables as pandas frames: their columns, empty ones, and the update of old ones."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Hashable, Iterable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from packaging.version import InvalidVersion, Version

from polars_alf.alf.grammar import QC, QC_NAMES, parse_session_path
from polars_alf.errors import TableError


class Bunch(dict[str, Any]):
    """A dictionary whose keys are attributes too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__ = self

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


if not TYPE_CHECKING:
    # ONE's own class where there is one, as users may look at the type.
    with contextlib.suppress(ImportError):
        from iblutil.util import Bunch


QC_TYPE = pd.CategoricalDtype(categories=list(QC_NAMES), ordered=True)
"""Type of the column `qc`: the names of the outcomes, in ascending order of value."""

SESSIONS_COLUMNS: dict[str, Any] = {
    "id": object,
    "lab": object,
    "subject": object,
    "date": object,  # datetime.date
    "number": np.uint16,
    "task_protocol": object,
    "projects": object,
}
"""Columns of the sessions table and their types, the index first."""

DATASETS_COLUMNS: dict[str, Any] = {
    "eid": object,
    "id": object,
    "rel_path": object,  # POSIX, relative to the session
    "file_size": "UInt64",  # bytes; nullable
    "hash": object,  # MD5 in hexadecimal, or ""
    "exists": bool,
    "qc": QC_TYPE,
}
"""Columns of the datasets table and their types, the index first."""

COLUMNS = {"sessions": SESSIONS_COLUMNS, "datasets": DATASETS_COLUMNS}
"""Columns of both tables and their types."""

_ID_WORDS = frozenset({"id", "eid", "pid", "uuid"})

INDEX_NAMES = {"sessions": ["id"], "datasets": ["eid", "id"]}
"""Names of the index levels of both tables."""


def _make_empty_frame(columns: dict[str, Any], index: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns)).astype(columns).set_index(index)


EMPTY_SESSIONS_FRAME = _make_empty_frame(SESSIONS_COLUMNS, INDEX_NAMES["sessions"])
"""A sessions table without rows."""

EMPTY_DATASETS_FRAME = _make_empty_frame(DATASETS_COLUMNS, INDEX_NAMES["datasets"])
"""A datasets table without rows."""


def list_id_columns(names: Iterable[Any]) -> list[str]:
    """Return `eid` and `id`, or else the columns whose last word says that they hold ids.

    ONE takes each column with ``id`` in its name, `width` and `grid` as well.
    """
    found = [name for name in names if isinstance(name, str)]
    if "id" in found:
        return [name for name in ("eid", "id") if name in found]
    return sorted(name for name in found if name.lower().rpartition("_")[2] in _ID_WORDS)


def index_by_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Index a frame by columns, or by nothing; of its index, levels with names become columns."""
    unnamed: list[Hashable] = [
        level for level, name in enumerate(frame.index.names) if name is None
    ]
    if len(unnamed) == frame.index.nlevels:
        frame = frame.reset_index(drop=True)
    else:
        frame = frame.droplevel(unnamed).reset_index()
    return frame.set_index([*names]) if names else frame


def _metadata(origin: str | os.PathLike[str]) -> dict[str, str]:
    """Make the metadata of a new table: `date_created`, local time to the minute, and `origin`."""
    created = datetime.datetime.now().isoformat(sep=" ", timespec="minutes")
    return {"date_created": created, "origin": str(origin)}


def default_cache(origin: str = "") -> Bunch:
    """Make an empty cache, as `load_tables` returns for a folder without tables.

    Parameters
    ----------
    origin : str
        The name of a computer or database, for the tables' metadata; "" for none.

    Returns
    -------
    Bunch
        `sessions` and `datasets` without rows, and `_meta`.
    """
    metadata = {**_metadata(origin), "origin": {origin} if origin else set()}
    return Bunch(
        datasets=EMPTY_DATASETS_FRAME.copy(),
        sessions=EMPTY_SESSIONS_FRAME.copy(),
        _meta={
            "created_time": None,
            "loaded_time": None,
            "modified_time": None,
            "saved_time": None,
            "raw": {name: deepcopy(metadata) for name in ("datasets", "sessions")},
        },
    )


def _get_session_info(
    rel_ses_path: str | os.PathLike[str],
) -> tuple[str, str, str, datetime.date, int, str, str]:
    """Return the row of SESSIONS_COLUMNS for a path `[lab/Subjects/]subject/date/number`.

    Its id is `[lab/]subject/date/number`; unknown fields are "". A path of no session raises
    ValueError.
    """
    path = os.fspath(rel_ses_path).replace(os.sep, "/").strip("/")
    parts = parse_session_path(path)
    if parts is None:
        raise ValueError(f"{path!r} is not a session: use [lab/Subjects/]subject/yyyy-mm-dd/number")
    eid = "/".join(filter(None, parts))
    return eid, parts.lab or "", parts.subject, parts.date_value, parts.number_value, "", ""


def parse_qc(values: pd.Series[Any]) -> pd.Series[Any]:
    """Cast outcomes (names in any case, numbers, or `QC` of this package or ONE) to `QC_TYPE`.

    Missing ones stay missing; a value that is no outcome raises ValueError.
    """
    if values.dtype == QC_TYPE:
        return values
    names = {value: QC.parse(value).name for value in values.dropna().astype(object).unique()}
    return values.astype(object).map(names).astype(QC_TYPE)


def patch_tables(
    table: pd.DataFrame, min_api_version: str | None = None, name: str | None = None
) -> pd.DataFrame:
    """Update a table of an older version of ONE.

    Ids that are pairs of integers become strings, `project` becomes `projects`, or fills its gaps,
    datasets get a `qc` and lose `session_path`.

    Parameters
    ----------
    table : pandas.DataFrame
        A table; it is not changed.
    min_api_version : str, optional
        The oldest version of ONE that reads the table, from its metadata.
    name : str, optional
        The table's name: `sessions`, `datasets` or another.

    Returns
    -------
    pandas.DataFrame
        The updated table, or the same one if it is up to date.

    Raises
    ------
    TableError
        Columns of integers are not the pairs of ids.
    """
    version = _parse_version(min_api_version)
    table = _join_integer_ids(table)
    if version < Version("1.13.0") and "project" in table.columns:
        table = join_projects(table)
    if name == "datasets":
        if version < Version("2.7.0") and "qc" not in table.columns:
            not_set = np.zeros(len(table), dtype=np.int8)
            table = table.assign(qc=pd.Categorical.from_codes(not_set, dtype=QC_TYPE))
        if "session_path" in table.columns:
            table = table.drop(columns="session_path")
    return table


def _parse_version(text: str | None) -> Version:
    try:
        return Version(text or "0.0.0")
    except (InvalidVersion, TypeError):  # whoever wrote it is not ONE
        return Version("0.0.0")


def join_projects(table: pd.DataFrame) -> pd.DataFrame:
    """Rename `project`, as ONE 1 called `projects`, or fill the gaps of that with it."""
    if "projects" not in table.columns:
        return table.rename(columns={"project": "projects"})
    # One that is empty says nothing; two columns of one name cannot be saved.
    said = table["projects"].where(table["projects"].fillna("") != "", table["project"])
    return table.assign(projects=said).drop(columns="project")


def _join_integer_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Index a table by strings where it has halves of UUIDs, such as `id_0` and `id_1`."""
    if not any(str(name).endswith("_0") for name in table.index.names):
        return table
    frame = table.reset_index()
    # Not all pairs need be in the index: the oldest datasets have eid_0 and eid_1 as columns.
    halves = sorted(column for column in frame.columns if column[-2:] in ("_0", "_1"))
    names = sorted({half[:-2] for half in halves})
    if halves != [f"{name}_{half}" for name in names for half in (0, 1)]:
        raise TableError(f"{halves} are not pairs such as id_0 and id_1: index the archive again")
    ids = {name: _join_halves(frame[[f"{name}_0", f"{name}_1"]]) for name in names}
    return frame.drop(columns=halves).assign(**ids).set_index(names)


def _join_halves(halves: pd.DataFrame) -> list[str]:
    digits = halves.to_numpy(dtype="<i8").tobytes().hex()
    texts = (digits[start : start + 32] for start in range(0, len(digits), 32))
    return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]
