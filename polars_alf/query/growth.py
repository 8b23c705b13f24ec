"""Growth of tables from one generation to the next, by lab, subject and more."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from polars_alf.alf.root import FolderPath, check_folder
from polars_alf.display import warn_caller
from polars_alf.errors import ArchiveNotFoundError, OptionError, TableError, TableWarning
from polars_alf.parallel.progress import Steps, show_no_step
from polars_alf.query.groups import GROUPS, sum_group
from polars_alf.query.scan import scan_pair
from polars_alf.query.summary import narrow
from polars_alf.tables.files import generation_path
from polars_alf.tables.undo import read_history

_SUMS = {"sessions": pl.Int64, "datasets": pl.Int64, "n_bytes": pl.Int128}


def measure_growth(
    folder: FolderPath, by: str = "lab", *, progress: Steps | None = None
) -> pl.DataFrame:
    """Measure how the groups of tables grew from one generation to the next.

    Parameters
    ----------
    folder
        Folder of the tables. Only the tables there and the earlier ones that are kept are compared.
    by
        What to group by: ``lab``, ``subject``, ``year`` (of recording), ``collection`` or
        ``extension``.
    progress
        Called with the number of steps done, the number of all, and the next step in words.

    Returns
    -------
    polars.DataFrame
        A row for each generation, the oldest first, and each group in it, the one that grew most
        bytes first: ``time`` when the tables were made (UTC), ``generation``, the column `by`,
        ``sessions``, ``datasets`` and ``n_bytes``; and ``more_sessions``, ``more_datasets`` and
        ``more_bytes``, by how much these are above those of the generation before: below 0 where
        the group became smaller, null for the first generation. A group that is gone has a row
        with zeros in the generation that lacks it. Sums are Int64, or Int128 where they do not fit.

    Raises
    ------
    OptionError
        `by` is no such group.
    ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `read_history`, and where the tables that are there cannot be read. Earlier tables
        that cannot be read are left out, with a TableWarning.
    """
    if by not in GROUPS:
        raise OptionError(f"by is {by!r}; give one of {', '.join(GROUPS)}")
    path = check_folder(folder, to_write=False)
    # A restore puts back what was made before: the first row says when, the last what became of it.
    runs = read_history(path).group_by("generation", maintain_order=True)
    made = runs.agg(pl.first("time"), pl.last("status"))
    made = made.filter(pl.col("status").is_in(["current", "kept"])).sort("time")
    show = progress or show_no_step
    rows: list[pl.DataFrame] = []
    before: pl.DataFrame | None = None
    for n, (time, name, status) in enumerate(made.select("time", "generation", "status").rows()):
        show(n, len(made), f"summing tables of {time:%Y-%m-%d %H:%M:%S}" if time else "summing")
        is_current = status == "current"
        try:
            sums = _sum(path if is_current else generation_path(path, name), by)
        except (ArchiveNotFoundError, TableError) as error:
            if is_current:
                raise
            warn_caller(f"the earlier tables {name} are left out: {error}", TableWarning)
            continue
        labels = {"time": pl.lit(time, made.schema["time"]), "generation": pl.lit(name, pl.String)}
        rows.append(
            _compare(sums, before, by).select(
                *(value.alias(label) for label, value in labels.items()), pl.all()
            )
        )
        before = sums
    grown = pl.concat(rows)
    for column in ("n_bytes", "more_bytes"):
        grown = narrow(grown, column, pl.Int64)
    return grown


def _sum(folder: Path, by: str) -> pl.DataFrame:
    try:
        sums = sum_group(*scan_pair(folder), by)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables in {folder} cannot be read: {error}") from error
    return sums.select(by, pl.col(_SUMS.keys())).cast(_SUMS)  # type: ignore[arg-type]


def _compare(sums: pl.DataFrame, before: pl.DataFrame | None, by: str) -> pl.DataFrame:
    """Add to the sums of each group how much more they are than before."""
    more = {name: f"more_{name.removeprefix('n_')}" for name in _SUMS}
    if before is None:
        compared = sums.with_columns(
            pl.lit(None, dtype).alias(more[name]) for name, dtype in _SUMS.items()
        )
        return compared.sort("n_bytes", by, descending=[True, False])
    earlier = before.rename(more)
    joined = sums.join(earlier, on=by, how="full", coalesce=True, nulls_equal=True)
    joined = joined.with_columns(pl.col(*more, *more.values()).fill_null(0))
    compared = joined.with_columns((pl.col(n) - pl.col(m)).alias(m) for n, m in more.items())
    return compared.sort("more_bytes", "n_bytes", by, descending=[True, True, False])
