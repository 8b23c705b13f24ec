"""Results of the commands about tables, for people and for machines."""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from polars_alf.alf.paths import printable
from polars_alf.cli.output import print_fields, print_visibly
from polars_alf.errors import OutputError
from polars_alf.verify.compare import FindingKind

if TYPE_CHECKING:  # each is loaded by the command that needs it
    from polars_alf.merge.api import MergedTables
    from polars_alf.query.diff import TableDifferences
    from polars_alf.query.summary import TableSummary
    from polars_alf.verify.api import Verification


ROWS_SHOWN = 10

ANSWER_ROWS_SHOWN = 100

FORMATS = ("table", "csv", "jsonl", "parquet")

_LABELS = {
    FindingKind.MISSING: "Missing",
    FindingKind.NEW: "New",
    FindingKind.SIZE_CHANGED: "Other size",
    FindingKind.DIGEST_CHANGED: "Other digest",
    FindingKind.UNREADABLE: "Unreadable",
    FindingKind.UNSAFE_PATH: "Unsafe path",
}

_BYTES = ("file_size", "n_bytes", "n_bytes_spare")


def print_json(head: dict[str, object], rows_name: str, rows: pl.DataFrame) -> None:
    """Print one JSON object, its last value an array with a row a line."""
    print(json.dumps(head)[:-1] + f', "{rows_name}": [', end="")
    if len(rows):
        lines = rows.write_ndjson().strip().split("\n")
        print("\n" + ",\n".join(lines) + "\n", end="")
    print("]}")


def print_frame(frame: pl.DataFrame, title: str = "") -> None:
    """Print a frame as a table, as wide as its values."""
    if title:
        print_visibly(f"\n{title}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, dtype in frame.schema.items():
        is_size = name in _BYTES
        table.add_column(
            Text("size" if is_size else name), no_wrap=True,
            justify="right" if dtype.is_numeric() else "left",
        )  # fmt: skip
    for row in frame.iter_rows(named=True):
        table.add_row(*(Text(_spell(name, value)) for name, value in row.items()))
    # As a pipe has no width, and paths are to be copied, nothing is cut or folded.
    console = Console(file=sys.stdout, width=100_000, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(table)
    print_visibly("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")))


def _spell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _BYTES:
        return decimal(int(value))
    if isinstance(value, int) and not isinstance(value, bool) and name != "year":
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(printable(str(item)) for item in value)
    return printable(str(value))


def _print_first(frame: pl.DataFrame, title: str, rows: int = ROWS_SHOWN) -> None:
    if frame.is_empty():
        return
    print_frame(frame.head(rows), title)
    if len(frame) > rows:
        print_visibly(f"… and {len(frame) - rows:,} more")


def print_merge(merged: MergedTables) -> None:
    """Print what was merged, and what was left out."""
    columns = [name for name in merged.sources.columns if name != "created"]
    print_fields(
        ("Sessions", f"{merged.n_sessions:,}"),
        ("Datasets", f"{merged.n_datasets:,}"),
        ("Duplicates", f"{merged.n_duplicates:,} rows that others say as well"),
        ("Conflicts", f"{merged.n_conflicts:,} rows that say something else than those kept"),
        ("Time", f"{merged.seconds:.2f} s"),
        ("Tables", str(merged.folder)),
    )
    print_frame(merged.sources.select(columns))
    if merged.n_conflicts:
        first = merged.conflicts.head(ROWS_SHOWN + 1).collect()
        shown = first.select("differs", "kept_path", "dropped_path", "kept_size", "dropped_size")
        print_frame(shown.head(ROWS_SHOWN), "Conflicts")
        print_visibly(f"\nAll of them: {merged.to_dict()['conflicts_path']} (Arrow IPC)")


def print_differences(found: TableDifferences) -> None:
    """Print what changed between tables."""
    for table, counts in found.counts.items():
        text = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
        rows = f"{found.n_old[table]:,} → {found.n_new[table]:,}"
        print_fields((table.capitalize(), f"{rows}: {text or 'no difference'}"))
    path = pl.when(pl.col("change") == "renamed").then(
        pl.format("{} → {}", "old_path", "new_path")
    ).otherwise(pl.coalesce("new_path", "old_path"))  # fmt: skip
    shown = found.differences.select("change", path.alias("path"), "columns")
    _print_first(shown, "Differences", 2 * ROWS_SHOWN)


def print_verification(found: Verification) -> None:
    """Print how an archive compares with its tables."""
    sample = "" if found.n_checked == found.n_datasets else f" of {found.n_datasets:,}"
    fields = [
        ("Archive", str(found.root)),
        ("Checked", f"{found.n_checked:,}{sample} datasets in {found.seconds:.2f} s"),
    ]
    if found.n_digested or found.n_without_hash:
        fields.append(("Digested", f"{found.n_digested:,}"))
    if found.n_without_hash:
        fields.append(
            ("No digest", f"{found.n_without_hash:,} have none in the tables; index --hash-files")
        )
    fields += [(_LABELS[FindingKind(kind)], f"{count:,}") for kind, count in found.counts.items()]
    print_fields(*fields)
    columns = ["kind", "path", "table_size", "disk_size", "message"]
    _print_first(found.findings.select(columns), "Findings", 2 * ROWS_SHOWN)


def print_summary(summary: TableSummary, rows: int) -> None:
    """Print what tables have in them."""
    print_fields(
        ("Sessions", f"{summary.n_sessions:,}"),
        ("Datasets", f"{summary.n_datasets:,} ({decimal(summary.n_bytes)})"),
        ("Absent", f"{summary.n_absent:,} (in the tables, but not on disk when they were made)"),
        ("Digests", f"{summary.n_with_hash:,} datasets have one"),
    )
    for name, frame in summary.groups.items():
        _print_first(frame, f"By {name}", rows)
    _print_first(summary.qc, "Quality control", len(summary.qc))
    _print_first(summary.largest.select("file_size", "path"), "Largest", rows)
    duplicates = summary.duplicates.select("datasets", "n_bytes_spare", "path", "hash")
    _print_first(duplicates, "The same content, and what all but one take", rows)


def print_run(run: dict[str, Any]) -> None:
    """Print the report of a run (`polars_alf.index.report.describe_run`)."""
    report, settings = run["report"], run["settings"]
    told = [f"{name}={value}" for name, value in settings.items() if value not in (None, "", [])]
    shards = [
        (shard["first_folder"], shard["n_folders"], shard["seconds"])
        for shard in run["slowest_shards"]
    ]
    print_visibly()
    print_fields(
        ("Index", f"{run['begun']} to {run['ended']}, polars-alf {run['version']}"),
        ("Time", f"{report['seconds']:.2f} s, {report['n_jobs']} workers"),
        ("Shards", f"{report['n_shards']:,} ({report['n_resumed']:,} done before)"),
        ("Settings", ", ".join(told)),
        ("Issues", f"{sum(report['issues'].values()):,}"),
    )
    for kind, count in report["issues"].items():
        for example in run["examples"].get(kind, [])[:1]:
            print_visibly(f"{count:>6,} {kind}, for example {example['path']}")
    columns = {"first unit": pl.String, "units": pl.Int64, "seconds": pl.Float64}
    _print_first(pl.DataFrame(shards, schema=columns, orient="row"), "Slowest shards")


def write_answer(answer: pl.LazyFrame, form: str, output: Path | None) -> None:
    """Write the answer of a query to stdout or a file, whole or not at all."""
    if form == "table":
        rows = answer.collect()
        print_frame(rows.head(ANSWER_ROWS_SHOWN))
        if len(rows) > ANSWER_ROWS_SHOWN:
            more = len(rows) - ANSWER_ROWS_SHOWN
            print_visibly(f"… and {more:,} more; --format csv, jsonl or parquet has all")
        return
    if output is None:
        rows = answer.collect()
        _write(rows.lazy(), form, sys.stdout.buffer)
        sys.stdout.flush()
        return
    beside = output.with_name(f".{output.name}.{uuid.uuid4().hex}.tmp")
    try:
        with beside.open("xb") as file:
            _write(answer, form, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(output)
    except OSError as error:
        raise OutputError(
            error.errno, f"{output} cannot be written: {error.strerror}; give another file"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _write(answer: pl.LazyFrame, form: str, file: Any) -> None:
    match form:
        case "csv":
            answer.sink_csv(file)
        case "jsonl":
            answer.sink_ndjson(file)
        case "parquet":
            answer.sink_parquet(file)
