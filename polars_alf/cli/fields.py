"""What the command index prints beside its figures, and of a part."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from polars_alf.cli import output

if TYPE_CHECKING:  # each is loaded by the command that needs it
    from polars_alf.index.array import PartReport
    from polars_alf.index.report import IndexReport


def list_optional_fields(report: IndexReport) -> Iterator[tuple[str, str]]:
    """Yield the fields of a report that not every index has."""
    if report.changes is not None:
        counts = [f"{n:,} {change}" for change, n in report.changes.items() if n]
        yield "Changes", f"{', '.join(counts) or 'none'} (since the last index)"
    if report.n_changed_paths is not None:
        outside = f", {report.n_paths_outside:,} of them outside" if report.n_paths_outside else ""
        yield "Paths given", f"{report.n_changed_paths:,}{outside}"
    if report.n_removed_sessions or report.n_removed_datasets:
        removed = f"{report.n_removed_sessions:,} sessions, {report.n_removed_datasets:,} datasets"
        yield "Removed", f"{removed} (that the tables had)"
    if report.n_known_sessions:
        known = f"{report.n_known_sessions:,} sessions, {report.n_known_datasets:,} datasets"
        yield "Known ids", f"{known} (from the tables given)"
    if report.n_kept_sessions or report.n_kept_datasets:
        kept = f"{report.n_kept_sessions:,} sessions, {report.n_kept_datasets:,} datasets"
        yield "Kept", f"{kept} (have what people or databases wrote)"
    if report.n_missing:
        yield "Missing", f"{report.n_missing:,} datasets of a database are not on this disk"
    if report.n_resumed:
        yield "Resumed", f"{report.n_resumed:,} of {report.n_shards:,} shards were done before"


def print_part(report: PartReport, *, as_json: bool, quiet: bool) -> None:
    """Print what a part of a job array did, and how the tables are made."""
    if as_json:
        print(json.dumps(report.to_dict()))
    if as_json or quiet:
        return
    done = f" ({report.n_resumed:,} done before)" if report.n_resumed else ""
    incomplete = f"{report.n_incomplete:,} shards have what could not be read"
    workers = "1 worker" if report.n_jobs == 1 else f"{report.n_jobs} workers"
    output.print_fields(
        ("Archive", str(report.root)),
        ("Part", f"{report.part:,} of {report.n_parts:,}"),
        ("Planned", f"{report.planned:%Y-%m-%d %H:%M:%S}"),
        ("Shards", f"{report.n_shards:,}{done}"),
        *([("Incomplete", incomplete)] if report.n_incomplete else []),
        ("Time", f"{report.seconds:.2f} s ({workers})"),
        (
            "Next",
            "when all parts have finished: polars-alf index --assemble "
            f"--out-dir {shlex.quote(str(report.tables_dir))} {shlex.quote(str(report.root))}",
        ),
    )
