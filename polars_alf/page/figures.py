"""The figures that a page shows of an archive: aggregates of bounded size, never rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.errors import ArchiveNotFoundError, TableError
from polars_alf.index.report import read_run
from polars_alf.query.scan import scan_pair
from polars_alf.query.summary import TableSummary, summarize_tables
from polars_alf.tables.files import scan_changes, scan_issues
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.undo import read_history

MOST_LISTED = 25
"""Rows of the lists of single datasets."""

MOST_LABS = 8
"""Labs with a colour of their own in a chart; the others are one."""

MOST_SUBJECTS = 40
"""Subjects in the calendar."""

MOST_GAPS = 300
"""Subjects in the table of gaps."""

OTHERS = "others"
"""Name of the labs that have no colour of their own."""

NO_LAB = "no lab"
"""Name in charts of sessions that lie in no lab's folder."""

_EXAMPLES = 3

_ATTEMPTS = 3

_MONTH = pl.col("date").dt.truncate("1mo")

_LAB_NAME = pl.when(pl.col("lab").fill_null("") == "").then(pl.lit(NO_LAB)).otherwise("lab")

_LAB_FOLDER = r"(?:^|/)([^/]+)/Subjects(?:/|$)"

# Of the rows that a filter leaves, as the tables may have days that no calendar has.
_HAS_DATE = pl.col("date").is_not_null()


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures that a page shows of the tables of one folder.

    Parameters
    ----------
    label
        Name of the archive on the page.
    folder
        Folder of the tables.
    root
        The archive that was indexed, None where other programs made the tables.
    summary
        Totals, groups, QC, the largest datasets and the most wasteful duplicates.
    months
        ``month`` (its first day), ``lab`` and ``sessions``, in order; labs beyond `MOST_LABS` are
        `OTHERS`.
    growth
        ``month``, and ``n_bytes`` and ``datasets`` of all sessions up to its end.
    calendar
        ``subject`` (``lab/subject``), ``month`` and ``sessions`` of the `MOST_SUBJECTS` subjects
        with most sessions.
    gaps
        ``subject`` (``lab/subject``), ``sessions``, ``first``, ``last`` and ``longest_gap`` (days
        between two recordings) of the `MOST_GAPS` subjects with most sessions.
    sizes
        ``power`` (10^power bytes or more, null for none), ``datasets`` and ``n_bytes``, in order.
    history
        `polars_alf.read_history`.
    issues
        ``kind``, ``issues``, ``labs`` (name and number) and ``examples`` (path and message), the
        most frequent first; None where no index is known.
    changes
        ``change``, ``lab``, ``datasets``, ``n_bytes`` and ``previous_bytes``; None where no index
        before the last is known.
    changed
        ``change``, ``path``, ``file_size`` and ``previous_size`` of the largest changes.
    run
        Report of the index that made the tables, None where that is not known.
    """

    label: str
    folder: Path
    root: str | None
    summary: TableSummary
    months: pl.DataFrame
    growth: pl.DataFrame
    calendar: pl.DataFrame
    gaps: pl.DataFrame
    sizes: pl.DataFrame
    history: pl.DataFrame
    issues: pl.DataFrame | None
    changes: pl.DataFrame | None
    changed: pl.DataFrame | None
    run: dict[str, Any] | None

    @property
    def span(self) -> tuple[date, date] | None:
        """The first and the last month with a session, None where there is none."""
        months = self.months["month"]
        return (months[0], months[-1]) if len(months) else None


def read_figures(folder: Path, label: str) -> Figures:
    """Read the figures of the tables of a folder, all of one generation of them.

    Raises
    ------
    TableError
        A table cannot be read, or the tables are replaced again and again.
    """
    for _ in range(_ATTEMPTS):
        before = fingerprint_tables(folder)
        figures = _read_figures(folder, label)
        if fingerprint_tables(folder) == before:
            return figures
    raise TableError(f"the tables in {folder} were replaced while they were read; try again")


def _read_figures(folder: Path, label: str) -> Figures:
    run = read_run(folder)
    root = run["report"]["root"] if run else None
    sessions, datasets = scan_pair(folder)
    summary = summarize_tables(folder, n_largest=MOST_LISTED, n_duplicates=MOST_LISTED)
    try:
        frames = {name: _collect(query) for name, query in _ask(sessions, datasets).items()}
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables in {folder} cannot be read: {error}") from error
    # Issues and changes are of the last index, and not of tables that others put in their place.
    changes = _scan(scan_changes, folder) if run else None
    issues = _scan(scan_issues, folder) if run else None
    return Figures(
        label=label,
        folder=folder,
        root=root,
        summary=summary,
        **frames,
        history=read_history(folder),
        issues=None if issues is None else _count_issues(issues, root or ""),
        changes=None if changes is None else _count_changes(changes, root or ""),
        changed=None if changes is None else _list_changes(changes),
        run=run,
    )


def _collect(query: pl.LazyFrame) -> pl.DataFrame:
    return query.collect(engine="streaming")


def _ask(sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Return the queries of the fields of `Figures` that are frames of the tables."""
    dated = sessions.filter(_HAS_DATE)
    by_lab = dated.group_by(lab=_LAB_NAME).agg(n=pl.len())
    most = by_lab.sort("n", "lab", descending=[True, False]).head(MOST_LABS)
    named = (
        dated.select(_LAB_NAME.alias("lab"), month=_MONTH)
        .join(most.with_columns(is_named=True), on="lab", how="left")
        .with_columns(lab=pl.when("is_named").then("lab").otherwise(pl.lit(OTHERS)))
    )
    by_session = datasets.group_by("eid").agg(
        datasets=pl.len().cast(pl.Int64), n_bytes=pl.col("file_size").cast(pl.Float64).sum()
    )
    growth = (
        dated.select("id", month=_MONTH)
        .join(by_session, left_on="id", right_on="eid", how="inner")
        .group_by("month")
        .agg(pl.col("n_bytes", "datasets").sum())
        .sort("month")
        .with_columns(pl.col("n_bytes", "datasets").cum_sum())
    )
    # Subjects of two labs may have one name.
    named_subject = pl.concat_str(
        pl.when(pl.col("lab") != "").then(pl.col("lab") + "/"), "subject", ignore_nulls=True
    ).alias("subject")
    gaps = (
        dated.group_by(named_subject)
        .agg(
            sessions=pl.len(),
            first=pl.col("date").min(),
            last=pl.col("date").max(),
            longest_gap=pl.col("date").unique().sort().diff().max().dt.total_days(),
        )
        .sort("sessions", "subject", descending=[True, False])
        .head(MOST_GAPS)
    )
    calendar = (
        dated.select(named_subject, month=_MONTH)
        .join(gaps.head(MOST_SUBJECTS), on="subject", how="semi")
        .group_by("subject", "month")
        .agg(sessions=pl.len())
        .sort("subject", "month")
    )
    size = pl.col("file_size")
    power = pl.when(size > 0).then(size.cast(pl.Float64).log10().floor().cast(pl.Int8))
    sizes = datasets.group_by(power=power).agg(
        datasets=pl.len(), n_bytes=size.cast(pl.Float64).sum()
    )
    return {
        "months": named.group_by("month", "lab").agg(sessions=pl.len()).sort("month", "lab"),
        "growth": growth,
        "calendar": calendar,
        "gaps": gaps,
        "sizes": sizes.sort("power", nulls_last=False),
    }


def _scan(scan: Any, folder: Path) -> pl.LazyFrame | None:
    try:
        found: pl.LazyFrame = scan(folder)
    except ArchiveNotFoundError:
        return None
    return found


def _expr_lab(root: str) -> pl.Expr:
    """Return the labs in whose folders paths below a root lie, or that they are."""
    whole = pl.concat_str(pl.lit(root.rstrip("/") + "/"), "path")
    return whole.str.extract(_LAB_FOLDER).fill_null(NO_LAB)


def _count_issues(issues: pl.LazyFrame, root: str) -> pl.DataFrame:
    lab = (
        pl.when(pl.col("kind") == "unusual_lab")
        .then(pl.col("path").str.extract(r"([^/]+)$").fill_null(NO_LAB))
        .otherwise(_expr_lab(root))
    )
    by_lab = _collect(issues.group_by("kind", lab=lab).agg(issues=pl.len()))
    examples = _collect(
        issues.group_by("kind").agg(examples=pl.struct("path", "message").head(_EXAMPLES))
    )
    labs = pl.struct("lab", "issues").head(MOST_LABS)
    return (
        by_lab.sort("issues", "lab", descending=[True, False])
        .group_by("kind", maintain_order=True)
        .agg(labs=labs, n_labs=pl.len(), total=pl.col("issues").sum())
        .join(examples, on="kind")
        .select("kind", "labs", "n_labs", "examples", issues="total")
        .sort("issues", "kind", descending=[True, False])
    )


def _count_changes(changes: pl.LazyFrame, root: str) -> pl.DataFrame:
    sizes = pl.col("file_size", "previous_size").cast(pl.Float64).sum()
    counted = changes.group_by("change", lab=_expr_lab(root)).agg(pl.len().alias("datasets"), sizes)
    named = counted.rename({"file_size": "n_bytes", "previous_size": "previous_bytes"})
    return _collect(named).sort("change", "datasets", descending=[False, True])


def _list_changes(changes: pl.LazyFrame) -> pl.DataFrame:
    size = pl.max_horizontal(pl.col("file_size", "previous_size").fill_null(0))
    found = changes.with_columns(most=size).top_k(MOST_LISTED, by="most")
    return _collect(found).sort("most", "path", descending=[True, False]).drop("most")
