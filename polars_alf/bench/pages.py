"""The page ``report.html`` and its charts, of one storage system or of several side by side.

Needs the extra ``bench``.
"""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import polars as pl
from rich.filesize import decimal

from polars_alf.bench.figures import KEYS
from polars_alf.bench.models import apply_law
from polars_alf.bench.operations import DESCRIPTIONS, STREAMING, Operation
from polars_alf.bench.results import StorageReport, write_file

_PAGE = "report.html"

_PIXELS_PER_INCH = 110

_COLUMNS = 3

_WIDTH, _HEIGHT = 230, 150

_LAW_POINTS = 40

_PERCENTILES = {"p50_ns": "50", "p90_ns": "90", "p99_ns": "99", "p99.9_ns": "99.9", "max_ns": "max"}

_TIME_TICKS = [1, 10, 60, 600, 3600, 36_000, 86_400, 864_000, 8_640_000, 86_400_000]

_TIME_LABEL = (
    "datum.value < 60 ? format(datum.value, '.2~f') + ' s' : "
    "datum.value < 3600 ? format(datum.value / 60, '.1~f') + ' min' : "
    "datum.value < 172800 ? format(datum.value / 3600, '.1~f') + ' h' : "
    "format(datum.value / 86400, '.0f') + ' d'"
)

_IS_STREAMING = pl.col("operation").is_in([*STREAMING])


def write_pages(
    folder: Path, reports: list[StorageReport], ratios: pl.DataFrame | None = None
) -> list[Path]:
    """Write ``report.html`` and a PNG of each chart into a folder, and return their paths.

    `ratios` compares several reports (RATIOS). OutputError is raised where a file cannot be
    written.
    """
    charts = draw_charts(reports)
    pictures = {name: _to_svg(chart) for name, chart in charts.items()}
    contents = {_PAGE: _render(reports, pictures, ratios).encode()}
    contents |= {f"{name}.png": _to_png(chart) for name, chart in charts.items()}
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]


def describe_seconds(seconds: float) -> str:
    """Return a time in the unit that a person would choose."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        amount = seconds / size
        if amount < limit:
            return f"{amount:.2g} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{seconds / 86400:,.1f} days"


def describe_latency(nanoseconds: float | None) -> str:
    """Return a latency with three digits, or a dash for None."""
    if nanoseconds is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def describe_rate(figure: dict[str, Any]) -> str:
    """Return the throughput of a figure: in bytes where they count, else in operations."""
    if figure.get("byte_rate") is not None:
        return f"{decimal(int(figure['byte_rate']))}/s"
    return f"{figure['rate']:,.0f}/s"


def _render(
    reports: list[StorageReport], pictures: dict[str, str], ratios: pl.DataFrame | None
) -> str:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "seconds": describe_seconds,
        "latency": describe_latency,
        "size": lambda n_bytes: decimal(int(n_bytes)),
    }
    template = resources.files("polars_alf.bench").joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        reports=reports,
        ratios=ratios.to_dicts() if ratios is not None else [],
        pictures=pictures,
        describe_rate=describe_rate,
        descriptions={str(operation): DESCRIPTIONS[operation] for operation in Operation},
        streaming=[*map(str, STREAMING)],
    )


def _to_png(chart: Any) -> bytes:
    content = io.BytesIO()
    chart.save(content, format="png", ppi=_PIXELS_PER_INCH)
    return content.getvalue()


def _to_svg(chart: Any) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def draw_charts(reports: list[StorageReport]) -> dict[str, alt.TopLevelMixin]:
    """Return charts by their names in files; nothing is drawn of what was not measured."""
    figures = _stack(reports, [report.figures for report in reports])
    models = _stack(reports, [_trace_models(report) for report in reports])
    is_streaming = figures.select(_IS_STREAMING).to_series()
    charts = {}
    if not is_streaming.all():
        charts["throughput"] = _draw_throughput(figures, models, is_streaming=False)
    if is_streaming.any():
        charts["streaming"] = _draw_throughput(figures, models, is_streaming=True)
    if figures.filter(~is_streaming)["p50_ns"].count():
        charts["latency"] = _draw_latency(figures, is_single=len(reports) == 1)
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


def _draw_throughput(
    figures: pl.DataFrame, models: pl.DataFrame, *, is_streaming: bool
) -> alt.TopLevelMixin:
    unit = 1e6 if is_streaming else 1.0
    rate = pl.col("byte_rate") if is_streaming else pl.col("gross_rate")
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
    x = alt.X("concurrency:Q", title="calls at once").scale(type="log", base=2).axis(values=levels)
    y = alt.Y("least:Q", title="MB/s" if is_streaming else "operations/s").scale(zero=True)
    shape = alt.Shape("noise:N", title=None)
    shape = shape.scale(domain=["figure", "noise"], range=["circle", "cross"])
    base = alt.Chart().encode(x=x, color=alt.Color("series:N", title=None))
    chart = alt.layer(
        base.mark_line(opacity=0.6, strokeDash=[4, 3]).encode(y="law:Q"),
        base.mark_rule(opacity=0.5).encode(y=y, y2="most:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(y="value:Q", shape=shape),
        data=_to_data(pl.concat([points, lines], how="diagonal_relaxed")),
    ).properties(width=_WIDTH, height=_HEIGHT)
    return _facet(chart, "Throughput of this program: medians, spread, and the fitted law (dashed)")


def _draw_latency(figures: pl.DataFrame, *, is_single: bool) -> alt.TopLevelMixin:
    chosen = figures.filter(pl.col("p50_ns").is_not_null(), ~_IS_STREAMING)
    color = alt.Color("series:N", title=None)
    dash: dict[str, Any] = {}
    concurrencies = "the fewest calls at once"
    if is_single:
        color = alt.Color("concurrency:O", title="calls at once").scale(scheme="viridis")
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
    x = alt.X("at:N", title="percentile", sort=[*_PERCENTILES.values()]).axis(labelAngle=0)
    y = alt.Y("latency:Q", title="ms").scale(type="log")
    chart = alt.Chart(_to_data(data)).mark_line(point=True).encode(x=x, y=y, color=color, **dash)
    chart = chart.properties(width=_WIDTH, height=_HEIGHT)
    return _facet(chart, f"Latency by percentile, with {concurrencies}")


def _draw_predictions(reports: list[StorageReport]) -> alt.TopLevelMixin:
    schema = {"task": pl.String, "cache": pl.String, "n_files": pl.Int64}
    schema |= dict.fromkeys(("seconds", "least_seconds", "most_seconds"), pl.Float64)
    frames = [pl.DataFrame(report.predictions, schema=schema) for report in reports]
    data = _stack(reports, frames).with_columns(
        files=pl.format("{} million", pl.col("n_files") // 1_000_000)
    )
    x = alt.X("seconds:Q", title="time").scale(type="log")
    x = x.axis(labelExpr=_TIME_LABEL, values=_TIME_TICKS)
    least = alt.X("least_seconds:Q", title="time").scale(type="log")
    y = alt.Y("files:N", title="files", sort=alt.SortField("n_files"))
    offset = alt.YOffset("series:N")
    base = alt.Chart().encode(y=y, yOffset=offset, color=alt.Color("series:N", title=None))
    chart = alt.layer(
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=least, x2="most_seconds:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x),
        data=_to_data(data),
    ).properties(width=1.5 * _WIDTH, height=_HEIGHT)
    return chart.facet(facet=alt.Facet("task:N", title=None), columns=2).properties(
        title="Predicted times, with their uncertainty"
    )


def _facet(chart: Any, title: str) -> alt.TopLevelMixin:
    facet = alt.Facet("operation:N", title=None, sort=[*map(str, Operation)])
    faceted = chart.facet(facet=facet, columns=_COLUMNS).resolve_scale(y="independent")
    titled: alt.TopLevelMixin = faceted.properties(title=title)
    return titled


def _to_data(frame: pl.DataFrame) -> alt.InlineData:
    """Return rows as plain values: each encoding names its type."""
    return alt.InlineData(values=frame.to_dicts())
