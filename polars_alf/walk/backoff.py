"""Fewer calls under way while the storage is crowded, by us or by others.

By Little's law, the threads that wait are the rate of calls times their latency: so the latency
follows from what is counted anyway. Where it has risen to several times what it was, half of the
threads stop. If the latency falls, the calls had only queued: the others stay away until it is low
again, and then come back little by little, as TCP does (additive increase, multiplicative
decrease). If it does not, the storage is slower for a reason that fewer calls do not change, and
all come back at once.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

PERIOD_SECONDS = 0.5
"""Time that one measurement spans. Periods begin at the same moments in all processes, so that
workers that know nothing of each other try fewer threads at the same time."""

HIGH = 2.5
"""Factor by which the latency must rise above the lowest for threads to stop."""

LOW = 1.5
"""Factor below which they come back soon."""

STEP = 1 / 16
"""Share of the threads that comes back with each period."""

SLOW_STEP = 1 / 128
"""The same while the latency is between the two: perhaps that is what it always is by now."""

LEAST_LATENCY = 0.0002
"""Seconds below which a lowest latency is not told from a busy processor."""

MOST_BUSY = 0.4
"""Share of the processors at work from which calls may have waited for these."""

LEAST_CALLS = 20
"""Calls below which a period goes on: few tell nothing."""

PERIODS_TO_SETTLE = 4
"""Most periods to wait for half of the threads to end what they are at."""

PERIODS_OF_REST = 10
"""Periods without another trial after one in vain; twice as many after each further one."""

MOST_PERIODS_OF_REST = 640

_SETTLED = 0.75
"""Share of the threads of before at which half of them have stopped, about."""


@dataclass(slots=True)
class _Trial:
    """State before half of the threads were stopped."""

    n_threads: float
    latency: float
    share: float
    n_left: int = PERIODS_TO_SETTLE


class Backoff:
    """Share of the threads that may have calls under way, for all walks of one archive.

    Attributes
    ----------
    share : float
        From 1, for all of the threads that the storage would be given, down.
    """

    def __init__(self) -> None:
        self.share = 1.0
        self._base = math.inf  # the lowest latency, of one call, in seconds
        self._trial: _Trial | None = None
        self._n_rests = 0
        self._next_rests = PERIODS_OF_REST
        self._lock = threading.Lock()
        self._last_count = -math.inf
        self._restart(0.0)

    @property
    def is_active(self) -> bool:
        """Whether there are fewer threads than the storage would be given."""
        return self.share < 1

    def learn_alone(self, latency: float) -> None:
        """Learn the latency, in seconds, from calls that were made one after the other."""
        with self._lock:
            self._base = min(self._base, max(latency, LEAST_LATENCY))

    def count(self, n_calls: int, waited: float, n_processors: int) -> bool:
        """Count calls, and the seconds that threads spent on them; return whether threads stop now.

        A period in which the processors were busy tells nothing of the storage.
        """
        with self._lock:
            now = time.perf_counter()
            if now - self._last_count > 2 * PERIOD_SECONDS:
                self._restart(now)
            self._last_count = now
            self._n_calls += n_calls
            self._waited += waited
            seconds = now - self._start
            n_threads = self._waited / seconds if seconds > 0 else 0.0
            is_over = int(time.time() / PERIOD_SECONDS) != self._period
            if not is_over or self._n_calls < LEAST_CALLS + 2 * n_threads:
                return False
            busy = (time.process_time() - self._work) / seconds / n_processors
            latency = self._waited / self._n_calls
            self._restart(now)
            return self.judge(n_threads, latency if busy < MOST_BUSY else 0.0)

    def judge(self, n_threads: float, latency: float) -> bool:
        """Set the share after a period; return whether threads were stopped for good reason.

        `n_threads` had calls under way, on average, each of which took `latency` seconds; 0 where
        the storage kept none of them waiting.
        """
        self._n_rests = max(self._n_rests - 1, 0)
        trial = self._trial
        if trial:
            if n_threads > _SETTLED * trial.n_threads:
                trial.n_left -= 1
                if not trial.n_left:  # their number was growing: this has shown nothing
                    self._trial, self.share = None, trial.share
                return False
            self._trial = None
            if not latency:
                self.share = trial.share
                return False
            # Half way between a queue of our own, where the latency falls as the number of threads
            # does, and calls that nobody waits behind, where it stays.
            if latency <= trial.latency * math.sqrt(n_threads / trial.n_threads):
                self._next_rests = PERIODS_OF_REST
                return True
            self.share = trial.share
            self._base = max(latency, LEAST_LATENCY)
            self._n_rests = self._next_rests
            self._next_rests = min(2 * self._next_rests, MOST_PERIODS_OF_REST)
            return False
        if latency:
            self._base = min(self._base, max(latency, LEAST_LATENCY))
        # Half of fewer than two is none.
        if latency > HIGH * self._base and n_threads >= 2 and not self._n_rests:
            self._trial = _Trial(n_threads, latency, self.share)
            self.share /= 2
        elif latency <= HIGH * self._base:
            step = STEP if latency < LOW * self._base else SLOW_STEP
            self.share = min(self.share + step, 1.0)
        return False

    def _restart(self, now: float) -> None:
        self._start = now
        self._period = int(time.time() / PERIOD_SECONDS)
        self._work = time.process_time()
        self._n_calls = 0
        self._waited = 0.0
