"""The standard streams: one that is closed, a pipe that nobody reads, a disk that is full.

It loads nothing heavy: the command asks before all else.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

ESCAPE = "polars_alf_escape"
r"""The error handler of streams: characters that an encoding lacks are written as ``\uNNNN``."""


def escape(error: UnicodeError) -> tuple[str, int]:
    r"""Return characters that a stream's encoding lacks as ``\uNNNN``, which JSON can hold too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


class StdoutError(Exception):
    """Results could not be written to stdout.

    No OSError: what handles those of storage, as Click and we do, must not take it for one.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.strerror or str(cause))
        # Windows has EINVAL for a pipe whose other end is closed.
        broken = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)
        self.is_broken_pipe = cause.errno in broken


def open_closed_streams() -> None:
    """Open the null device for each standard stream that the caller has closed.

    Else the first files that are opened would take their places, and get what is printed.
    """
    # Where all are open the null device need not be there: a container may have no /dev.
    if all(map(_is_open, range(3))) and None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    # The system gives the lowest number that is free; the children of this process inherit it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def guard_streams() -> None:
    """Make stdout raise StdoutError, and stderr drop what cannot be written.

    A run goes on without messages, as with those of a progress bar that nobody looks at any more.
    """
    sys.stdout = _wrap(sys.stdout, _Results)
    sys.stderr = _wrap(sys.stderr, _Messages)


def abandon_stdout() -> None:
    """Drop what is still to be written to stdout, which Python would write at its end."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        # A container without /dev: a pipe takes more than is still buffered.
        _, null = os.pipe()
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


@contextmanager
def keeping_errors(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a stream for Polars, and raise the stream's own error in place of what it makes of it.

    Polars has a text for it, in an error of its own that may also speak of the tables.
    """
    sink = _Sink(stream)
    try:
        yield cast("BinaryIO", sink)
    except Exception:
        if sink.error:
            raise sink.error from None
        raise


class _Sink(io.RawIOBase):
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return self._stream.write(data)
        except Exception as error:
            self.error = error
            raise


class _Guard(io.RawIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream  # which would close what it is made of
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)  # none where it is unbuffered

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def write_some(self, data: Any) -> int:
        while (written := self._raw.write(data)) is None:
            # Another program that shares the stream has set it not to wait.
            select.select([], [self], [])
        return int(written)


class _Results(_Guard):
    def write(self, data: Any) -> int:
        try:
            return self.write_some(data)
        except OSError as error:
            raise StdoutError(error) from None


class _Messages(_Guard):
    def write(self, data: Any) -> int:
        try:
            return self.write_some(data)
        except OSError:
            return len(data)


class _Unbuffered(io.BufferedWriter):
    """A writer that holds nothing back, yet repeats a write of which a part was taken."""

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.flush()
        return written


def _wrap(stream: TextIO, guard: type[_Guard]) -> TextIO:
    stream.flush()
    # As with PYTHONUNBUFFERED, which containers and batch systems set.
    is_unbuffered = getattr(stream, "write_through", False)
    writer = _Unbuffered if is_unbuffered else io.BufferedWriter
    return io.TextIOWrapper(
        writer(guard(stream)),
        encoding=stream.encoding,
        # A name that the terminal's encoding lacks must not end the run.
        errors=ESCAPE,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=is_unbuffered,
    )
