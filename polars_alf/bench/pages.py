"""The page ``report.html`` and its charts, of one storage system or of several side by side.

Needs the extra ``bench``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
from rich.filesize import decimal

from polars_alf.bench.advice import explain_advice
from polars_alf.bench.charts import Picture, draw_charts
from polars_alf.bench.comparison import StorageComparison
from polars_alf.bench.operations import STREAMING, Operation
from polars_alf.bench.places import find_kind
from polars_alf.bench.results import StorageReport, write_file
from polars_alf.bench.verdict import tabulate_conclusions
from polars_alf.bench.words import describe_latency, describe_rate, describe_seconds

_PAGE = "report.html"


def write_pages(folder: Path, subject: StorageReport | StorageComparison) -> list[Path]:
    """Write ``report.html`` and a PNG of each picture into a folder, and return their paths.

    OutputError is raised where a file cannot be written.
    """
    comparison = None if isinstance(subject, StorageReport) else subject
    reports = [subject] if isinstance(subject, StorageReport) else subject.reports
    pictures = draw_charts(reports)
    contents = {_PAGE: _render(reports, pictures, comparison).encode()}
    contents |= {f"{name}.png": picture.draw_png() for name, picture in pictures.items()}
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]


def _describe_operation(report: StorageReport, operation: str) -> str:
    """Return one call of an operation in words."""
    return find_kind(report.path).descriptions[Operation(operation)]


def _render(
    reports: Sequence[StorageReport],
    pictures: dict[str, Picture],
    comparison: StorageComparison | None,
) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "seconds": describe_seconds,
        "latency": describe_latency,
        "size": lambda n_bytes: decimal(int(n_bytes)),
    }
    template = resources.files("polars_alf.bench").joinpath("report.html.jinja").read_text("utf-8")
    conclusions = []
    if comparison:
        conclusions = tabulate_conclusions(comparison.conclusions, comparison.labels).rows()
    return environment.from_string(template).render(
        reports=reports,
        comparison=comparison,
        conclusions=conclusions,
        pictures=pictures,
        explain_advice=explain_advice,
        describe_rate=describe_rate,
        describe=_describe_operation,
        streaming=[*map(str, STREAMING)],
    )
