"""A report as a page of HTML, with its charts beside it. Needs the extra ``bench``."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from rich.filesize import decimal

from polars_alf.bench import charts
from polars_alf.bench.operations import DESCRIPTIONS, Operation
from polars_alf.bench.results import StorageReport, write_file

PAGE = "report.html"

_PIXELS_PER_INCH = 110


def write_pages(
    folder: Path, reports: list[StorageReport], ratios: pl.DataFrame | None = None
) -> list[Path]:
    """Write ``report.html`` and a PNG for each chart.

    Parameters
    ----------
    folder
        Where to, an existing folder.
    reports
        One storage system, or several to compare.
    ratios
        Of several systems, see `polars_alf.bench.results`.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    drawn = charts.draw_charts([(report.label, report) for report in reports])
    pictures = {name: _to_svg(chart) for name, chart in drawn.items()}
    written = {PAGE: _render(reports, pictures, ratios).encode()}
    written |= {f"{name}.png": _to_png(chart) for name, chart in drawn.items()}
    for name, content in written.items():
        write_file(folder / name, content)
    return [folder / name for name in written]


def describe_seconds(seconds: float) -> str:
    """Return a time as a person says it."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        amount = seconds / size
        if amount < most:
            return f"{amount:.2g} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{seconds / 86400:,.1f} days"


def describe_latency(nanoseconds: float | None) -> str:
    """Return a latency with three digits, or a dash where it is not known."""
    if nanoseconds is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def describe_rate(figure: dict[str, Any]) -> str:
    """Return the throughput of a figure: bytes where they count, else operations."""
    if figure.get("byte_rate") is not None:
        return f"{decimal(int(figure['byte_rate']))}/s"
    return f"{figure['rate']:,.0f}/s"


def _to_png(chart: Any) -> bytes:
    content = io.BytesIO()
    chart.save(content, format="png", ppi=_PIXELS_PER_INCH)
    return content.getvalue()


def _to_svg(chart: Any) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def _render(
    reports: list[StorageReport], pictures: dict[str, str], ratios: pl.DataFrame | None
) -> str:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "seconds": describe_seconds,
        "latency": describe_latency,
        "size": lambda n_bytes: decimal(int(n_bytes)),
    }
    text = resources.files("polars_alf.bench").joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(text).render(
        reports=reports,
        ratios=ratios.to_dicts() if ratios is not None else [],
        pictures=pictures,
        describe_rate=describe_rate,
        descriptions={str(operation): DESCRIPTIONS[operation] for operation in Operation},
    )
