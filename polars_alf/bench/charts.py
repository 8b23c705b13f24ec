"""The charts of a report: as SVG that takes the colour of the text around it, and as PNG."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from polars_alf.bench.figures import KEYS, expr_rate
from polars_alf.bench.models import apply_law
from polars_alf.bench.operations import STREAMING, Operation
from polars_alf.bench.results import StorageReport
from polars_alf.bench.words import describe_count
from polars_alf.display import PALETTE

_PIXELS_PER_INCH = 110

_COLUMNS = 3

_WIDTH, _HEIGHT = 250, 150

_LAW_POINTS = 40

_PERCENTILES = {"p50_ns": "50", "p90_ns": "90", "p99_ns": "99", "p99.9_ns": "99.9", "max_ns": "max"}

_TIME_TICKS = [1, 60, 3600, 86_400, 8_640_000]

_TIME_LABEL = (
    "datum.value < 60 ? format(datum.value, '.2~f') + ' s' : "
    "datum.value < 3600 ? format(datum.value / 60, '.1~f') + ' min' : "
    "datum.value < 172800 ? format(datum.value / 3600, '.1~f') + ' h' : "
    "format(datum.value / 86400, '.0f') + ' d'"
)

_NUMBER = "format(datum.value, '.3~s')"

_POWERS = [10.0**power for power in range(-3, 6)]

_TEXT = "currentColor"

_STALL = "#d4504c"

_IS_STREAMING = pl.col("operation").is_in([*STREAMING])


@dataclass(frozen=True, slots=True)
class Picture:
    """Charts of one kind by what each is of, such as an operation."""

    title: str
    charts: dict[str, Any]

    def draw_svgs(self) -> Iterator[str]:
        """Yield each chart as SVG with its title."""
        import vl_convert

        for name, chart in self.charts.items():
            spec = chart.properties(title=name).to_dict()
            spec["config"] = _style(_TEXT, background=None)
            svg: str = vl_convert.vegalite_to_svg(spec)
            text = html.escape(f"{self.title}: {name}")
            yield svg.replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)

    def draw_png(self) -> bytes:
        """Return all charts as one PNG."""
        titled = [chart.properties(title=name) for name, chart in self.charts.items()]
        whole = alt.concat(*titled, columns=_COLUMNS).properties(title=self.title)
        content = io.BytesIO()
        whole.configure(**_style("black", background="white")).save(
            content, format="png", ppi=_PIXELS_PER_INCH
        )
        return content.getvalue()


def _style(color: str, background: str | None) -> dict[str, Any]:
    texts = {f"{what}Color": color for what in ("label", "title")}
    lines = {f"{what}Color": color for what in ("domain", "tick", "grid")}
    return {
        # One text tells of the whole: thousands of marks would only be noise.
        "aria": False,
        "background": background,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "range": {"category": [*PALETTE]},
        "title": {"color": color, "anchor": "start", "fontSize": 12},
        "axis": {**texts, **lines, "gridOpacity": 0.15, "labelFontSize": 11, "titleFontSize": 11},
        "legend": {
            **texts,
            "orient": "bottom",
            "columns": 2,
            "columnPadding": 30,
            "labelLimit": 220,
        },
    }


def draw_charts(reports: list[StorageReport]) -> dict[str, Picture]:
    """Return pictures by their names in files; nothing is drawn of what was not measured."""
    figures = _stack(reports, [report.figures for report in reports])
    models = _stack(reports, [_trace_models(report) for report in reports])
    is_streaming = figures.select(_IS_STREAMING).to_series()
    charts: dict[str, Picture] = {}
    if not is_streaming.all():
        charts["throughput"] = _draw_throughput(figures, models, is_streaming=False)
    if is_streaming.any():
        charts["streaming"] = _draw_throughput(figures, models, is_streaming=True)
    if figures.filter(~is_streaming)["p50_ns"].count():
        charts["latency"] = _draw_latency(figures, is_single=len(reports) == 1)
    if len(reports) == 1 and len(reports[0].rates):
        charts["pace"] = _draw_pace(reports[0])
    if any(report.predictions for report in reports):
        charts["predictions"] = _draw_predictions(reports)
    return charts


def _stack(reports: list[StorageReport], frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the frames of reports as one, with a column ``series`` to tell them apart."""
    labels = [pl.format("{}, {}", pl.lit(report.label), "cache") for report in reports]
    if len(reports) == 1:
        labels = [pl.col("cache")]
    named = [frame.with_columns(series=label) for frame, label in zip(frames, labels, strict=True)]
    return pl.concat(named, how="diagonal_relaxed")


def _trace_models(report: StorageReport) -> pl.DataFrame:
    """Return points of the lines of the fitted laws."""
    most = float(max(report.settings["threads"]))
    levels = [most ** (i / _LAW_POINTS) for i in range(_LAW_POINTS + 1)]
    rows = [
        (model["operation"], model["cache"], level, apply_law(model, level))
        for model in report.models
        for level in levels
    ]
    texts = dict.fromkeys(("operation", "cache"), pl.String)
    numbers = dict.fromkeys(("concurrency", "law"), pl.Float64)
    return pl.DataFrame(rows, schema={**texts, **numbers}, orient="row")


def _draw_throughput(figures: pl.DataFrame, models: pl.DataFrame, *, is_streaming: bool) -> Picture:
    unit = 1e6 if is_streaming else 1.0
    rate = pl.col("byte_rate") if is_streaming else expr_rate()
    # The spread is known of `rate`; it is the same share of the others.
    share = rate / pl.col("rate") / unit
    points = figures.filter(is_streaming == _IS_STREAMING).select(
        "series", "operation", "concurrency",
        value=rate / unit, least=pl.col("least_rate") * share, most=pl.col("most_rate") * share,
        noise=pl.when("is_noise").then(pl.lit("noise")).otherwise(pl.lit("figure")),
    )  # fmt: skip
    lines = models.filter(is_streaming == _IS_STREAMING, pl.col("law").is_not_null()).select(
        "series", "operation", "concurrency", law=pl.col("law") / unit
    )
    levels = sorted(set(points["concurrency"]))
    x = alt.X("concurrency:Q", title="calls at once").scale(type="log", base=2, padding=8)
    x = x.axis(values=levels, grid=False)
    y = alt.Y("least:Q", title=None).scale(zero=True)
    y = y.axis(labelExpr=_NUMBER)
    shape = alt.Shape("noise:N", legend=None)
    shape = shape.scale(domain=["figure", "noise"], range=["circle", "cross"])
    base = alt.Chart().encode(x=x, color=alt.Color("series:N", title=None))
    layers = (
        base.mark_line(opacity=0.6, strokeDash=[4, 3]).encode(y="law:Q"),
        base.mark_rule(opacity=0.5).encode(y=y, y2="most:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(y="value:Q", shape=shape),
    )
    data = pl.concat([points, lines], how="diagonal_relaxed")
    unit_name = "MB/s" if is_streaming else "operations/s (of list and index, files/s)"
    title = f"{unit_name}: medians, spread (crosses are noise), and the fitted law (dashed)"
    return _split(title, data, "operation", lambda part: alt.layer(*layers, data=part))


def _draw_latency(figures: pl.DataFrame, *, is_single: bool) -> Picture:
    chosen = figures.filter(pl.col("p50_ns").is_not_null(), ~_IS_STREAMING)
    color = alt.Color("series:N", title=None)
    dash: dict[str, Any] = {}
    concurrencies = "the fewest calls at once"
    if is_single:
        color = alt.Color("concurrency:O", title="calls at once").scale(scheme="viridis")
        if chosen["cache"].n_unique() > 1:
            dash = {"strokeDash": alt.StrokeDash("cache:N", title=None)}
        concurrencies = "each number of calls at once"
    else:
        chosen = chosen.filter(pl.col("concurrency") == pl.col("concurrency").min())
    columns = [name for name in _PERCENTILES if name in chosen.columns]
    data = (
        chosen.unpivot(columns, index=[*KEYS, "series"], variable_name="at", value_name="latency")
        .drop_nulls("latency")
        .with_columns(pl.col("at").replace_strict(_PERCENTILES), pl.col("latency") / 1e6)
    )
    x = alt.X("at:N", title="percentile", sort=[*_PERCENTILES.values()])
    x = x.axis(labelAngle=0, grid=False)
    y = alt.Y("latency:Q", title=None).scale(type="log").axis(values=_POWERS, format="~g")
    title = f"Latency in ms by percentile, with {concurrencies}"
    return _split(
        title,
        data,
        "operation",
        lambda part: alt.Chart(part).mark_line(point=True).encode(x=x, y=y, color=color, **dash),
    )


def _draw_pace(report: StorageReport) -> Picture:
    """Draw rates over time, of each operation with the calls at once that stalled for longest."""
    chosen = (
        report.figures.filter(pl.col("stall_seconds").is_not_null())
        .sort("stall_seconds", "concurrency", descending=True)
        .group_by("operation", "cache")
        .first()
        .select(*KEYS)
    )
    stalls = report.measurements.select(*KEYS, "repeat", is_stalled=pl.col("n_stalls") > 0)
    data = (
        report.rates.join(chosen, on=KEYS)
        .join(stalls, on=[*KEYS, "repeat"])
        .with_columns(
            # Stalls are longer than any interval that calls of this speed leave empty.
            stall=pl.when("is_stalled", pl.col("rate") == 0).then(pl.lit("stall")),
            round=pl.col("repeat") + 1,
        )
    )
    data = data.with_columns(
        pl.format("{}, {} at once, {}", "operation", "concurrency", "cache").alias("of")
    )
    x = alt.X("at_seconds:Q", title="seconds").axis(grid=False)
    y = alt.Y("rate:Q", title=None).scale(zero=True).axis(labelExpr=_NUMBER)
    base = alt.Chart().encode(x=x)
    layers = (
        base.mark_line(strokeWidth=1.2).encode(y=y, color=alt.Color("round:N", title="round")),
        base.mark_tick(thickness=4, color=_STALL, orient="vertical")
        .encode(y=y)
        .transform_filter("datum.stall != null"),
    )
    title = "Operations/s over time, with stalls in red"
    return _split(title, data, "of", lambda part: alt.layer(*layers, data=part))


def _draw_predictions(reports: list[StorageReport]) -> Picture:
    schema = {"task": pl.String, "cache": pl.String, "n_files": pl.Int64}
    schema |= dict.fromkeys(("seconds", "least_seconds", "most_seconds"), pl.Float64)
    frames = [pl.DataFrame(report.predictions, schema=schema) for report in reports]
    data = _stack(reports, frames).with_columns(
        files=pl.col("n_files").map_elements(describe_count, pl.String)
    )
    x = alt.X("seconds:Q", title=None).scale(type="log")
    x = x.axis(labelExpr=_TIME_LABEL, values=_TIME_TICKS)
    least = alt.X("least_seconds:Q", title=None).scale(type="log")
    y = alt.Y("files:N", title=None, sort=alt.SortField("n_files"))
    offset = alt.YOffset("series:N")
    base = alt.Chart().encode(y=y, yOffset=offset, color=alt.Color("series:N", title=None))
    layers = (
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=least, x2="most_seconds:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x),
    )
    title = "Predicted times by number of files, with their uncertainty"
    return _split(title, data, "task", lambda part: alt.layer(*layers, data=part))


def _split(
    title: str,
    data: pl.DataFrame,
    by: str,
    draw: Callable[[alt.InlineData], Any],
) -> Picture:
    """Return a picture with a chart for each value of a column, in the order of operations."""
    order = {str(operation): i for i, operation in enumerate(Operation)}
    parts = data.partition_by(by, as_dict=True, maintain_order=True)
    names = sorted(
        (str(name) for (name,) in parts), key=lambda name: order.get(name.split(",")[0], 0)
    )
    size = {"width": _WIDTH, "height": _HEIGHT}
    return Picture(
        title, {name: draw(_to_data(parts[(name,)])).properties(**size) for name in names}
    )


def _to_data(frame: pl.DataFrame) -> alt.InlineData:
    """Return rows as plain values: each encoding names its type."""
    return alt.InlineData(values=frame.to_dicts())
