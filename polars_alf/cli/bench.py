"""The command bench: measure a storage system, or compare such measurements."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, BadParameter, Exit, Option, Typer
from typer.core import TyperGroup

from polars_alf.alf.address import parse_address
from polars_alf.cli import frames, output
from polars_alf.cli.options import (
    Anonymous,
    AsJson,
    EndpointUrl,
    Force,
    Progress,
    Quiet,
    Region,
)
from polars_alf.cli.progress import ProgressKind, show_steps
from polars_alf.errors import OptionError, OutputError
from polars_alf.tables.output import check_output

if TYPE_CHECKING:
    import polars as pl

    from polars_alf.bench.comparison import StorageComparison
    from polars_alf.bench.results import StorageReport

THREADS = "1,2,4,8,16,32"


class _RunByDefault(TyperGroup):
    """``bench PATH`` is ``bench run PATH``."""

    default = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] not in (["compare"], ["run"]):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = Typer(
    name="bench",
    cls=_RunByDefault,
    help="Measure how storage serves ALF archives.\n\nbench PATH is bench run PATH.",
)

Out = Annotated[
    Path | None,
    Option(metavar="DIR", help="Folder for the report; a new one in this folder by default."),
]


@app.command("run")
def run(
    path: Annotated[
        str,
        Argument(
            metavar="PATH", help="A folder on that storage, or in a bucket: s3://, gs://, az://."
        ),
    ],
    files: Annotated[int, Option(metavar="N", min=1, help="Files to measure with.")] = 20_000,
    threads: Annotated[
        str, Option(metavar="N,N,…", help="Calls to have under way at once, in turn.")
    ] = THREADS,
    jobs: Annotated[
        int | None,
        Option(metavar="N", min=1, help="Most processes to use; one a processor by default."),
    ] = None,
    duration: Annotated[
        float, Option(metavar="SECONDS", help="Most time for one measurement.")
    ] = 0.5,
    repeats: Annotated[int, Option(metavar="N", min=1, help="How often each is made.")] = 3,
    operations: Annotated[
        str | None,
        Option(metavar="NAME,NAME,…", help="What to measure, such as stat,index; all by default."),
    ] = None,
    read_only: Annotated[
        bool | None,
        Option(
            "--read-only/--write",
            help="Measure the archive in PATH, and write nothing; by default in a bucket.",
        ),
    ] = None,
    cold: Annotated[
        bool, Option("--cold", help="With empty caches, too; as root of the whole machine.")
    ] = False,
    like: Annotated[
        str | None,
        Option(metavar="DIR", help="Tables: write files with the paths and sizes that they list."),
    ] = None,
    cluster: Annotated[
        str | None,
        Option(metavar="dask://HOST:PORT", help="Scheduler of a Dask cluster that measures."),
    ] = None,
    name: Annotated[
        str | None, Option(metavar="LABEL", help="What to call this storage in reports.")
    ] = None,
    endpoint_url: EndpointUrl = None,
    region: Region = None,
    anonymous: Anonymous = False,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
    progress: Progress = ProgressKind.AUTO,
    quiet: Quiet = False,
) -> None:
    """Measure how the storage of PATH serves an ALF archive, and report it.

    Writes a synthetic archive in a new folder in PATH and removes it again, also when interrupted.
    Nothing is written to a bucket without --write: the archive that is there is read.
    The report has JSON, Parquet, a page for the browser and pictures. What is recommended there
    is what index --jobs auto takes on the same mount, or for the same bucket.

    To put results side by side: polars-alf bench compare A B...

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    from polars_alf.bench.machine import check_extra

    check_extra()
    from polars_alf.bench import pages
    from polars_alf.bench.api import bench_storage
    from polars_alf.bench.places import is_read_by_default
    from polars_alf.bench.results import REPORT_FILES

    levels = _parse_threads(threads)
    if hasattr(signal, "SIGHUP"):
        # The end of a terminal must not leave an archive behind.
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    if read_only is None:
        read_only = is_read_by_default(path)
    state = "nothing was written" if read_only else "what was written was removed"
    out = _choose_folder(out, name)
    folders = [each for each in (path, like) if each and parse_address(each) is None]
    _check_files(out, REPORT_FILES, [*map(Path, folders)], force=force)
    with _open_folder(out) as folder, output.running(state):
        with show_steps(progress, quiet=quiet) as show:
            report = bench_storage(
                path,
                files=files,
                threads=levels,
                jobs=jobs,
                duration=duration,
                repeats=repeats,
                operations=operations.split(",") if operations is not None else (),
                read_only=read_only,
                cold=cold,
                like=like,
                executor=cluster,
                name=name,
                endpoint_url=endpoint_url,
                region=region,
                anonymous=anonymous,
                progress=show,
            )
        folder.mkdir(parents=True, exist_ok=True)  # minutes may have passed
        report.write(folder)
        written = pages.write_pages(folder, report)
    if as_json:
        print(json.dumps(report.to_dict()))
    elif not quiet:
        print_report(report, written[0])


@app.command("compare")
def compare(
    results: Annotated[
        list[str], Argument(metavar="A B...", help="Folders that bench has written.")
    ],
    fail_if: Annotated[
        Any,  # a float
        Option(
            metavar="-N%",
            parser=_parse_share,
            help="Exit with 3 if a rate is that much below the first one's, and not by noise.",
        ),
    ] = None,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which of several storage systems is faster, at what, and how sure that is.

    The report has a verdict, conclusions side by side, charts with all systems, and the ratios to
    the first one; what may be noise is folded away.

    --fail-if -20% is for acceptance tests. It looks at the rate of each operation with each number
    of calls at once that both have, warm and cold. One fails if its median is lower by that much,
    and its fastest repetition is slower than the slowest of the first system.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 slower than --fail-if allows.
    """
    from polars_alf.bench.machine import check_extra

    check_extra()
    from polars_alf.bench import pages
    from polars_alf.bench.comparison import compare_storage
    from polars_alf.bench.results import COMPARISON_FILES, write_frame, write_json

    out = _choose_folder(out, "compared")
    _check_files(out, COMPARISON_FILES, [], force=force)
    comparison = compare_storage(*results)
    values = comparison.to_dict()
    with _open_folder(out) as folder, output.running("nothing was changed"):
        write_json(folder / "comparison.json", values)
        write_frame(folder / "comparison.parquet", comparison.ratios)
        written = pages.write_pages(folder, comparison)
    slower = comparison.find_slower(fail_if) if fail_if is not None else None
    if as_json:
        found = {} if slower is None else {"slower": slower.to_dicts()}
        print(json.dumps(values | found))
    elif not quiet:
        _print_comparison(comparison, written[0])
    if slower is not None:
        _judge_slower(slower, comparison, fail_if, quiet=quiet or as_json)


def _print_comparison(comparison: StorageComparison, page: Path) -> None:
    from polars_alf.bench.verdict import tabulate_conclusions

    for sentence in comparison.verdict:
        output.print_sentence(sentence)
    for note in comparison.notes:
        output.print_sentence(f"Note: {note}")
    table = tabulate_conclusions(comparison.conclusions, comparison.labels)
    frames.print_table(
        table.rename({"what": ""}),
        "Side by side: predicted times, best rates and with how many calls at once, stalls",
    )
    clear = comparison.ratios.filter("is_clear")
    output.print_sentence(
        f"\n{len(clear)} of {len(comparison.ratios)} ratios are clear, the others may be noise; "
        "the report has them all"
    )
    output.print_fields(("Report", page))


def _judge_slower(
    slower: pl.DataFrame, comparison: StorageComparison, share: float, *, quiet: bool
) -> None:
    """Print what is slower than it may be, and end with the exit code for that."""
    first = comparison.labels[0]
    if slower.is_empty():
        if not quiet:
            output.print_sentence(f"Nothing is clearly slower than {first} by {share:.0%} or more.")
        return
    for row in slower.iter_rows(named=True):
        output.print_message(
            f"slower: {row['label']} by {1 - row['ratio']:.0%} than {first}: {row['what']}, "
            f"{row['concurrency']} at once, {row['cache']}"
        )
    raise Exit(output.EXIT_INCOMPLETE)


def _parse_share(text: str) -> float:
    """Return the share of a rate that may be lost before a comparison fails."""
    match = re.fullmatch(r"-(\d+(?:\.\d*)?)%", text.strip())
    share = float(match[1]) / 100 if match else 0.0
    if 0 < share < 1:
        return share
    raise BadParameter(f"{text!r} is no loss of speed; give one such as -20%")


def _parse_threads(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"the numbers of threads are {text!r}; give some from 1 on, such as {THREADS}"
        ) from None


def _choose_folder(out: Path | None, name: str | None) -> Path:
    """Return the folder for a report, by default a new one in this folder."""
    if out is not None:
        return out
    label = re.sub(r"\W+", "-", name or "storage").strip("-").lower()
    return Path(f"polars_alf_bench-{label}-{datetime.now():%Y%m%d-%H%M%S}")


def _check_files(out: Path, names: Sequence[str], tables: Sequence[Path], *, force: bool) -> None:
    """Raise OverwriteError where a report would lie in an archive, or replace a file."""
    for name in names:
        check_output(out / name, tables, force=force)


@contextmanager
def _open_folder(out: Path) -> Iterator[Path]:
    """Yield the folder for a report; one that was made for none is removed again."""
    is_new = not os.path.lexists(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            error.errno, f"{out} cannot be made: {error.strerror}; give another --out"
        ) from error
    try:
        yield out
    finally:
        if is_new:
            with suppress(OSError):  # it has the report
                out.rmdir()


def print_report(report: StorageReport, page: Path) -> None:
    """Print what a measurement found, and where its page is."""
    from polars_alf.bench.advice import explain_advice
    from polars_alf.bench.words import describe_seconds

    mount, machine = report.mount, report.machine
    output.print_fields(
        ("Storage", f"{report.label} ({mount['file_system']} on {mount['point']})"),
        ("Machine", f"{machine['cpu']}, {machine['n_cpus']} to use, {machine['kernel']}"),
    )
    rates = _tabulate_rates(report)
    frames.print_table(rates, "Rates, and the middle latency", figures=rates.columns[2:-1])
    output.print_visibly()
    for row in report.predictions:
        times = [describe_seconds(row[key]) for key in ("seconds", "least_seconds", "most_seconds")]
        text = f"{row['n_files']:,} files in {times[0]} ({times[1]} to {times[2]}), {row['cache']}"
        output.print_fields((row["task"].capitalize(), text))
    output.print_visibly()
    for note in report.notes:
        output.print_sentence(f"Note: {note}")
    advice = report.advice
    if "jobs" in advice:
        text = f"index --jobs {advice['jobs']} --threads {advice['threads']}"
        output.print_fields(("Recommended", text))
    if "digest_jobs" in advice:
        output.print_fields(("With digests", f"index --hash-files --jobs {advice['digest_jobs']}"))
    for reason in explain_advice(report):
        output.print_fields(("Because", reason))
    output.print_fields(("Report", page))


def _tabulate_rates(report: StorageReport) -> pl.DataFrame:
    """Return a row for each operation: its rates, with how many calls it saturates, its latency."""
    import polars as pl

    from polars_alf.bench.words import describe_latency, describe_rate

    best = {(law["operation"], law["cache"]): law for law in report.models}
    rows = []
    first = report.figures.group_by("operation", "cache", maintain_order=True).first()
    for figure in first.iter_rows(named=True):
        law = best[figure["operation"], figure["cache"]]
        unit = "byte_rate" if figure["byte_rate"] is not None else "rate"
        rows.append(
            {
                "operation": figure["operation"],
                "cache": figure["cache"],
                "one at a time": describe_rate(figure),
                "best": describe_rate({unit: law["best_rate"]}),
                "saturates at": f"{'' if law['is_saturated'] else '> '}{law['saturation']:.1f}",
                "50 %": describe_latency(figure["p50_ns"]),
                "noise": "yes" if figure["is_noise"] else "no",
            }
        )
    return pl.DataFrame(rows)
