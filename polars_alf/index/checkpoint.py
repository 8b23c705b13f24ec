"""The checkpoint: the folder of a run, which outlives a run that is killed.

All that decides about the rows is written down when a run begins. A later run that is about to do
the same goes on in that folder with the shards that were finished; any other begins afresh.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from polars_alf.errors import PolarsAlfError
from polars_alf.index.options import Settings
from polars_alf.index.shard_files import ShardSummary, find_finished
from polars_alf.tables.files import RUN, STATE_DIR
from polars_alf.tables.parts import check_parts
from polars_alf.tables.writer_lock import check_writer_lock

_REFUSED = "refused"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """A run, and the shards that were finished before it began.

    Parameters
    ----------
    path
        Its folder.
    namespace
        Namespace of the UUIDs.
    begun
        When it began first; local time.
    summaries, finished
        Summaries and dated folders of the finished shards.
    """

    path: Path
    namespace: uuid.UUID
    begun: datetime
    summaries: list[ShardSummary]
    finished: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run without its shards; ValueError, LookupError or TypeError if damaged."""
        values = json.loads((path / "run.json").read_text(encoding="utf-8"))
        begun = datetime.fromisoformat(values["begun"])
        return cls(path, uuid.UUID(values["namespace"]), begun, [], frozenset())

    @staticmethod
    def has(path: Path, settings: Settings) -> bool:
        """Whether the run in a folder has these settings."""
        try:
            values = json.loads((path / "run.json").read_text(encoding="utf-8"))
            return bool(values["settings"] == json.loads(json.dumps(settings)))
        except (OSError, ValueError, LookupError, TypeError):
            return False

    @property
    def generation(self) -> str:
        """Name of the tables that it makes."""
        return self.path.name.removeprefix("run-")

    @property
    def shards(self) -> Path:
        """Folder for the shards."""
        return self.path / "shards"


def open_run(
    folder: Path,
    settings: Settings,
    namespace: uuid.UUID,
    dated: Iterable[str],
    *,
    restart: bool = False,
    accept_refused: bool = False,
) -> Run:
    """Go on with an interrupted run of the same settings, or begin one. Under the state's lock.

    Parameters
    ----------
    folder
        Folder of the tables.
    settings
        All that decides about the rows of a shard but its files.
    namespace
        Namespace of the UUIDs, unless the interrupted run has one.
    dated
        The dated folders that there are now.
    restart
        Whether to begin afresh in any case.
    accept_refused
        Whether to go on with a run whose removals were refused, too. Unasked, the run of the next
        night would go on with what was there tonight.
    """
    check_writer_lock(folder)  # else the folders may be of the run that has taken its place
    state = folder / STATE_DIR
    resumed = None
    for path in [*state.glob("run-*")]:
        check_parts(path)
        is_refused = (path / _REFUSED).exists() and not accept_refused
        if not (restart or resumed or is_refused):
            resumed = _resume(path, settings, frozenset(dated))
        if not resumed or resumed.path != path:
            shutil.rmtree(path, ignore_errors=True)
    if resumed:
        return resumed
    run = Run(_name_run(state), namespace, datetime.now(), [], frozenset())
    run.shards.mkdir(parents=True)
    values = {"settings": settings, "namespace": str(namespace), "begun": run.begun.isoformat()}
    (run.path / "run.json").write_text(json.dumps(values), encoding="utf-8")
    return run


def take_run(path: Path) -> Run:
    """Take up a run, without its shards.

    Workers of the run that was interrupted may still be at it: under another name, the folder is
    out of their reach.
    """
    return replace(Run.read(path), path=path.rename(_name_run(path.parent)))


def mark_refused(run: Run) -> None:
    """Mark a run whose removals were refused: only who accepts them goes on with it."""
    (run.path / _REFUSED).touch()


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder that is gone at the end, or with the next run. Under the state's lock."""
    path = _name_run(folder / STATE_DIR)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _name_run(state: Path) -> Path:
    return state / f"run-{uuid.uuid4().hex}"


@contextlib.contextmanager
def discarded_on_error(run: Run) -> Iterator[None]:
    """Remove a run whose shards turn out to be wrong: none of them can be relied on."""
    try:
        yield
    except PolarsAlfError:
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def _resume(path: Path, settings: Settings, dated: frozenset[str]) -> Run | None:
    try:
        if not (RUN.fullmatch(path.name) and Run.has(path, settings)):
            return None
        run = take_run(path)
        path = run.path
        shards = find_finished(path / "shards")
    except (OSError, ValueError, LookupError, TypeError) as error:
        _logger.info("the run in %s cannot be taken up: %s", path, error)
        shutil.rmtree(path, ignore_errors=True)  # by its new name, which the caller does not know
        return None
    # A shard whose folders are not all there any more is walked again.
    kept = [(summary, own) for summary, own in shards if dated.issuperset(own)]
    for summary, own in shards:
        if not dated.issuperset(own):
            shutil.rmtree(summary.path, ignore_errors=True)
    return replace(
        run,
        summaries=[summary for summary, _ in kept],
        finished=frozenset(path for _, own in kept for path in own),
    )
