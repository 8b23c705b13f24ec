"""The folder of a run under way, which outlives a run that is killed.

What decides about the rows is written down when a run begins. A later run that is about to do the
same goes on in that folder with the shards that were finished; any other begins afresh.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from polars_alf.errors import PolarsAlfError
from polars_alf.tables.files import RUN, STATE_DIR
from polars_alf.walk.shard_files import Receipt, find_finished

Settings: TypeAlias = Mapping[str, object]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """A run and what was finished of it before it began.

    Parameters
    ----------
    path
        Its folder.
    namespace
        What UUIDs are made in.
    begun
        When it began first; local time.
    receipts
        Of the finished shards.
    finished
        Their units.
    """

    path: Path
    namespace: uuid.UUID
    begun: datetime
    receipts: list[Receipt]
    finished: frozenset[str]

    @property
    def generation(self) -> str:
        """Name of the tables that it makes."""
        return self.path.name.removeprefix("run-")

    @property
    def shards(self) -> Path:
        """Folder for the shards' rows."""
        return self.path / "shards"


def open_run(
    folder: Path,
    settings: Settings,
    namespace: uuid.UUID,
    units: Iterable[str],
    *,
    restart: bool = False,
) -> Run:
    """Go on with an interrupted run of the same settings, or begin one. Under the state's lock.

    Parameters
    ----------
    folder
        Folder of the tables.
    settings
        All that decides about the rows of a shard but its files, in values that JSON has.
    namespace
        What UUIDs are made in, unless the interrupted run has one.
    units
        All that there are now.
    restart
        Whether to begin afresh in any case.
    """
    state = folder / STATE_DIR
    resumed = None
    for path in [*state.glob("run-*")]:
        if not (restart or resumed):
            resumed = _resume(path, settings, frozenset(units))
        if not resumed or resumed.path != path:
            shutil.rmtree(path, ignore_errors=True)
    if resumed:
        return resumed
    path = state / f"run-{uuid.uuid4().hex}"
    run = Run(path, namespace, datetime.now(), [], frozenset())
    run.shards.mkdir(parents=True)
    values = {"settings": settings, "namespace": str(namespace), "begun": run.begun.isoformat()}
    (path / "run.json").write_text(json.dumps(values), encoding="utf-8")
    return run


@contextlib.contextmanager
def discarded_on_error(run: Run) -> Iterator[None]:
    """Remove a run whose shards turn out not to be what they should be: none can be relied on."""
    try:
        yield
    except PolarsAlfError:
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def _resume(path: Path, settings: Settings, units: frozenset[str]) -> Run | None:
    try:
        if not RUN.fullmatch(path.name):
            raise ValueError(f"{path.name!r} is no run's folder")
        values = json.loads((path / "run.json").read_text(encoding="utf-8"))
        if values["settings"] != json.loads(json.dumps(settings)):
            return None
        namespace = uuid.UUID(values["namespace"])
        begun = datetime.fromisoformat(values["begun"])
        # Workers of the run that was interrupted may still be at it: under another name, the folder
        # is out of their reach.
        path = path.rename(path.with_name(f"run-{uuid.uuid4().hex}"))
        shards = find_finished(path / "shards")
    except (OSError, ValueError, LookupError, TypeError) as error:
        _logger.info("the run in %s cannot be taken up: %s", path, error)
        shutil.rmtree(path, ignore_errors=True)  # by its new name, which the caller does not know
        return None
    # A shard whose folders are not all there any more is walked again.
    kept = [(receipt, own) for receipt, own in shards if units.issuperset(own)]
    for receipt, own in shards:
        if not units.issuperset(own):
            shutil.rmtree(receipt.path, ignore_errors=True)
    return Run(
        path=path,
        namespace=namespace,
        begun=begun,
        receipts=[receipt for receipt, _ in kept],
        finished=frozenset(unit for _, own in kept for unit in own),
    )
