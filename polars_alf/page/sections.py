"""The sections of a page: texts, charts and tables, from the figures of an archive."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeAlias

import polars as pl
from rich.filesize import decimal

from polars_alf.alf.paths import printable, visible
from polars_alf.display import count, describe_time
from polars_alf.page import charts
from polars_alf.page.charts import Chart, Extent
from polars_alf.page.figures import MOST_GAPS, Figures

MOST_ROWS = 300
"""Rows of a table of groups, the largest."""

_MOST_CHARACTERS = 160

_GROUPS = {
    "lab": "lab",
    "subject": "subject",
    "collection": "collection",
    "extension": "extension",
    "year": "year",
}

_UNITS = {"n_bytes": "size", "file_size": "size", "previous_size": "size before"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, the number that it sorts by, and its share of the largest."""

    text: str
    value: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table to sort and filter.

    Parameters
    ----------
    title
        Heading.
    columns
        Name of each column, and whether it has numbers.
    rows
        Cells, a row each.
    note
        What is not in it.
    """

    title: str
    columns: list[tuple[str, bool]]
    rows: list[list[Cell]]
    note: str = ""
    is_wide: bool = False


Item: TypeAlias = str | Chart | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page about one archive.

    Parameters
    ----------
    key
        Name in the address of the page.
    title
        Heading.
    items
        What it has, in order; a str is a paragraph.
    """

    key: str
    title: str
    items: list[Item] = field(default_factory=list)


def list_sections(figures: Figures, extent: Extent | None) -> list[Section]:
    """Return the sections about an archive, the same ones in the same order for each."""
    return [
        Section("growth", "Growth", [*_describe_growth(figures, extent)]),
        Section("recordings", "Recordings", [*_describe_recordings(figures, extent)]),
        Section("groups", "Where the bytes are", [*_describe_groups(figures)]),
        Section("sizes", "Sizes", [*_describe_sizes(figures)]),
        Section("qc", "Quality control", [*_describe_qc(figures)]),
        Section("issues", "Issues", [*_describe_issues(figures)]),
        Section("changes", "Changes since the last index", [*_describe_changes(figures)]),
        Section("run", "The index", [*_describe_run(figures)]),
    ]


def list_totals(figures: Figures) -> list[tuple[str, str]]:
    """Return names and values of the most important figures of an archive."""
    summary, run = figures.summary, figures.run
    span = figures.span
    written = figures.history["time"].sort().to_list()[-1:]
    return [
        ("Sessions", f"{summary.n_sessions:,}"),
        ("Datasets", f"{summary.n_datasets:,}"),
        ("Size", decimal(summary.n_bytes)),
        ("Labs", f"{_count(summary.groups['lab'])}"),
        ("Subjects", f"{_count(summary.groups['subject'])}"),
        ("Recorded", f"{span[0]:%b %Y} to {span[1]:%b %Y}" if span else "never"),
        ("Not on disk", f"{summary.n_absent:,} datasets"),
        ("Issues", "unknown" if run is None else f"{sum(run['report']['issues'].values()):,}"),
        ("Written (UTC)", f"{written[0]:%Y-%m-%d %H:%M}" if written else "unknown"),
    ]


def _count(frame: pl.DataFrame) -> int:
    """Return the number of named groups; no lab is none."""
    return int(
        frame.select((pl.first().is_not_null() & (pl.first().cast(pl.String) != "")).sum()).item()
    )


def _describe_growth(figures: Figures, extent: Extent | None) -> Iterable[Item]:
    if extent is None or figures.months.is_empty():
        yield "There is no session."
        return
    yield charts.draw_months(figures, extent)
    yield from _keep(charts.draw_growth(figures, extent), charts.draw_generations(figures))
    history = figures.history
    columns = ["time", "run", "status", "n_sessions", "n_datasets", "n_bytes"]
    changes = ["added", "changed", "removed", "issues"]
    rows = history.select(*columns, *changes).reverse().head(MOST_ROWS)
    yield _tabulate("Runs that wrote the tables, the last first (UTC)", rows, is_wide=True)


def _describe_recordings(figures: Figures, extent: Extent | None) -> Iterable[Item]:
    if extent is not None:
        yield from _keep(charts.draw_calendar(figures, extent))
    n_subjects = _count(figures.summary.groups["subject"])
    note = (
        f"Of {n_subjects:,} subjects, those with most sessions." if n_subjects > MOST_GAPS else ""
    )
    gaps = figures.gaps.rename({"longest_gap": "longest gap (days)"})
    yield _tabulate("Sessions of subjects, and gaps between them", gaps, note=note, is_wide=True)


def _describe_groups(figures: Figures) -> Iterable[Item]:
    for name, title in _GROUPS.items():
        frame = figures.summary.groups[name]
        shown = frame.head(MOST_ROWS).with_columns(pl.col(name).cast(pl.String))
        empty = "none" if name != "lab" else "no lab"
        shown = shown.with_columns(pl.col(name).replace("", None).fill_null(empty))
        more = len(frame) - len(shown)
        note = f"The {len(shown):,} largest of {len(frame):,}." if more else ""
        yield _tabulate(f"By {title}", shown, note=note, bar="n_bytes")


def _describe_sizes(figures: Figures) -> Iterable[Item]:
    yield from charts.draw_sizes(figures)
    summary = figures.summary
    yield _tabulate("Largest datasets", summary.largest.select("file_size", "path"), is_wide=True)
    if not summary.n_with_hash:
        yield (
            "No dataset has a digest, so that duplicates are not known. To find them, index with "
            "--hash-files."
        )
    elif not summary.n_duplicates:
        yield f"No two of the {summary.n_with_hash:,} datasets with a digest have the same content."
    else:
        yield (
            f"{summary.n_duplicates:,} contents are there more than once; one dataset of each "
            f"would spare {decimal(summary.n_bytes_spare)}."
        )
        rows = summary.duplicates.select(
            pl.col("datasets"),
            pl.col("n_bytes_spare").alias("spare"),
            pl.col("path").alias("one of them"),
        )
        yield _tabulate("Contents that are there more than once", rows, is_wide=True)


def _describe_qc(figures: Figures) -> Iterable[Item]:
    chart = charts.draw_qc(figures)
    yield chart or "There is no dataset."


def _describe_issues(figures: Figures) -> Iterable[Item]:
    if figures.issues is None:
        yield "Not known: these tables were not made by an index of polars-alf."
        return
    if figures.issues.is_empty():
        yield "The last index found nothing that is wrong."
        return
    rows = []
    for kind, labs, n_labs, examples, n_issues in figures.issues.rows():
        names = [f"{row['lab']} ({row['issues']:,})" for row in labs]
        more = [f"{n_labs - len(labs):,} more labs"] if n_labs > len(labs) else []
        example = examples[0]
        rows.append(
            [
                Cell(kind),
                Cell(f"{n_issues:,}", n_issues),
                Cell(_show(", ".join([*names, *more]))),
                Cell(_show(example["path"])),
                Cell(_show(example["message"], most=400)),
            ]
        )
    columns = [("kind", False), ("issues", True), ("labs", False), ("for example", False)]
    yield Table("By kind", [*columns, ("what it is, and what helps", False)], rows, is_wide=True)
    listed = [
        {"kind": row["kind"], "path": example["path"], "what it is": example["message"]}
        for row in figures.issues.iter_rows(named=True)
        for example in row["examples"][1:]
    ]
    if listed:
        yield _tabulate("More examples", pl.DataFrame(listed), is_wide=True)
    yield f"All of them: polars-alf issues {shlex.quote(str(figures.folder))}"


def _describe_changes(figures: Figures) -> Iterable[Item]:
    if figures.changes is None or figures.changed is None:
        yield "Not known: no index before the last one made these tables."
        return
    if figures.changes.is_empty():
        yield "Nothing was added, changed or removed."
        return
    rows = figures.changes.select(
        "change", "lab", "datasets",
        pl.col("previous_bytes").alias("size before"), pl.col("n_bytes").alias("size now"),
    )  # fmt: skip
    yield _tabulate("By change and lab", rows, is_wide=True)
    yield _tabulate(
        "The largest changes",
        figures.changed.select("change", "file_size", "previous_size", "path"),
        is_wide=True,
    )
    yield f"All of them: polars-alf changes {shlex.quote(str(figures.folder))}"


def _describe_run(figures: Figures) -> Iterable[Item]:
    if figures.run is None:
        yield "Not known: these tables were not made by an index of polars-alf."
        return
    run, report = figures.run, figures.run["report"]
    n_files = report["n_datasets"] + report["n_other_files"]
    rate = n_files / report["seconds"] if report["seconds"] else 0
    yield (
        f"The last index of {_show(report['root'])} took {report['seconds']:.2f} s with "
        f"{count(report['n_jobs'], 'worker')}: "
        f"{rate:,.0f} files a second. It began {describe_time(run['begun'])}, with "
        f"polars-alf {run['version']}."
    )
    yield from _keep(charts.draw_seconds(figures))
    shards = pl.DataFrame(
        {
            name: [shard[key] for shard in run["slowest_shards"]]
            for name, key in (
                ("first folder", "first_folder"), ("folders", "n_folders"), ("seconds", "seconds"),
            )
        }
    )  # fmt: skip
    if len(shards):
        yield _tabulate("The parts of the archive that took longest", shards)


def _keep(*found: Chart | None) -> Iterable[Chart]:
    return (chart for chart in found if chart is not None)


def _tabulate(
    title: str, frame: pl.DataFrame, *, note: str = "", bar: str = "", is_wide: bool = False
) -> Table:
    """Return a frame as a table; `bar` is the column whose share of the largest is drawn."""
    is_number = [dtype.is_numeric() for dtype in frame.schema.values()]
    names = [_UNITS.get(name, name.removeprefix("n_")) for name in frame.columns]
    most = float(frame[bar].max() or 0) if bar and len(frame) else 0.0  # type: ignore[arg-type]
    rows = []
    for row in frame.iter_rows(named=True):
        cells = []
        for name, value in row.items():
            share = float(value) / most if name == bar and most else None
            cells.append(_make_cell(name, value, share))
        rows.append(cells)
    return Table(title, [*zip(names, is_number, strict=True)], rows, note, is_wide)


def _make_cell(name: str, value: Any, share: float | None) -> Cell:
    if value is None:
        return Cell("-")
    if isinstance(value, datetime):
        return Cell(f"{value:%Y-%m-%d %H:%M:%S}", value.timestamp())
    if isinstance(value, date):
        return Cell(value.isoformat(), value.toordinal())
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_size = name in _UNITS or name.startswith(("size", "spare"))
        text = decimal(int(value)) if is_size else f"{value:,}"
        return Cell(text, float(value), share)
    return Cell(_show(str(value)))


def _show(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Return a text of a table in one line, shortened in the middle."""
    line = visible(printable(text))
    if len(line) <= most:
        return line
    half = (most - 1) // 2
    return f"{line[:half]}…{line[-half:]}"


def label_folders(folders: Sequence[Any]) -> list[str]:
    """Return a short name of each folder that no other has: the end of its path."""
    parts = [folder.parts for folder in folders]
    n_parts = 1
    while n_parts < max(map(len, parts)) and len({each[-n_parts:] for each in parts}) < len(parts):
        n_parts += 1
    return [_show("/".join(each[-n_parts:]).replace("//", "/")) for each in parts]
