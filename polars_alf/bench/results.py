"""Compare storage systems: several reports in one, with ratios. Pure."""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from polars_alf._version import __version__
from polars_alf.bench.figures import KEYS
from polars_alf.bench.machine import Mount, find_mount
from polars_alf.errors import OptionError, OutputError, ResultError

RATIOS = pl.Schema(
    {
        "label": pl.String,
        "what": pl.String,  # an operation, or what a time is predicted for
        "cache": pl.String,
        "concurrency": pl.Int64,  # null for a predicted time
        "ratio": pl.Float64,  # how many times faster than the first system
        "is_noise": pl.Boolean,  # whether either figure is
    }
)


def name_apart(reports: Sequence[StorageReport]) -> list[StorageReport]:
    """Return reports of which no two have the same label.

    Raises
    ------
    OptionError
        There are fewer than two.
    """
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

    What was measured of only one of two is left out.
    """
    first, *others = reports
    frames = [RATIOS.to_frame()]
    for other in others:
        frames += [_compare_figures(first, other), _compare_predictions(first, other)]
    return pl.concat([frame.select(RATIOS.names()).cast(RATIOS) for frame in frames])


def _compare_figures(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    columns = [*KEYS, "rate", "byte_rate", "is_noise"]
    joined = other.figures.select(columns).join(
        first.figures.select(columns), on=KEYS, suffix="_first", maintain_order="left"
    )
    # A piece of a file is as large in both: bytes and pieces have the same ratio.
    return joined.select(
        "cache", "concurrency",
        label=pl.lit(other.label),
        what=pl.col("operation"),
        ratio=pl.col("rate") / pl.col("rate_first"),
        is_noise=pl.col("is_noise") | pl.col("is_noise_first"),
    )  # fmt: skip


def _compare_predictions(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    keys = ["task", "cache", "n_files"]
    columns = {"task": pl.String, "cache": pl.String, "n_files": pl.Int64, "seconds": pl.Float64}
    frames = [
        pl.DataFrame([{name: row[name] for name in columns} for row in report.predictions], columns)
        for report in (other, first)
    ]
    return (
        frames[0]
        .join(frames[1], on=keys, suffix="_first", maintain_order="left")
        .select(
            "cache",
            label=pl.lit(other.label),
            what=pl.format("{} {} million files", "task", pl.col("n_files") // 1_000_000),
            concurrency=pl.lit(None, pl.Int64),
            ratio=pl.col("seconds_first") / pl.col("seconds"),
            is_noise=pl.lit(value=False),
        )
    )


RESULT, MEASUREMENTS_FILE, LATENCIES_FILE = (
    "result.json",
    "measurements.parquet",
    "latencies.parquet",
)


@dataclass(frozen=True, slots=True)
class StorageReport:
    """How a storage system serves an ALF archive.

    Parameters
    ----------
    label
        What the user calls it.
    path
        Where it was measured.
    begun
        When, local time in ISO 8601.
    seconds
        How long that took.
    settings
        What was asked for, and how caches were emptied.
    machine, mount
        Where it ran and what it ran on, see `polars_alf.bench.machine`.
    figures
        A row for each operation, cache and concurrency: ``rate`` (operations per second of the
        storage), ``gross_rate`` (with the program's own time), ``byte_rate``, their spread, and
        percentiles of latency in nanoseconds. Null where there is no such value. Where each
        process makes more than one call at a time, both rates are the same.
    models
        How each operation's throughput grows with concurrency.
    advice
        ``jobs`` and ``threads`` for an index, and ``digest_jobs`` for one that reads all files for
        their MD5, as far as that was measured.
    predictions
        Seconds to index and to digest numbers of files, with the least and the most.
    mean_bytes
        Mean size of a file that digests were predicted for.
    notes
        What a reader should know before trusting figures.
    measurements, latencies
        MEASUREMENTS and LATENCIES of `polars_alf.bench.sweep`; empty where the report was read
        from its JSON.
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

    def to_dict(self) -> dict[str, Any]:
        """Return all but the single measurements, in values that JSON has."""
        frames = ("figures", "measurements", "latencies")
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in frames
        }
        return {"version": __version__, **values, "figures": self.figures.to_dicts()}

    def write(self, folder: Path) -> None:
        """Write ``result.json``, ``measurements.parquet`` and ``latencies.parquet``."""
        write_json(folder / RESULT, self.to_dict())
        write_frame(folder / MEASUREMENTS_FILE, self.measurements)
        write_frame(folder / LATENCIES_FILE, self.latencies)


def read_report(path: str | os.PathLike[str]) -> StorageReport:
    """Read a report from its folder, or from its ``result.json``.

    Raises
    ------
    ResultError
        There is none, or it is none of ours.
    """
    file = Path(path)
    if file.is_dir():
        file = file / RESULT
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        del values["version"]
        figures = pl.DataFrame(values.pop("figures"), infer_schema_length=None)
        nothing = pl.DataFrame()
        return StorageReport(**values, figures=figures, measurements=nothing, latencies=nothing)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        cause = getattr(error, "strerror", None) or "it is not what polars-alf bench writes"
        raise ResultError(
            f"{file} cannot be read: {cause}; give the folder that polars-alf bench wrote"
        ) from error


def write_json(path: Path, values: object) -> None:
    """Write JSON, as `write_file` does."""
    write_file(path, json.dumps(values, indent=1, allow_nan=False).encode())


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame to Parquet, as `write_file` does."""
    content = io.BytesIO()
    frame.write_parquet(content)
    write_file(path, content.getvalue())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and through no link that lies in its place.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise OutputError(
            error.errno, f"{path} cannot be written: {error.strerror}; give another --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def save_advice(report: StorageReport) -> None:
    """Keep the advice of a report for indexes on the same mount."""
    folder = _advice_folder()
    mount = Mount(**report.mount)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(
            _advice_path(mount),
            {"advice": report.advice, "begun": report.begun, "mount": asdict(mount)},
        )
    except OSError:
        return  # no home to write to: the advice is in the report all the same


def find_advice(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the ``advice`` on the mount that a path lies on, and when it was ``begun``.

    Returns
    -------
    dict or None
        None where its storage was never measured here.
    """
    try:
        mount = find_mount(Path(path).resolve())
        values: dict[str, Any] = json.loads(_advice_path(mount).read_text(encoding="utf-8"))
        advice = values["advice"]
        is_whole = all(isinstance(advice[name], int) for name in ("jobs", "threads"))
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return values if is_whole else None


def _advice_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state, "polars_alf", "bench")


def _advice_path(mount: Mount) -> Path:
    # Options may change from one mount to the next; what is mounted where is its identity.
    identity = "\0".join((mount.point, mount.file_system, mount.source))
    name = xxhash.xxh3_64_hexdigest(identity.encode("utf-8", "surrogateescape"))
    return _advice_folder() / f"{name}.json"
