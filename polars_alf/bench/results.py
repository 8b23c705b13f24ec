"""Reports of measured storage, on disk and compared with each other, and the advice they leave."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from polars_alf._version import __version__
from polars_alf.bench.figures import KEYS
from polars_alf.bench.machine import Mount, find_mount
from polars_alf.display import Shown
from polars_alf.errors import OptionError, OutputError, ResultError
from polars_alf.tables.files import replace_file

_RESULT_FILE, _MEASUREMENTS_FILE, _LATENCIES_FILE = (
    "result.json",
    "measurements.parquet",
    "latencies.parquet",
)

_PAGE_FILES = ("report.html", "throughput.png", "streaming.png", "latency.png", "predictions.png")

REPORT_FILES = (_RESULT_FILE, _MEASUREMENTS_FILE, _LATENCIES_FILE, *_PAGE_FILES)
"""Names of the files that a report may have."""

COMPARISON_FILES = ("comparison.json", "comparison.parquet", *_PAGE_FILES)
"""Names of the files that a comparison of reports may have."""


@dataclass(frozen=True, slots=True, repr=False)
class StorageReport(Shown):
    """Report of how a storage system serves an ALF archive.

    Parameters
    ----------
    label
        Name of the storage.
    path
        Folder that was measured.
    begun
        Local time of the start, in ISO 8601.
    seconds
        Duration of the run.
    settings
        Options of the run, and how caches were emptied.
    machine
        Host, system, kernel, processors, memory (bytes) and Python.
    mount
        Mount point, type, source and options of the file system.
    figures
        A row for each operation, cache and concurrency: ``rate`` (operations per second of the
        storage), ``gross_rate`` (with Python's own time), ``byte_rate``, their spread, and
        percentiles of latency in nanoseconds. Null where there is no such value. Where each
        process makes more than one call at a time, both rates are the same.
    models
        Growth of each operation's throughput with concurrency.
    advice
        ``jobs`` and ``threads`` for an index, and ``digest_jobs`` for one that reads all files for
        their MD5, as far as that was measured.
    predictions
        Likely, least and most seconds to index and to digest numbers of files.
    mean_bytes
        Mean size of a file in the predictions of digests.
    notes
        Warnings to read before trusting figures.
    measurements, latencies
        A row for each measurement, and for each bin of the histogram of its latencies; empty in a
        report that was read from its JSON.
    """

    label: str
    path: str
    begun: str
    seconds: float
    settings: dict[str, Any]
    machine: dict[str, Any]
    mount: dict[str, Any]
    figures: pl.DataFrame
    models: list[dict[str, Any]]
    advice: dict[str, int]
    predictions: list[dict[str, Any]]
    mean_bytes: float
    notes: list[str]
    measurements: pl.DataFrame
    latencies: pl.DataFrame

    def _list_figures(self) -> dict[str, object]:
        return {
            "storage": self.label,
            "folder": self.path,
            "measured": self.begun.replace("T", " "),
            "best": ", ".join(f"{name} {n}" for name, n in self.advice.items()) or "not measured",
            "figures": len(self.figures),
            "notes": len(self.notes),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all but the single measurements and latencies, in values that JSON has."""
        frames = ("figures", "measurements", "latencies")
        names = [field.name for field in fields(self) if field.name not in frames]
        values = {name: getattr(self, name) for name in names}
        return {"version": __version__, **values, "figures": self.figures.to_dicts()}

    def write(self, folder: Path) -> None:
        """Write ``result.json``, ``measurements.parquet`` and ``latencies.parquet``.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        write_json(folder / _RESULT_FILE, self.to_dict())
        write_frame(folder / _MEASUREMENTS_FILE, self.measurements)
        write_frame(folder / _LATENCIES_FILE, self.latencies)


def read_report(path: str | os.PathLike[str]) -> StorageReport:
    """Read a report from its folder or its ``result.json``, or raise ResultError."""
    file = Path(path)
    if file.is_dir():
        file = file / _RESULT_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        del values["version"]
        figures = pl.DataFrame(values.pop("figures"), infer_schema_length=None)
        empty = pl.DataFrame()
        return StorageReport(**values, figures=figures, measurements=empty, latencies=empty)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        cause = getattr(error, "strerror", None) or "it is not what polars-alf bench writes"
        raise ResultError(
            f"{file} cannot be read: {cause}; give the folder that polars-alf bench wrote"
        ) from error


def write_json(path: Path, values: object) -> None:
    """Write values as JSON, see `write_file`."""
    write_file(path, json.dumps(values, indent=1, allow_nan=False).encode())


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame as Parquet, see `write_file`."""
    content = io.BytesIO()
    frame.write_parquet(content)
    write_file(path, content.getvalue())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all and through no link in its place, or raise OutputError."""
    try:
        with replace_file(path) as file:
            file.write(content)
    except OSError as error:
        raise OutputError(
            error.errno, f"{path} cannot be written: {error.strerror}; give another --out"
        ) from error


RATIOS = pl.Schema(
    {
        "label": pl.String,
        "what": pl.String,  # an operation, or a task whose time is predicted
        "cache": pl.String,
        "concurrency": pl.Int64,  # null for a predicted time
        "ratio": pl.Float64,  # how many times faster than the first system
        "is_noise": pl.Boolean,  # whether either figure is
    }
)


def name_apart(reports: Sequence[StorageReport]) -> list[StorageReport]:
    """Return two or more reports, else raise OptionError, with a number in labels that repeat."""
    if len(reports) < 2:
        raise OptionError("one result is nothing to compare; give two or more")
    labels = [report.label for report in reports]
    return [
        report
        if labels.count(report.label) == 1
        else replace(report, label=f"{report.label} ({i})")
        for i, report in enumerate(reports, start=1)
    ]


def compare_reports(reports: Sequence[StorageReport]) -> pl.DataFrame:
    """Return how many times faster each system is than the first (RATIOS).

    What only one of two reports has is left out.
    """
    first, *others = reports
    frames = [RATIOS.to_frame()]
    for other in others:
        label = pl.lit(other.label).alias("label")
        frames.append(_compare_figures(first, other).with_columns(label))
        frames.append(_compare_predictions(first, other).with_columns(label))
    return pl.concat([frame.select(RATIOS.names()).cast(RATIOS) for frame in frames])


def _compare_figures(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    columns = [*KEYS, "rate", "is_noise"]
    joined = other.figures.select(columns).join(
        first.figures.select(columns), on=KEYS, suffix="_first", maintain_order="left"
    )
    # Pieces of files are equally large in both, so bytes have the ratio of pieces.
    return joined.select(
        "cache", "concurrency",
        what=pl.col("operation"),
        ratio=pl.col("rate") / pl.col("rate_first"),
        is_noise=pl.col("is_noise") | pl.col("is_noise_first"),
    )  # fmt: skip


def _compare_predictions(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    schema = {"task": pl.String, "cache": pl.String, "n_files": pl.Int64, "seconds": pl.Float64}
    frame, frame_first = (
        pl.DataFrame([{name: row[name] for name in schema} for row in report.predictions], schema)
        for report in (other, first)
    )
    joined = frame.join(
        frame_first, on=["task", "cache", "n_files"], suffix="_first", maintain_order="left"
    )
    return joined.select(
        "cache",
        what=pl.format("{} {} million files", "task", pl.col("n_files") // 1_000_000),
        concurrency=pl.lit(None, pl.Int64),
        ratio=pl.col("seconds_first") / pl.col("seconds"),
        is_noise=pl.lit(value=False),
    )


def save_advice(report: StorageReport) -> None:
    """Save the advice of a report for later indexes on the same mount, where there is a home."""
    values = {"advice": report.advice, "begun": report.begun, "mount": report.mount}
    try:
        path = _advice_path(Mount(**report.mount))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)
    except (OSError, RuntimeError):
        return  # the report has the advice all the same


def find_advice(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the saved ``advice`` for the mount of a path and when it was ``begun``, or None."""
    try:
        mount = find_mount(Path(path).resolve())
        values: dict[str, Any] = json.loads(_advice_path(mount).read_text(encoding="utf-8"))
        advice = values["advice"]
        is_whole = all(isinstance(advice[name], int) for name in ("jobs", "threads"))
    except (OSError, RuntimeError, ValueError, TypeError, LookupError):
        return None
    return values if is_whole else None


def _advice_path(mount: Mount) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    # Options may change from one mount to the next: they are no part of its identity.
    identity = "\0".join((mount.point, mount.file_system, mount.source))
    name = xxhash.xxh3_64_hexdigest(identity.encode("utf-8", "surrogateescape"))
    return Path(state, "polars_alf", "bench", f"{name}.json")
