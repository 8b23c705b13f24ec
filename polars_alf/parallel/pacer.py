"""A limit on the rate of calls to the storage, for all threads of a process together."""

from __future__ import annotations

import math
from array import array
from typing import Any

from polars_alf import native
from polars_alf.errors import OptionError
from polars_alf.native.effort import make_steps
from polars_alf.native.twin_pacer import wait_for_turn

BURST_SECONDS = 0.01
"""Time that a caller may be late and catch up: sleeping takes longer than it is told to."""

_MOST_SECONDS = 1e6
"""Time between two calls at most, so that 64 bits hold the turns of many."""


class Pacer:
    """Give calls to the storage their turns, so that they keep to a rate.

    Turns are booked one by one, by the functions in C as well: whatever the number of threads, n
    calls take at least n / rate seconds, but for `BURST_SECONDS`.

    Parameters
    ----------
    max_rate
        Calls a second; None makes no call wait.

    Attributes
    ----------
    turns : array or None
        What `native.book_calls` and the functions that list take as a pacer.
    """

    def __init__(self, max_rate: float | None = None) -> None:
        self.max_rate = max_rate
        self.turns: array[int] | None = None
        if max_rate is not None:
            interval = min(1 / max_rate, _MOST_SECONDS)
            self.turns = array("q", [0, round(interval * 1e9), 0])
            native.book_calls(self.turns, 0)  # the first turn is now
            self.turns[2] = round(BURST_SECONDS * 1e9)

    def __reduce__(self) -> tuple[Any, ...]:
        # The clock of another machine is another one.
        return Pacer, (self.max_rate,)

    def divide(self, n_workers: int) -> Pacer:
        """Return the pacer of each of some workers that share nothing but the rate."""
        return self if self.max_rate is None else Pacer(self.max_rate / n_workers)

    def wait(self, n_calls: int = 1, steps: array[int] | None = None) -> None:
        """Wait until calls may be made; `steps` are as for `native.twin.list_directories`."""
        steps = make_steps() if steps is None else steps
        steps[0] += n_calls
        wait_for_turn(native.book_calls(self.turns, n_calls) if self.turns else 0, steps)

    async def wait_for_request(self) -> None:
        """Wait until a request may be made."""
        if self.turns:
            import asyncio  # a tenth of the time that a walk without requests takes to start

            await asyncio.sleep(native.book_calls(self.turns, 1) / 1e9)


NO_PACER = Pacer()
"""Makes no call wait."""


def check_max_rate(max_rate: float | None) -> None:
    """Raise OptionError for a rate that is not above 0."""
    if max_rate is not None and not 0 < max_rate < math.inf:
        raise OptionError(
            f"the rate is {max_rate:g} calls a second; give a number above 0, or leave it out, to "
            "make calls as fast as they are answered"
        )
