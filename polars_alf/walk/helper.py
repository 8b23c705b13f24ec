"""A thread that lists directories ahead of a visit, and what it tells of its work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from operator import sub

from polars_alf.native.effort import make_steps
from polars_alf.walk.directory import Directory


class Helper(threading.Thread):
    """A thread that calls a function, which lists directories.

    Attributes
    ----------
    directory : Directory or None
        The directory that it lists now.
    steps : array
        The calls since it began, and how long it waited for their turns: as long as one of both
        rises it is not hung. And its effort. See `native.twin.list_directories`.
    work : tuple
        Seconds of work on what it has finished, and when it began what it is at, if anything.
    """

    def __init__(self, serve: Callable[[Helper], None]) -> None:
        super().__init__(name="polars_alf-lists-ahead", daemon=True)
        self.directory: Directory | None = None
        self.steps = make_steps()
        self.work: tuple[float, float | None] = 0.0, None
        self._seen = (0, 0)
        self._seen_work = 0.0
        self._seen_effort = (0, 0)
        self.since = time.monotonic()
        self.is_dismissed = False
        self._serve = serve

    def run(self) -> None:
        """Call the function."""
        self._serve(self)

    def begin(self, directory: Directory) -> None:
        """Begin work on a directory."""
        self.work = self.work[0], time.monotonic()
        self.directory = directory

    def finish(self) -> None:
        """End the work that was begun."""
        done, begun = self.work
        self.directory = None
        if begun is not None:
            # In one go, as another thread looks on.
            self.work = done + time.monotonic() - begun, None

    def look_at(self, now: float) -> tuple[int, float, float]:
        """Return what came since the last look: calls, seconds of work, and those of waiting.

        Notes when it last made a call, or waited for its turn.
        """
        before, self._seen = self._seen, (self.steps[0], self.steps[2])
        if self._seen != before or self.directory is None:
            self.since = now
        done, begun = self.work
        work = done if begun is None else done + now - begun
        seconds, self._seen_work = work - self._seen_work, work
        n_calls, waited = (new - old for new, old in zip(self._seen, before, strict=True))
        return n_calls, seconds, waited / 1e9

    def take_effort(self) -> tuple[float, float]:
        """Return what came since the last look: seconds of work in calls, and those blocked."""
        before, self._seen_effort = self._seen_effort, (self.steps[4], self.steps[5])
        work, blocked = map(sub, self._seen_effort, before)
        return work / 1e9, blocked / 1e9

    def has_moved(self) -> bool:
        """Whether it made a call since the last look, or waited for its turn."""
        return (self.steps[0], self.steps[2]) != self._seen
