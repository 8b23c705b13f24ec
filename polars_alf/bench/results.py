"""Reports of measured storage, and their files."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf._version import __version__
from polars_alf.display import Shown
from polars_alf.errors import OutputError, ResultError
from polars_alf.tables.files import replace_file

_FORMAT = 3
"""Format of results. The first had none; its rates and latencies were without Python's own time.
The second did not count the files that were listed."""

_RESULT_FILE, _MEASUREMENTS_FILE, _LATENCIES_FILE, _RATES_FILE = (
    "result.json",
    "measurements.parquet",
    "latencies.parquet",
    "rates.parquet",
)

_PAGE_FILES = (
    *("report.html", "throughput.png", "streaming.png", "latency.png", "predictions.png"),
    "pace.png",
)

REPORT_FILES = (_RESULT_FILE, _MEASUREMENTS_FILE, _LATENCIES_FILE, _RATES_FILE, *_PAGE_FILES)
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
        Folder, or address in a bucket, that was measured.
    begun
        Local time of the start, in ISO 8601.
    seconds
        Duration of the run.
    settings
        Options of the run, and how caches were emptied.
    machine
        Host, system, kernel, processors, memory (bytes) and Python.
    mount
        Mount point, type, source and options of the file system; or the address of the bucket, its
        kind, and its service.
    figures
        A row for each operation, cache and concurrency: ``rate`` (operations per second),
        ``byte_rate``, the mean ``amount`` of bytes or files of an operation, the spread of rates,
        percentiles of latency in nanoseconds, and stalls: times in which no call was done. Null
        where there is no such value.
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
    measurements, latencies, rates
        A row for each measurement, for each bin of the histogram of its latencies, and for each
        interval of its time; empty in a report that was read from its JSON.
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
    rates: pl.DataFrame

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
        frames = ("figures", "measurements", "latencies", "rates")
        names = [field.name for field in fields(self) if field.name not in frames]
        values = {name: getattr(self, name) for name in names}
        about = {"version": __version__, "format": _FORMAT}
        return {**about, **values, "figures": self.figures.to_dicts()}

    def write(self, folder: Path) -> None:
        """Write ``result.json``, and Parquet files of measurements, latencies and rates.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        write_json(folder / _RESULT_FILE, self.to_dict())
        write_frame(folder / _MEASUREMENTS_FILE, self.measurements)
        write_frame(folder / _LATENCIES_FILE, self.latencies)
        write_frame(folder / _RATES_FILE, self.rates)


def read_report(path: str | os.PathLike[str]) -> StorageReport:
    """Read a report of this or an earlier version from its folder or its ``result.json``.

    ResultError is raised where it is none, or of a later version.
    """
    file = Path(path)
    if file.is_dir():
        file = file / _RESULT_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version, form = values.pop("version"), values.pop("format", 1)
        if form <= _FORMAT:
            figures = pl.DataFrame(values.pop("figures"), infer_schema_length=None)
            if form == 1:
                figures = _upgrade_figures(figures)
            if form < 3:
                figures = figures.with_columns(amount=pl.col("byte_rate") / pl.col("rate"))
                bases = {"index": "index", "digest": "md5"}
                values["predictions"] = [
                    row | {"basis": bases[row["task"]]} for row in values["predictions"]
                ]
            empty = pl.DataFrame()
            return StorageReport(
                **values, figures=figures, measurements=empty, latencies=empty, rates=empty
            )
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        cause = getattr(error, "strerror", None) or "it is not what polars-alf bench writes"
        raise ResultError(
            f"{file} cannot be read: {cause}; give the folder that polars-alf bench wrote"
        ) from error
    raise ResultError(
        f"{file} is of polars-alf {version}, and this is {__version__}, which is older; update it"
    )


def _upgrade_figures(figures: pl.DataFrame) -> pl.DataFrame:
    """Return figures of the first format with what Python itself took for a call."""
    share = pl.col("gross_rate") / pl.col("rate")
    overhead = pl.col("overhead_ns").fill_null(0)
    return figures.with_columns(
        pl.col("least_rate", "most_rate") * share,
        pl.col("^.+_ns$").exclude("overhead_ns") + overhead,
        rate=pl.col("gross_rate"),
        workers=pl.lit(None, pl.Int64),
        n_stalls=pl.lit(None, pl.Int64),
        stall_seconds=pl.lit(None, pl.Float64),
    ).drop("gross_rate", "overhead_ns")


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
