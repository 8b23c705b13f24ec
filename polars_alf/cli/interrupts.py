"""Interrupts: at any moment of a command, one line and the exit code 130."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130

_PATIENCE_SECONDS = 0.5

_LATER_SECONDS = 0.01

_AGAIN_SECONDS = 0.2


class _Interrupts:
    state = "nothing was begun"
    first: float | None = None  # when the first one came
    is_over = False  # none is heeded any more


_interrupts = _Interrupts()


def leave(state: str) -> None:
    """Say in what state an interrupt leaves things from now on."""
    _interrupts.state = state


@contextmanager
def ending_on_interrupt(tell: Callable[[str], None]) -> Iterator[None]:
    """Turn an interrupt, for which Typer ends with a code alone, into one line and its code.

    One that comes when the command has ended is not heeded any more.
    """
    # Where a shell has put the command in the background, interrupts are not for it.
    is_heeded = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if is_heeded:
        signal.signal(signal.SIGINT, _interrupt)
    # As an interrupt, so that workers end with this process.
    signal.signal(signal.SIGTERM, _interrupt)
    code: object = 0
    _interrupts.is_over = False
    try:
        try:
            yield
        finally:
            _stop(is_heeded=is_heeded)
    except KeyboardInterrupt:
        _stop(is_heeded=is_heeded)  # one may have come before the first of these had begun
        code = EXIT_INTERRUPTED
    except SystemExit as end:
        code = end.code
    if code == EXIT_INTERRUPTED:
        tell(f"interrupted; {_interrupts.state}")
        # Python ends by the signal if the interrupt came through code that was given as a text, as
        # dataclasses have it, however it was handled since: until there is another such text.
        exec("")
    if code:
        sys.exit(code)  # type: ignore[arg-type]


def _stop(*, is_heeded: bool) -> None:
    """Heed no interrupt any more, nor the repetition of one that is on its way."""
    _interrupts.is_over = True
    if is_heeded:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but rather not where Polars has called Python: it panics at it.

    Where a finalizer or a callback of a library swallows it, it is raised again.
    """
    if _interrupts.is_over:
        return
    now = time.monotonic()
    _interrupts.first = _interrupts.first or now
    is_early = now - _interrupts.first < _PATIENCE_SECONDS
    if hasattr(signal, "setitimer"):
        is_again = number == signal.SIGALRM
        signal.signal(signal.SIGALRM, _interrupt)
        if is_early and _is_in_polars(frame):
            signal.setitimer(signal.ITIMER_REAL, _LATER_SECONDS)
            return
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        if is_again and _is_being_heeded():
            return
    raise KeyboardInterrupt


def _is_being_heeded() -> bool:
    """Whether what runs cleans up after an interrupt."""
    error = sys.exception()
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _is_in_polars(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "polars":
            return True
        frame = frame.f_back
    return False
