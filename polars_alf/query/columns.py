"""Columns made from others: those of a dataset's session, the parts of its path, and paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.arguments import check_argument
from polars_alf.alf.uuid_names import expr_with_uuid
from polars_alf.errors import ColumnsError, OptionError
from polars_alf.query.scan import ORIGIN

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

# Absolute, or with an empty, "." or ".." part, or with NUL, where the system would end the path.
_UNSAFE_PATH = r"(?:^|/)\.{0,2}(?:/|$)|\x00"

_UNSAFE_NAME = r"/|\x00|^\.{1,2}$"


def join_sessions(datasets: Frame, sessions: pl.DataFrame | pl.LazyFrame) -> Frame:
    """Give each dataset the columns of its session.

    Parameters
    ----------
    datasets
        With ``eid``, as `scan_datasets` gives them.
    sessions
        With ``id``, as `scan_sessions` gives them.

    Returns
    -------
    polars.DataFrame or polars.LazyFrame
        All datasets, as many and in the order as given, as the kind of frame that they came in:
        their columns, then those of the sessions but for ``id``, which is ``eid``. Null where a
        dataset's session is not among the sessions. Where both frames have ``origin``, so that
        they may be of several archives, it has to agree as well; any other name that both have
        comes from the sessions as ``NAME_session``.

    Raises
    ------
    OptionError
        One is no frame of Polars.
    ColumnsError
        The ids are missing.
    """
    lazy, right = _lazy(datasets, ["eid"]), _lazy(sessions, ["id"])
    columns = lazy.collect_schema().names(), right.collect_schema().names()
    both: list[str] = [ORIGIN] if all(ORIGIN in names for names in columns) else []
    joined = lazy.join(
        right,
        left_on=["eid", *both],
        right_on=["id", *both],
        how="left",
        suffix="_session",
        maintain_order="left",
    )
    return _like(datasets, joined)


def with_alf_parts(frame: Frame) -> Frame:
    """Add the parts of each dataset's path as columns.

    Parameters
    ----------
    frame
        With ``rel_path``: datasets, alone or with their sessions (`join_sessions`), or an archive
        (`scan_archive`).

    Returns
    -------
    polars.DataFrame or polars.LazyFrame
        The frame, as the kind that it came in and in its order, and last of all ``collection``,
        ``revision``, ``namespace``, ``object``, ``attribute``, ``timescale``, ``extra`` and
        ``extension``: String, as `grammar.parse_rel_path` has them. A part that a path
        does not have is null, and all are where it is not ALF. Columns that had these names are
        replaced; ``lab``, ``subject``, ``date`` and ``number`` are the session's and come with it.

    Raises
    ------
    OptionError
        It is no frame of Polars.
    ColumnsError
        There is no ``rel_path``.
    """
    lazy = _lazy(frame, ["rel_path"])
    parts = grammar.expr_rel_path_parts(pl.col("rel_path").cast(pl.String))
    # In one column first: Polars would parse the paths again for each part.
    with_parts = (
        lazy.drop(grammar.RelPathParts._fields, strict=False)
        .with_columns(alf_parts=parts)
        .unnest("alf_parts")
    )
    return _like(frame, with_parts)


def full_path(
    root: str | os.PathLike[str] | pl.Expr,
    *,
    lab_folders: bool = True,
    uuid_filenames: bool = False,
) -> pl.Expr:
    """Return the paths of datasets' files, as ONE makes them.

    Parameters
    ----------
    root
        The archive, ``cache_dir`` for ONE: a path, the address of a bucket, or an expression such
        as ``pl.col("origin")`` where the tables of each archive lie in it. "" leaves it out.
    lab_folders
        False where sessions lie in no lab's folder although the tables name a lab.
    uuid_filenames
        Whether files have their id before the extension, ``spikes.times.UUID.npy``, as in IBL's
        buckets. It is taken from ``id``.

    Returns
    -------
    polars.Expr
        ``full_path``, String: ``root/[lab/Subjects/]subject/date/number/rel_path`` with numbers
        of three digits, to be used on datasets with their sessions (`join_sessions`). Null where
        the session is not known, and where the path would lead out of its session.
    """
    check_argument("lab_folders", lab_folders, bool)
    check_argument("uuid_filenames", uuid_filenames, bool)
    if isinstance(root, pl.Expr):
        start = root.str.strip_suffix("/") + "/"
    elif isinstance(root, str | os.PathLike):
        text = os.fspath(root)
        start = pl.lit(f"{text.removesuffix('/')}/" if text else "")
    else:
        raise OptionError(f"the root {root!r} is no path; give one, or an expression")
    lab = pl.col("lab").fill_null("")
    is_safe = ~pl.any_horizontal(
        expr_is_unsafe(pl.col("rel_path")),
        lab.str.contains(_UNSAFE_NAME),
        pl.col("subject").str.contains(_UNSAFE_NAME),
    )
    folders = pl.when(lab != "").then(lab + "/Subjects/").otherwise(pl.lit(""))
    path = pl.concat_str(
        start,
        folders if lab_folders else pl.lit(""),
        pl.concat_str(*_list_session_parts(), "rel_path", separator="/"),
    )
    if uuid_filenames:
        path = expr_with_uuid(path, pl.col("id").cast(pl.String))
    return pl.when(is_safe).then(path).alias("full_path")


def expr_is_unsafe(rel_path: pl.Expr) -> pl.Expr:
    """Whether a path is null, or could lead out of its session."""
    return rel_path.is_null() | rel_path.str.contains(_UNSAFE_PATH)


def expr_session_path(suffix: str = "") -> pl.Expr:
    """Return ``[lab/]subject/date/number`` of SESSIONS, whose columns end in `suffix`.

    It names a session; `expr_session_folder` is where it lies. The number has three digits; parts
    that are null are left out.
    """
    return _join_session_parts(pl.col(f"lab{suffix}"), suffix)


def expr_session_folder(suffix: str = "") -> pl.Expr:
    """Return ``[lab/Subjects/]subject/date/number`` of SESSIONS, as `expr_session_path`.

    It is the path in the archive, which people can look at and paste.
    """
    return _join_session_parts(pl.col(f"lab{suffix}") + "/Subjects", suffix)


def join_dataset_paths(datasets: pl.LazyFrame, sessions: pl.LazyFrame) -> pl.LazyFrame:
    """Add ``path``: `expr_session_folder`, or else the eid, and ``rel_path``; in their order."""
    paths = sessions.select(eid="id", session_path=expr_session_folder())
    return join_paths(datasets, paths.unique("eid", keep="first"))


def join_paths(datasets: pl.LazyFrame, paths: pl.LazyFrame) -> pl.LazyFrame:
    """Add ``path``: the ``session_path`` of each ``eid``, or else the eid, and ``rel_path``."""
    path = pl.concat_str(pl.coalesce("session_path", "eid"), "rel_path", separator="/")
    joined = datasets.join(paths, on="eid", how="left", maintain_order="left")
    return joined.with_columns(path=path).drop("session_path")


def _join_session_parts(start: pl.Expr, suffix: str) -> pl.Expr:
    start = pl.when(pl.col(f"lab{suffix}") != "").then(start)
    return pl.concat_str(start, *_list_session_parts(suffix), separator="/", ignore_nulls=True)


def _list_session_parts(suffix: str = "") -> list[pl.Expr]:
    subject, date, number = (pl.col(f"{part}{suffix}") for part in ("subject", "date", "number"))
    return [subject, date.dt.to_string("%Y-%m-%d"), number.cast(pl.String).str.zfill(3)]


def _lazy(frame: pl.DataFrame | pl.LazyFrame, needed: Sequence[str]) -> pl.LazyFrame:
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise OptionError(f"{type(frame)} is no frame of Polars; give a DataFrame or a LazyFrame")
    columns = frame.collect_schema().names()
    for column in needed:
        if column not in columns:
            raise ColumnsError(
                f"the frame has no column {column}, only {', '.join(columns)}; give what "
                "scan_datasets or scan_sessions returns, with that column"
            )
    return frame.lazy()


def _like(given: Frame, result: pl.LazyFrame) -> Frame:
    return result.collect() if isinstance(given, pl.DataFrame) else result
