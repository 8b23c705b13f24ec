"""Results of the commands that walk an archive, as a person reads them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import polars as pl

from polars_alf.alf.paths import printable
from polars_alf.cli import frames, output
from polars_alf.cli.output import Whole
from polars_alf.cli.text import measure
from polars_alf.display import count, describe_backoffs, describe_size
from polars_alf.tables.rows import sum_bytes

if TYPE_CHECKING:  # each is loaded by the command that needs it
    from polars_alf.index.array import PartReport
    from polars_alf.index.report import IndexReport
    from polars_alf.release.manifest import ManifestCheck
    from polars_alf.verify.api import Verification

_EXAMPLE = ("kind", "path", "message")


def print_report(report: IndexReport) -> None:
    """Print what an index found, and where its tables are."""
    rate = (report.n_datasets + report.n_other_files) / report.seconds
    folder = report.sessions_path.parent
    arguments = [f"cache_dir={str(report.cache_dir)!r}", f"tables_dir={str(folder)!r}"]
    if folder == report.cache_dir or not isinstance(report.cache_dir, Path):
        arguments = [f"cache_dir={str(folder)!r}"]  # ONE searches there, whatever has the files
    output.print_fields(
        ("Archive", report.root),
        ("Sessions", f"{report.n_sessions:,}"),
        ("Datasets", f"{report.n_datasets:,} ({describe_size(report.n_bytes)})"),
        ("Other files", f"{report.n_other_files:,} (not ALF, or in no session)"),
        ("Issues", f"{sum(report.issues.values()):,}"),
        *_list_optional_fields(report),
        (
            "Time",
            f"{report.seconds:.2f} s ({rate:,.0f} files/s, {count(report.n_jobs, 'worker')})",
        ),
        ("Tables", report.sessions_path),
        ("", report.datasets_path),
        *_list_call("Open with", "One", [*arguments, "mode='local'"]),
    )
    if not report.issues:
        return
    examples = report.scan_issues().unique("kind", keep="first", maintain_order=True).collect()
    shown = {kind: (path, text) for kind, path, text in examples.select(*_EXAMPLE).iter_rows()}
    output.print_issues(report.issues, shown)
    output.print_visibly(f"\nAll of them: polars-alf issues {shlex.quote(str(folder))}")


def _list_call(label: str, name: str, arguments: Sequence[str]) -> Iterator[tuple[str, Whole]]:
    """Yield a call in Python, to be copied; where a terminal is narrow, with a line an argument."""
    whole = f"{name}({', '.join(arguments)})"
    if not output.is_terminal() or measure(whole) <= output.measure_terminal() - 2:
        yield label, Whole(whole)
        return
    yield label, Whole(f"{name}(")
    yield from (("", Whole(f"    {argument},")) for argument in arguments)
    yield "", Whole(")")


def _list_optional_fields(report: IndexReport) -> Iterator[tuple[str, str]]:
    if report.changes is not None:
        counts = [f"{n:,} {change}" for change, n in report.changes.items() if n]
        yield "Changes", f"{', '.join(counts) or 'none'} (since the last index)"
    if report.n_changed_paths is not None:
        outside = f", {report.n_paths_outside:,} of them outside" if report.n_paths_outside else ""
        yield "Paths given", f"{report.n_changed_paths:,}{outside}"
    if report.n_removed_sessions or report.n_removed_datasets:
        removed = _count_both(report.n_removed_sessions, report.n_removed_datasets)
        yield "Removed", f"{removed} (that the tables had)"
    if report.n_known_sessions:
        known = _count_both(report.n_known_sessions, report.n_known_datasets)
        yield "Known ids", f"{known} (from the tables given)"
    if report.n_kept_sessions or report.n_kept_datasets:
        kept = _count_both(report.n_kept_sessions, report.n_kept_datasets)
        yield "Kept", f"{kept} (have what people or databases wrote)"
    if report.n_missing:
        yield "Missing", f"{count(report.n_missing, 'dataset')} of a database not on this disk"
    if report.n_backoffs:
        yield "Backed off", describe_backoffs(report.n_backoffs, report.least_share)
    if report.n_resumed:
        yield "Resumed", f"{report.n_resumed:,} of {count(report.n_shards, 'shard')} done before"


def _count_both(n_sessions: int, n_datasets: int) -> str:
    return f"{count(n_sessions, 'session')}, {count(n_datasets, 'dataset')}"


def print_part(report: PartReport) -> None:
    """Print what a part of a job array did, and how the tables are made."""
    done = f" ({report.n_resumed:,} done before)" if report.n_resumed else ""
    incomplete = f"{count(report.n_incomplete, 'shard')} with what could not be read"
    backoffs = describe_backoffs(report.n_backoffs, report.least_share)
    places = map(shlex.quote, (str(report.tables_dir), str(report.root)))
    output.print_fields(
        ("Archive", report.root),
        ("Part", f"{report.part:,} of {report.n_parts:,}"),
        ("Planned", f"{report.planned:%Y-%m-%d %H:%M:%S}"),
        ("Shards", f"{report.n_shards:,}{done}"),
        *([("Incomplete", incomplete)] if report.n_incomplete else []),
        *([("Backed off", backoffs)] if report.n_backoffs else []),
        ("Time", f"{report.seconds:.2f} s ({count(report.n_jobs, 'worker')})"),
        ("Next", "when all parts have finished:"),
        ("", Whole("polars-alf index --assemble --out {} {}".format(*places))),
    )


def print_verification(found: Verification, compared: ManifestCheck | None) -> None:
    """Print how an archive compares with its tables, and these with a manifest."""
    labels = {"size_changed": "Other size", "digest_changed": "Other digest"}
    sample = "" if found.n_checked == found.n_datasets else f"{found.n_checked:,} of "
    datasets = count(found.n_datasets, "dataset")
    fields: list[tuple[str, str | PurePath]] = [
        ("Archive", found.root),
        ("Checked", f"{sample}{datasets} in {found.seconds:.2f} s"),
    ]
    if found.n_digested or found.n_without_hash:
        fields.append(("Digested", f"{found.n_digested:,}"))
    if found.n_without_hash:
        lacking = f"{found.n_without_hash:,} without one in the tables; index --hash-files"
        fields.append(("No digest", lacking))
    if compared:
        problems = compared.problems or ("the tables are as it says",)
        checksum = Whole(compared.checksum)
        fields += [("Manifest", checksum), *(("", problem) for problem in problems)]
    for kind, number in found.counts.items():
        if kind == "digest_changed" and not found.n_digested:
            fields.append((labels[kind], "not compared: see --digest"))
            continue
        fields.append((labels.get(kind, kind.replace("_", " ").capitalize()), f"{number:,}"))
    output.print_fields(*fields)
    columns = ["kind", "path", "table_size", "disk_size", "message"]
    shown = found.findings.select(columns)
    frames.print_table(shown, "Findings", "none", 2 * output.ROWS_SHOWN)


def print_plan(plan: pl.DataFrame, root: Path) -> None:
    """Print what a plan (REMOVALS) would remove; on a terminal the first datasets and folders."""
    datasets = plan.filter(pl.col("kind") == "dataset")
    folders = plan.filter(pl.col("kind") != "dataset")
    reasons = datasets.group_by("reason", maintain_order=True).len()
    sessions = len(folders.filter(pl.col("kind") == "session"))
    output.print_fields(
        ("Archive", root),
        ("Datasets", f"{len(datasets):,} ({describe_size(sum_bytes(datasets['file_size']))})"),
        *(("", f"{number:,}: {reason}") for reason, number in reasons.iter_rows()),
        ("Folders", f"{len(folders):,} ({sessions:,} of sessions)"),
    )
    # Whole, as they are to be confirmed.
    for rows in (datasets, folders):
        first = rows.head(output.ROWS_SHOWN) if output.is_terminal() else rows
        for path in first["path"]:
            output.print_visibly(f"  {printable(path)}")
        if len(rows) > len(first):
            output.print_visibly(f"  {output.describe_rest(len(rows) - len(first))}")


def print_outcomes(outcomes: pl.DataFrame, log: Path) -> None:
    """Print how many paths of a plan were removed, and each that was not (OUTCOMES)."""
    is_done = pl.col("result").is_in(["removed", "moved"])
    removed = outcomes.filter(is_done)
    size = describe_size(sum_bytes(removed["file_size"]))
    output.print_visibly(f"Removed {len(removed):,} of {len(outcomes):,} ({size}).")
    if n_moved := len(removed.filter(result="moved")):
        verb = "was" if n_moved == 1 else "were"
        output.print_visibly(f"Of these, {n_moved:,} {verb} moved to the trash.")
    left = outcomes.filter(~is_done)
    for path, result, message in left.select("path", "result", "message").iter_rows():
        output.print_visibly(f"  {result}: {printable(path)}: {message}")
    output.print_visibly(f"Log: {log}")
