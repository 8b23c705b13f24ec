"""A job array: processes that share the shards of one run, each its part, without a scheduler.

The first to come plans the run: it surveys the archive and cuts it into shards. Part I of N takes
every Nth of them. When all are finished, an index assembles the tables from their rows.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path, PurePath

import polars as pl

from polars_alf.alf.ids import make_namespace
from polars_alf.alf.paths import path_key
from polars_alf.alf.root import FolderPath
from polars_alf.arrow import make_table
from polars_alf.display import Shown
from polars_alf.errors import ArchiveBusyError, MissingPartsError, OptionError
from polars_alf.index.basis import Basis, check_found, open_folders, storing_inventory
from polars_alf.index.checkpoint import Run, open_run, take_run
from polars_alf.index.options import IndexOptions
from polars_alf.index.shard import choose_least, visit_shards
from polars_alf.index.shard_files import (
    ShardSummary,
    find_finished,
    read_checked,
    read_finished,
    write_checked,
)
from polars_alf.index.snapshot import write_survey
from polars_alf.parallel.progress import Progress
from polars_alf.schema import ISSUES
from polars_alf.tables.files import STATE_DIR, reporting_write_errors
from polars_alf.tables.parts import check_parts, hold_part_lock, part_path
from polars_alf.tables.transaction import locked_state
from polars_alf.tables.writer_lock import Writer, check_writer_lock
from polars_alf.walk.inventory import Inventory
from polars_alf.walk.shards import SHARDS_WANTED, Shard, plan_shards
from polars_alf.walk.walk import SHARDS_PER_WORKER, Survey, Walk, open_walk

PATIENCE_SECONDS = 30.0
"""Time for which a part waits for who writes the tables, and does not plan the array."""

_PAUSE_SECONDS = 0.2
_PLAN = "plan"
_PLANNING = "planning"
_DONE = "done"


@dataclass(frozen=True, slots=True, repr=False)
class PartReport(Shown):
    """Report of one part of a job array.

    Parameters
    ----------
    part, n_parts
        The part, from 1 on, and how many there are.
    n_shards, n_resumed
        Shards of the part, and how many of them an earlier run of it had finished.
    n_incomplete
        Shards with something that could not be read: an issue of the tables, unless the part is
        repeated before they are assembled.
    planned
        When the first part surveyed the archive; local time.
    seconds
        How long it took.
    n_jobs
        Number of workers.
    root
        The archive, links resolved.
    tables_dir
        Folder of the tables.
    n_backoffs, least_share
        As for `IndexReport`.
    """

    part: int
    n_parts: int
    n_shards: int
    n_resumed: int
    n_incomplete: int
    planned: datetime
    seconds: float
    n_jobs: int
    root: PurePath
    tables_dir: Path
    n_backoffs: int = 0
    least_share: float = 1.0

    def _list_figures(self) -> dict[str, object]:
        return {
            "part": f"{self.part} of {self.n_parts}",
            "shards": f"{self.n_shards:,} ({self.n_resumed:,} were done before)",
            "incomplete": self.n_incomplete,
            "planned": f"{self.planned:%Y-%m-%d %H:%M:%S}",
            "time": f"{self.seconds:.2f} s",
            "tables": self.tables_dir,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the report in values that JSON has."""
        texts = {"planned": self.planned.isoformat(), "root": str(self.root)}
        return asdict(self) | texts | {"tables_dir": str(self.tables_dir)}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The shards of an array, by their dated folders, and what the survey found beside."""

    n_parts: int
    shards: Sequence[Sequence[str]]
    issues: Sequence[Sequence[object]]
    n_other_files: int

    def write(self, run: Path) -> None:
        write_checked(run / _PLAN, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, run: Path) -> _Plan | None:
        try:
            return cls(**json.loads(read_checked(run / _PLAN)))
        except (OSError, ValueError, TypeError):
            return None

    def select(self, part: int) -> list[Shard]:
        """Return the shards of a part; neighbours are in different ones, as they are alike."""
        return [
            Shard.pack(index, folders)
            for index, folders in enumerate(self.shards[part - 1 :: self.n_parts])
        ]


def parse_part(text: str) -> tuple[int, int]:
    """Return a part, from 1 on, and the number of parts; OptionError unless it is I/N."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text) if isinstance(text, str) else None
    part, n_parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= n_parts:
        raise OptionError(
            f"the shard {text!r} is no part of a whole; give I/N with I from 1 to N, such as 2/8"
        )
    return part, n_parts


def run_part(
    root: FolderPath,
    out: FolderPath | None,
    options: IndexOptions,
    shard: str,
    progress: Callable[[Progress], None] | None = None,
) -> PartReport:
    """Write the shards of one part; parameters, errors and warnings of `index_part`."""
    start = time.perf_counter()
    part, n_parts = parse_part(shard)
    for name, value in (("changed_from", options.changed_from), ("assemble", options.assemble)):
        if value:
            raise OptionError(
                "a part of a job array lists all of its shards; leave out "
                f"--{name.replace('_', '-')} ({name})"
            )
    if options.walk.max_rate is not None:  # the parts know nothing of each other
        walk_options = replace(options.walk, max_rate=options.walk.max_rate / n_parts)
        options = replace(options, walk=walk_options)
    opened, folder, options = open_folders(root, out, options)
    with (
        storing_inventory(options, opened, root, progress) as (options, inventory),
        open_walk(opened, options.walk, progress) as walk,
        reporting_write_errors(folder, f"part {part}"),
    ):
        basis, run, plan = _join(walk, folder, options, inventory, n_parts)
        with _reporting_takeover(run, part), hold_part_lock(run.path, part):
            shards = plan.select(part)
            done = _find_done(run, shards, restart=options.restart)
            left = [shard for shard in shards if shard.name not in done]
            summaries, n_jobs = visit_shards(
                walk,
                options,
                replace(run, summaries=[*done.values()]),
                [replace(shard, index=index) for index, shard in enumerate(left)],
                snapshot=basis.snapshot,
                unchanged=frozenset() if _is_quick(options, basis) else None,
                same_device=basis.same_device,
                work=part_path(run.path, part),
            )
            check_writer_lock(part_path(run.path, part))
            (part_path(run.path, part) / _DONE).touch()
        counted = walk.monitor.measure()
    return PartReport(
        part=part,
        n_parts=n_parts,
        n_shards=len(summaries),
        n_resumed=len(done),
        n_incomplete=sum(not summary.is_whole for summary in summaries),
        planned=run.begun,
        seconds=time.perf_counter() - start,
        n_jobs=n_jobs,
        root=opened.path,
        tables_dir=folder,
        n_backoffs=counted.n_backoffs,
        least_share=counted.least_share,
    )


@dataclass(frozen=True, slots=True)
class FinishedArray:
    """The run of an array of which all parts have finished, and the survey that it began with."""

    run: Run
    survey: Survey
    n_parts: int


def open_array(folder: Path, basis: Basis) -> FinishedArray:
    """Return the array of some settings, with all of its shards. Under the state's lock.

    Raises
    ------
    MissingPartsError
        No array of these settings has begun, or a part has not finished.
    ArchiveBusyError
        A part is at work.
    """
    path = _find_array(folder, basis)
    plan = _Plan.read(path) if path else None
    if path is None or plan is None:
        raise MissingPartsError(
            f"there is no job array to assemble in {folder}: no part has begun with these options "
            "since the tables were last written; run the parts first, with --shard 1/N to N/N and "
            "the same options"
        )
    check_parts(path)
    left = {part: _count_left(path, plan, part) for part in range(1, plan.n_parts + 1)}
    missing = [
        part for part, n in left.items() if n or not (part_path(path, part) / _DONE).exists()
    ]
    if missing:
        raise MissingPartsError(_describe_missing(path, plan, missing), parts=tuple(missing))
    run = take_run(path)
    names = {Shard.pack(0, folders).name for folders in plan.shards}
    found = find_finished(run.shards, keep=names)
    summaries = sorted((summary for summary, _ in found), key=lambda s: path_key(s.first_folder))
    folders = [folder for _, own in found for folder in own]
    issues = make_table([tuple(row) for row in plan.issues], ISSUES)
    dated = pl.Series("folder", folders, pl.String)
    survey = Survey(dated, issues, plan.n_other_files, None, 0)
    return FinishedArray(replace(run, summaries=summaries), survey, plan.n_parts)


def _is_quick(options: IndexOptions, basis: Basis) -> bool:
    return options.quick and basis.same_device and basis.lists_the_same


def _join(
    walk: Walk,
    folder: Path,
    options: IndexOptions,
    inventory: Inventory | None,
    n_parts: int,
) -> tuple[Basis, Run, _Plan]:
    """Find the run of the array, or plan it, waiting for a part that does."""
    with _waiting_for_lock(folder):
        basis = Basis.find(walk.root, folder, options, inventory)
        path = _find_array(folder, basis)
        plan = _Plan.read(path) if path else None
        if path and plan and plan.n_parts == n_parts:
            return basis, Run.read(path), plan
        marker = folder / STATE_DIR / _PLANNING
        marker.touch()
        try:
            return basis, *_plan(walk, folder, options, basis, n_parts)
        finally:
            marker.unlink(missing_ok=True)


def _plan(
    walk: Walk, folder: Path, options: IndexOptions, basis: Basis, n_parts: int
) -> tuple[Run, _Plan]:
    survey = walk.survey()
    check_found(walk.root, folder, options, survey, basis)
    namespace = basis.namespace or make_namespace()
    run = open_run(folder, basis.settings, namespace, survey.folders)
    shards = plan_shards(
        survey.folders,
        least=choose_least(walk, options, len(survey.folders)),
        wanted=max(SHARDS_WANTED, SHARDS_PER_WORKER * n_parts),
        finished=run.finished,
    )
    issues = survey.issues.to_pylist()
    plan = _Plan(
        n_parts=n_parts,
        shards=[shard.folders for shard in shards],
        issues=[[*row.values()] for row in issues],
        n_other_files=survey.n_other_files,
    )
    write_survey(run.shards, survey, options.clock_ns)
    plan.write(run.path)
    return run, plan


@contextlib.contextmanager
def _waiting_for_lock(folder: Path) -> Iterator[None]:
    """Hold the state's lock, after a part that plans the array, however long that takes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked_state(folder))
                break
            except ArchiveBusyError:
                is_planning = (folder / STATE_DIR / _PLANNING).exists()
                if not is_planning and time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
        yield


@contextlib.contextmanager
def _reporting_takeover(run: Run, part: int) -> Iterator[None]:
    """Raise ArchiveBusyError where another run has taken the array's place."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if isinstance(error, ArchiveBusyError) or (run.path / _PLAN).exists():
            raise
        raise ArchiveBusyError(
            f"another run has taken up what part {part} was at, or removed it: see to what else "
            f"writes tables into {run.path.parents[1]}; run the part again if they are not complete"
        ) from error


def _find_array(folder: Path, basis: Basis) -> Path | None:
    """Return the folder of the run of these settings that has a plan."""
    paths = (folder / STATE_DIR).glob("run-*")
    return next((p for p in paths if (p / _PLAN).exists() and Run.has(p, basis.settings)), None)


def _find_done(run: Run, shards: Sequence[Shard], *, restart: bool) -> dict[str, ShardSummary]:
    """Return the shards that are finished in full, by name; remove what there is of others."""
    done = {}
    for shard in shards:
        summary = None if restart else read_finished(run.shards / shard.name)
        if summary and summary.is_whole:
            done[shard.name] = summary
        else:
            shutil.rmtree(run.shards / shard.name, ignore_errors=True)
    return done


def _count_left(run: Path, plan: _Plan, part: int) -> int:
    shards = (run / "shards" / shard.name for shard in plan.select(part))
    return sum(read_finished(shard) is None for shard in shards)


def _describe_missing(run: Path, plan: _Plan, missing: Sequence[int]) -> str:
    """Return the message of parts that have not finished."""
    texts = []
    for part in missing[:3]:
        folder = part_path(run, part)
        if not folder.exists():
            texts.append(f"part {part} has not begun")
            continue
        n_left, n_shards = _count_left(run, plan, part), len(plan.select(part))
        writer = Writer.read_newest(folder)
        by = f" (last begun by {writer})" if writer else ""
        texts.append(f"part {part} lacks {n_left:,} of {n_shards:,} shards{by}")
    more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
    again = ", ".join(f"--shard {part}/{plan.n_parts}" for part in missing[:3])
    return (
        f"{len(missing):,} of {plan.n_parts:,} parts have not finished: {'; '.join(texts)}{more}; "
        f"the tables are as they were; run again with {again}{more}, then assemble"
    )
