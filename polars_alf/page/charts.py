"""The charts of a page, as SVG that takes the colour of the text around it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import altair as alt
import polars as pl

from polars_alf.display import PALETTE
from polars_alf.page.figures import OTHERS, Figures

_WIDTH, _HEIGHT = 290, 170

_ROW = 15
"""Height of a subject in the calendar."""

_MOST_PERIODS = 60

_PERIODS = (("1mo", "utcyearmonth", 1), ("1q", "utcyearquarter", 3), ("1y", "utcyear", 12))

_BYTES = "replace(format(datum.value, '.3~s'), /k$/, 'k') + 'B'"

_NUMBER = "format(datum.value, '.3~s')"

_TEXT = "currentColor"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with what it shows in words.

    Parameters
    ----------
    title
        Heading.
    svg
        The drawing, which a reader of screens is told of by `text`.
    text
        What it shows.
    is_wide
        Whether it needs more than a column.
    """

    title: str
    svg: str
    text: str
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Extent:
    """The months and the most sessions in one of them that charts of several archives share."""

    first: date
    last: date
    period: str
    unit: str
    most_sessions: int


def find_extent(archives: Sequence[Figures]) -> Extent | None:
    """Return what the charts of archives share, None where none has a session."""
    spans = [figures.span for figures in archives if figures.span]
    if not spans:
        return None
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    n_months = 1 + 12 * (last.year - first.year) + last.month - first.month
    period, unit, _ = next(
        (each for each in _PERIODS if n_months <= _MOST_PERIODS * each[2]), _PERIODS[-1]
    )
    sums = pl.concat([_sum_periods(figures.months, period, []) for figures in archives])
    most: int = sums["sessions"].sort()[-1]
    return Extent(first, last, period, unit, most)


def draw_months(figures: Figures, extent: Extent) -> Chart:
    """Draw sessions by month (or quarter, or year) and lab."""
    data = _sum_periods(figures.months, extent.period, ["lab"])
    totals = data.group_by("lab").agg(pl.col("sessions").sum())
    labs = totals.sort("sessions", "lab", descending=[True, False])["lab"].to_list()
    labs = [*(lab for lab in labs if lab != OTHERS), *(lab for lab in labs if lab == OTHERS)]
    color = alt.Color("lab:N", title=None, sort=labs).scale(domain=labs, range=[*PALETTE])
    y = alt.Y("sessions:Q", title="sessions").scale(domain=[0, extent.most_sessions], nice=True)
    chart = alt.Chart(_to_data(data)).mark_bar()
    chart = chart.encode(x=_month(extent), y=y.axis(tickMinStep=1), color=color)
    legend = {"columns": 3, "orient": "bottom", "symbolType": "square"}
    busiest = data.group_by("month").agg(pl.col("sessions").sum()).top_k(1, by="sessions").row(0)
    first, last = figures.months["month"][0], figures.months["month"][-1]
    text = (
        f"{data['sessions'].sum():,} sessions from {first:%B %Y} to {last:%B %Y}; most of lab "
        f"{labs[0]}; the busiest {_name(extent)} began in {busiest[0]:%B %Y}, with {busiest[1]:,}."
    )
    return Chart(f"Sessions by {_name(extent)} and lab", _to_svg(chart, text, legend), text)


def draw_growth(figures: Figures, extent: Extent) -> Chart | None:
    """Draw the bytes of all that was recorded up to a month."""
    if figures.growth.is_empty():
        return None
    data = figures.growth.with_columns(pl.col("month").dt.truncate(extent.period))
    data = data.group_by("month", maintain_order=True).last()
    y = alt.Y("n_bytes:Q", title="bytes").axis(labelExpr=_BYTES)
    chart = alt.Chart(_to_data(data)).mark_area(line=True, opacity=0.35)
    text = "The size of all sessions up to each date of recording."
    return Chart(
        "Size by date of recording", _to_svg(chart.encode(x=_month(extent), y=y), text), text
    )


def draw_generations(figures: Figures) -> Chart | None:
    """Draw the bytes in the tables after each run, where two runs or more tell."""
    data = figures.history.select("time", "n_bytes").drop_nulls()
    if len(data) < 2:
        return None
    y = alt.Y("n_bytes:Q", title="bytes").axis(labelExpr=_BYTES)
    chart = alt.Chart(_to_data(data)).mark_line(point=True, interpolate="step-after")
    first, last = data["n_bytes"][0], data["n_bytes"][-1]
    growth = last / max(first, 1)
    text = f"The size of all datasets after {len(data)} runs: now {growth:.2f} of the first."
    return Chart(
        "Size after each run", _to_svg(chart.encode(x=_time(data["time"]), y=y), text), text
    )


def draw_seconds(figures: Figures) -> Chart | None:
    """Draw how long each run took, where two runs or more tell."""
    data = figures.history.select("time", "seconds").drop_nulls()
    if len(data) < 2:
        return None
    y = alt.Y("seconds:Q", title="seconds").scale(zero=True)
    chart = alt.Chart(_to_data(data)).mark_line(point=True)
    text = f"How long each of {len(data)} runs took; the last one {data['seconds'][-1]:.1f} s."
    return Chart("Time of each run", _to_svg(chart.encode(x=_time(data["time"]), y=y), text), text)


def draw_calendar(figures: Figures, extent: Extent) -> Chart | None:
    """Draw in which months each subject was recorded; months without a session are empty."""
    if figures.calendar.is_empty():
        return None
    data = _sum_periods(figures.calendar, extent.period, ["subject"])
    subjects = figures.gaps["subject"].to_list()
    n_subjects = data["subject"].n_unique()
    y = alt.Y("subject:N", title=None, sort=subjects).axis(labelLimit=130, domain=False)
    opacity = alt.Opacity("sessions:Q", title="sessions").scale(range=[0.35, 1])
    chart = alt.Chart(_to_data(data)).mark_bar(height=_ROW - 3)
    chart = chart.encode(x=_month(extent), y=y, opacity=opacity)
    chart = chart.properties(height=_ROW * n_subjects, width=2 * _WIDTH)
    text = (
        f"Months with recordings of {n_subjects:,} subjects, those with most sessions first; a "
        "darker mark is more sessions. The table below has the gaps in days."
    )
    svg = _to_svg(chart, text, {"orient": "bottom"})
    return Chart("Recordings by subject", svg, text, is_wide=True)


def draw_sizes(figures: Figures) -> list[Chart]:
    """Draw the number and the bytes of datasets by their size."""
    if figures.sizes.is_empty():
        return []
    data = figures.sizes.with_columns(
        size=pl.col("power").map_elements(name_power, pl.String, skip_nulls=False)
    )
    x = alt.X("size:N", title="size, from", sort=data["size"].to_list()).axis(labelAngle=-45)
    charts = []
    for column, title, expression in (
        ("datasets", "Datasets by size", _NUMBER),
        ("n_bytes", "Bytes by size of dataset", _BYTES),
    ):
        y = alt.Y(f"{column}:Q", title="datasets" if column == "datasets" else "bytes")
        chart = alt.Chart(_to_data(data)).mark_bar().encode(x=x, y=y.axis(labelExpr=expression))
        most = data.top_k(1, by=column).row(0, named=True)
        share = most[column] / max(data[column].sum(), 1)
        text = f"Most, {share:.0%}, are in datasets of {most['size']} up to ten times that."
        charts.append(Chart(title, _to_svg(chart, text), text))
    return charts


def draw_qc(figures: Figures) -> Chart | None:
    """Draw the datasets by outcome of quality control."""
    data = figures.summary.qc.with_columns(pl.col("qc").cast(pl.String))
    if not data["datasets"].sum():
        return None
    x = alt.X("datasets:Q").axis(labelExpr=_NUMBER, tickCount=4)
    y = alt.Y("qc:N", title=None, sort=data["qc"].to_list())
    text = "; ".join(f"{qc}: {n:,}" for qc, n in data.select("qc", "datasets").rows() if n)
    chart = alt.Chart(_to_data(data)).mark_bar().encode(x=x, y=y).properties(height=110)
    return Chart("Datasets by quality control", _to_svg(chart, text), text)


def number_ids(svg: str, number: int) -> str:
    """Return a drawing with ids that no drawing of another number has."""
    return re.sub(r'(\sid="|url\(#)', rf"\g<1>c{number}-", svg)


def name_power(power: int | None) -> str:
    """Return 10^power bytes as a person would write it."""
    if power is None:
        return "0 B"
    unit = ("B", "kB", "MB", "GB", "TB", "PB", "EB")[power // 3]
    return f"{10 ** (power % 3)} {unit}"


def _name(extent: Extent) -> str:
    return {"1mo": "month", "1q": "quarter", "1y": "year"}[extent.period]


def _sum_periods(frame: pl.DataFrame, period: str, by: list[str]) -> pl.DataFrame:
    return (
        frame.with_columns(pl.col("month").dt.truncate(period))
        .group_by("month", *by, maintain_order=True)
        .agg(pl.col("sessions").sum())
    )


def _month(extent: Extent) -> alt.X:
    first, last = (_to_milliseconds(day) for day in (extent.first, extent.last))
    after = last + 1000 * 86_400 * 28
    scale = alt.Scale(type="utc", domain=[first, after])
    axis = alt.Axis(format="%Y" if extent.unit == "utcyear" else "%b %y", labelOverlap=True)
    return alt.X("month:T", title=None, timeUnit=extent.unit, scale=scale, axis=axis.copy())  # type: ignore[arg-type]


def _time(times: pl.Series) -> alt.X:
    is_short = times.max() - times.min() < timedelta(days=2)  # type: ignore[operator]
    axis = alt.Axis(format="%d %b %H:%M" if is_short else "%d %b %y", labelOverlap=True)
    return alt.X("time:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def _to_milliseconds(day: date) -> int:
    return 1000 * 86_400 * (day.toordinal() - 719_163)


def _to_data(frame: pl.DataFrame) -> alt.InlineData:
    """Return rows as plain values, times as texts in UTC: each encoding names its type."""
    columns = [
        pl.col(name).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, dtype in frame.schema.items()
        if dtype.is_temporal()
    ]
    return alt.InlineData(values=frame.with_columns(columns).to_dicts())


def _to_svg(chart: alt.Chart, text: str, legend: dict[str, Any] | None = None) -> str:
    """Return a chart as SVG with a text."""
    import vl_convert

    if chart.width is alt.Undefined:
        chart = chart.properties(width=_WIDTH)
    if chart.height is alt.Undefined:
        chart = chart.properties(height=_HEIGHT)
    spec = chart.to_dict()
    texts = {f"{what}Color": _TEXT for what in ("label", "title")}
    lines = {f"{what}Color": _TEXT for what in ("domain", "tick", "grid")}
    spec["config"] = {
        # One text tells of the whole: thousands of marks would only be noise.
        "aria": False,
        "background": None,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        # A reader's font may be wider than that with which labels were measured here.
        "padding": {"left": 24, "right": 16, "top": 5, "bottom": 5},
        "mark": {"color": PALETTE[0]},
        "axis": {**texts, **lines, "gridOpacity": 0.15, "labelFontSize": 11, "titleFontSize": 11},
        "axisX": {"grid": False, "labelSeparation": 14},
        "legend": {**texts, "labelFontSize": 11, "labelLimit": 110, **(legend or {})},
    }
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(text)}" ', 1)
