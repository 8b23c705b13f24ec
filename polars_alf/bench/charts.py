"""Charts of one storage system, or of several beside each other. Needs the extra ``bench``."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from polars_alf.bench.figures import KEYS
from polars_alf.bench.models import Scalability, predict_law
from polars_alf.bench.operations import STREAMING, Operation
from polars_alf.bench.results import StorageReport

_COLUMNS = 3

_WIDTH, _HEIGHT = 230, 150

_POINTS_OF_LAW = 40

_PERCENTILES = {"p50_ns": "50", "p90_ns": "90", "p99_ns": "99", "p99.9_ns": "99.9", "max_ns": "max"}

_DURATION = (
    "datum.value < 60 ? format(datum.value, '.2~f') + ' s' : "
    "datum.value < 3600 ? format(datum.value / 60, '.1~f') + ' min' : "
    "datum.value < 172800 ? format(datum.value / 3600, '.1~f') + ' h' : "
    "format(datum.value / 86400, '.0f') + ' d'"
)

_TIMES = [1, 10, 60, 600, 3600, 36_000, 86_400, 864_000, 8_640_000, 86_400_000]

_ORDER = [str(operation) for operation in Operation]

Series = tuple[str, StorageReport]


def draw_charts(series: list[Series]) -> dict[str, alt.TopLevelMixin]:
    """Return charts by the name of their file; there is none of what was not measured.

    Parameters
    ----------
    series
        Storage systems, each by its name in the charts.
    """
    several = len(series) > 1
    figures = pl.concat(
        [_name(report.figures, name, several=several) for name, report in series],
        how="diagonal_relaxed",
    )
    laws = pl.concat([_draw_laws(name, report, several=several) for name, report in series])
    is_streaming = figures["operation"].is_in([*STREAMING])
    charts = {}
    if not is_streaming.all():
        charts["throughput"] = _draw_throughput(figures, laws, is_streaming=False)
    if is_streaming.any():
        charts["streaming"] = _draw_throughput(figures, laws, is_streaming=True)
    if figures.filter(~is_streaming)["p50_ns"].count():
        charts["latency"] = _draw_latency(figures, several=several)
    if any(report.predictions for _, report in series):
        charts["predictions"] = _draw_predictions(series, several=several)
    return charts


def _name(frame: pl.DataFrame, name: str, *, several: bool) -> pl.DataFrame:
    label = pl.format("{}, {}", pl.lit(name), "cache") if several else pl.col("cache")
    return frame.with_columns(series=label)


def _draw_laws(name: str, report: StorageReport, *, several: bool) -> pl.DataFrame:
    """Return the fitted laws as points of lines."""
    most = float(max(report.settings["threads"]))
    levels = [most ** (i / _POINTS_OF_LAW) for i in range(_POINTS_OF_LAW + 1)]
    names = Scalability.__dataclass_fields__
    rows = [
        {
            "operation": found["operation"],
            "cache": found["cache"],
            "concurrency": level,
            "law": predict_law(Scalability(**{key: found[key] for key in names}), level),
        }
        for found in report.models
        for level in levels
    ]
    schema = {
        "operation": pl.String,
        "cache": pl.String,
        "concurrency": pl.Float64,
        "law": pl.Float64,
    }
    return _name(pl.DataFrame(rows, schema=schema), name, several=several)


def _draw_throughput(
    figures: pl.DataFrame, laws: pl.DataFrame, *, is_streaming: bool
) -> alt.TopLevelMixin:
    chosen = pl.col("operation").is_in([*STREAMING]) == is_streaming
    unit = 1e6 if is_streaming else 1.0
    rate = pl.col("byte_rate") if is_streaming else pl.col("gross_rate")
    # The spread is that of the rate; what the program takes is the same share of all of them.
    share = rate / pl.col("rate") / unit
    points = figures.filter(chosen).select(
        "series", "operation", "concurrency",
        value=rate / unit, least=pl.col("least_rate") * share, most=pl.col("most_rate") * share,
        noise=pl.when("is_noise").then(pl.lit("noise")).otherwise(pl.lit("figure")),
    )  # fmt: skip
    lines = laws.filter(chosen, pl.col("law").is_not_null()).select(
        "series", "operation", "concurrency", law=pl.col("law") / unit
    )
    data = pl.concat([points, lines], how="diagonal_relaxed")
    levels = sorted(set(points["concurrency"]))
    x = alt.X("concurrency:Q", title="calls at once").scale(type="log", base=2).axis(values=levels)
    color = alt.Color("series:N", title=None)
    title = "MB/s" if is_streaming else "operations/s"
    base = alt.Chart().encode(x=x, color=color)
    chart = alt.layer(
        base.mark_line(opacity=0.6, strokeDash=[4, 3]).encode(y="law:Q"),
        base.mark_rule(opacity=0.5).encode(
            y=alt.Y("least:Q", title=title).scale(zero=True), y2="most:Q"
        ),
        base.mark_point(filled=True, size=45, opacity=1).encode(
            y="value:Q",
            shape=alt.Shape("noise:N", title=None).scale(
                domain=["figure", "noise"], range=["circle", "cross"]
            ),
        ),
        data=_to_data(data),
    ).properties(width=_WIDTH, height=_HEIGHT)
    return _facet(chart, "Throughput of this program: medians, spread, and the fitted law (dashed)")


def _draw_latency(figures: pl.DataFrame, *, several: bool) -> alt.TopLevelMixin:
    chosen = figures.filter(
        pl.col("p50_ns").is_not_null(), ~pl.col("operation").is_in([*STREAMING])
    )
    if several:
        chosen = chosen.filter(pl.col("concurrency") == pl.col("concurrency").min())
    columns = [name for name in _PERCENTILES if name in chosen.columns]
    data = (
        chosen.unpivot(columns, index=[*KEYS, "series"], variable_name="at", value_name="latency")
        .drop_nulls("latency")
        .with_columns(pl.col("at").replace_strict(_PERCENTILES), pl.col("latency") / 1e6)
    )
    color = alt.Color("series:N", title=None)
    if not several:
        color = alt.Color("concurrency:O", title="calls at once").scale(scheme="viridis")
    chart = (
        alt.Chart(_to_data(data))
        .mark_line(point=True)
        .encode(
            x=alt.X("at:N", title="percentile", sort=[*_PERCENTILES.values()]).axis(labelAngle=0),
            y=alt.Y("latency:Q", title="ms").scale(type="log"),
            color=color,
            **({} if several else {"strokeDash": alt.StrokeDash("cache:N", title=None)}),
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )
    which = "the fewest calls at once" if several else "each number of calls at once"
    return _facet(chart, f"Latency by percentile, with {which}")


def _draw_predictions(series: list[Series], *, several: bool) -> alt.TopLevelMixin:
    columns = {"task": pl.String, "cache": pl.String, "n_files": pl.Int64}
    columns |= dict.fromkeys(("seconds", "least_seconds", "most_seconds"), pl.Float64)
    data = pl.concat(
        [
            _name(pl.DataFrame(report.predictions, schema=columns), name, several=several)
            for name, report in series
        ]
    ).with_columns(files=pl.format("{} million", pl.col("n_files") // 1_000_000))
    x = alt.X("seconds:Q", title="time").scale(type="log")
    x = x.axis(labelExpr=_DURATION, values=_TIMES)
    y = alt.Y("files:N", title="files", sort=alt.SortField("n_files"))
    base = alt.Chart().encode(y=y, color=alt.Color("series:N", title=None))
    offset = alt.YOffset("series:N")
    chart = alt.layer(
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(
            x=alt.X("least_seconds:Q", title="time").scale(type="log"),
            x2="most_seconds:Q",
            yOffset=offset,
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, yOffset=offset),
        data=_to_data(data),
    ).properties(width=1.5 * _WIDTH, height=_HEIGHT)
    return chart.facet(facet=alt.Facet("task:N", title=None), columns=2).properties(
        title="Predicted times, with their uncertainty"
    )


def _facet(chart: Any, title: str) -> alt.TopLevelMixin:
    facet = alt.Facet("operation:N", title=None, sort=_ORDER)
    faceted = chart.facet(facet=facet, columns=_COLUMNS).resolve_scale(y="independent")
    titled: alt.TopLevelMixin = faceted.properties(title=title)
    return titled


def _to_data(frame: pl.DataFrame) -> alt.InlineData:
    """Return rows for a chart as they are: every type is said where they are drawn."""
    return alt.InlineData(values=frame.to_dicts())
