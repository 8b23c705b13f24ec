"""The report of an index on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from polars_alf.cli import output

if TYPE_CHECKING:
    from polars_alf.index.report import IndexReport


def print_report(report: IndexReport) -> None:
    """Print what an index found, and where its tables are."""
    rate = (report.n_datasets + report.n_other_files) / report.seconds
    workers = "1 worker" if report.n_jobs == 1 else f"{report.n_jobs} workers"
    folder = report.sessions_path.parent
    cache_dir = f"cache_dir={str(report.cache_dir)!r}, tables_dir={str(folder)!r}"
    if folder == report.cache_dir or not isinstance(report.cache_dir, Path):
        cache_dir = f"cache_dir={str(folder)!r}"  # ONE searches there, whatever has the files
    output.print_fields(
        ("Archive", str(report.root)),
        ("Sessions", f"{report.n_sessions:,}"),
        ("Datasets", f"{report.n_datasets:,} ({decimal(report.n_bytes)})"),
        ("Other files", f"{report.n_other_files:,} (not ALF, or in no session)"),
        ("Issues", f"{sum(report.issues.values()):,}"),
        *_list_optional_fields(report),
        ("Time", f"{report.seconds:.2f} s ({rate:,.0f} files/s, {workers})"),
        ("Tables", str(report.sessions_path)),
        ("", str(report.datasets_path)),
        ("Open with", f"One({cache_dir}, mode='local')"),
    )
    if not report.issues:
        return
    examples = report.scan_issues().unique("kind", keep="first", maintain_order=True).collect()
    shown = {row["kind"]: row for row in examples.iter_rows(named=True)}
    for kind, count in report.issues.items():
        row = shown[kind]
        output.print_visibly(
            f"\n{count:>6,} {kind}, for example {row['path']}\n       {row['message']}"
        )
    output.print_visibly(f"\nAll of them: polars-alf issues {shlex.quote(str(folder))}")


def _list_optional_fields(report: IndexReport) -> Iterator[tuple[str, str]]:
    if report.changes is not None:
        counts = [f"{n:,} {change}" for change, n in report.changes.items() if n]
        yield "Changes", f"{', '.join(counts) or 'none'} (since the last index)"
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
