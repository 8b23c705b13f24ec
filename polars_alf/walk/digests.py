"""Digests of the contents of files, several at a time."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Literal, TypeAlias, get_args

import xxhash

from polars_alf import native
from polars_alf.alf.arguments import check_argument, check_texts
from polars_alf.errors import OptionError
from polars_alf.parallel.executors import wait_for
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.threads import open_threads

Algorithm = Literal["md5", "xxh3_128"]

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

Outcome: TypeAlias = "list[str] | OSError"
"""The digests of a file, or the error of reading it."""

_LONG_PIECE = 1 << 20

_SHORT_PIECE = 1 << 18
"""Bytes of a piece where many files are read at a time: all of them together stay in the cache."""

# A file that became a FIFO since it was listed must not block the run.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_digests(
    digest: Algorithm | Sequence[Algorithm], *, hash_files: bool = False
) -> tuple[Algorithm, ...]:
    """Return the digests to compute, each once; OptionError for one that is unknown."""
    check_argument("hash_files", hash_files, bool)
    given = {*check_texts("digest", digest)}
    if unknown := given - {*ALGORITHMS}:
        raise OptionError(
            f"there is no digest {min(unknown)!r}; give one of {', '.join(ALGORITHMS)}"
        )
    return tuple(name for name in ALGORITHMS if name in given or (hash_files and name == "md5"))


def digest_file(
    path: str, algorithms: Sequence[Algorithm], on_bytes: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Return digests of a file's content, 32 hexadecimal digits each; it is read once.

    `on_bytes` is called with the size of each piece of 1 MiB. Raises OSError where the file cannot
    be read, or is none: a FIFO, say, or a device without an end.
    """
    (outcome,) = digest_files([path], algorithms, on_bytes)
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


def digest_files(
    paths: Sequence[str],
    algorithms: Sequence[Algorithm],
    on_bytes: Callable[[int], None],
    on_files: Callable[[int], None] = lambda _: None,
    *,
    threads: int = 1,
    pacer: Pacer = NO_PACER,
) -> list[Outcome]:
    """Return the digests of files, in their order.

    Parameters
    ----------
    paths
        The first ones are read first: let them be the largest.
    algorithms
        Which digests; each file is read once for all of them.
    on_bytes, on_files
        Called after each few MiB, by one thread at a time, with the bytes that were read and the
        files that were done since the last call. What they raise ends the reading.
    threads
        How many threads read and digest. Each has one file at a time, or one for each lane of MD5
        where that is faster, and up to 8 MiB in memory.
    pacer
        Gives calls to the storage their turns: to open a file, and to read each
        piece of it, of 1 MiB at most.
    """
    outcomes: list[Outcome] = [[]] * len(paths)
    waiting = deque(enumerate(paths))
    most_lanes = native.count_md5_lanes() if "md5" in algorithms else 1
    n_lanes = max(min(most_lanes, len(paths) // threads), 1)
    lock = threading.Lock()
    is_stopped = threading.Event()
    errors: list[BaseException] = []

    def digest() -> None:
        with closing(_Reader(waiting, algorithms, n_lanes, pacer)) as reader:
            for n_bytes, done in reader.read():
                for position, outcome in done:
                    outcomes[position] = outcome
                if is_stopped.is_set():
                    return
                with lock:
                    on_bytes(n_bytes)
                    on_files(len(done))

    def digest_in_thread() -> None:
        try:
            digest()
        except BaseException as error:
            errors.append(error)
            is_stopped.set()

    if threads == 1:
        digest()
        return outcomes
    # After an interrupt, files that are being read end with their next piece.
    with open_threads(threads, is_stopped) as pool:
        for future in [pool.submit(digest_in_thread) for _ in range(threads)]:
            wait_for(future)
    if errors:
        raise errors[0]
    return outcomes


class _File:
    """A file that is being read, and its digests up to now."""

    def __init__(self, position: int, path: str) -> None:
        self.position = position
        self.md5 = native.start_md5()
        self.xxh3 = xxhash.xxh3_128()
        descriptor = os.open(path, _FLAGS)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no file any more", path)
        file = os.fdopen(descriptor, "rb", buffering=0)
        self.read_into = file.readinto
        self.close = file.close

    def finish(self, algorithms: Sequence[Algorithm]) -> list[str]:
        """Return the digests of all that was read."""
        finish = {"md5": native.finish_md5(self.md5).hex, "xxh3_128": self.xxh3.hexdigest}
        return [finish[algorithm]() for algorithm in algorithms]


class _Reader:
    """Read files from those that wait, one at a time or one for each lane.

    While the storage keeps the processor waiting, lanes have nothing to gain, and files are read
    one after the other, as disks do it best.
    """

    def __init__(
        self,
        waiting: deque[tuple[int, str]],
        algorithms: Sequence[Algorithm],
        n_lanes: int,
        pacer: Pacer,
    ) -> None:
        self._waiting = waiting
        self._algorithms = algorithms
        self._n_lanes = n_lanes
        self._pacer = pacer
        self._n_wanted = 1
        self._digest_time = 0.0  # of a byte, without lanes
        self._buffer = memoryview(bytearray(max(_LONG_PIECE, n_lanes * _SHORT_PIECE)))
        self._files: list[_File] = []

    def read(self) -> Iterator[tuple[int, list[tuple[int, Outcome]]]]:
        """Yield how much was read since the last time, and the outcomes of files that are done."""
        while True:
            done = self._open_files()
            if not self._files:
                break
            start = time.perf_counter()
            pieces = self._read_pieces(done)
            between = time.perf_counter()
            self._update(pieces)
            end = time.perf_counter()
            n_bytes = sum(len(piece) for _, piece in pieces)
            if len(pieces) == 1:
                self._digest_time = (end - between) / n_bytes
            if pieces:
                # The wait must be well above what lanes save.
                is_waiting = (between - start) / n_bytes > 2 * self._digest_time
                self._n_wanted = 1 if is_waiting else self._n_lanes
            yield n_bytes, done
        yield 0, done

    def close(self) -> None:
        """Close the files that are not done."""
        for file in self._files:
            file.close()

    def _open_files(self) -> list[tuple[int, Outcome]]:
        """Open as many as are wanted, and return the outcomes of those that cannot be opened."""
        unread: list[tuple[int, Outcome]] = []
        while len(self._files) < self._n_wanted:
            try:
                position, path = self._waiting.popleft()
            except IndexError:
                break
            self._pacer.wait()
            try:
                self._files.append(_File(position, path))
            except OSError as error:
                unread.append((position, error))
        return unread

    def _read_pieces(self, done: list[tuple[int, Outcome]]) -> list[tuple[_File, memoryview]]:
        """Read a piece of each file, and add the outcomes of those that have none."""
        files = self._files[: self._n_wanted]
        size = min(_LONG_PIECE, len(self._buffer) // len(files))
        pieces = []
        for i, file in enumerate(files):
            piece = self._buffer[i * size : (i + 1) * size]
            outcome: Outcome | None = None
            self._pacer.wait()
            try:
                n_bytes = file.read_into(piece)
            except OSError as error:
                outcome = error
            else:
                if n_bytes:
                    pieces.append((file, piece[:n_bytes]))
                else:
                    outcome = file.finish(self._algorithms)
            if outcome is not None:
                done.append((file.position, outcome))
                self._files.remove(file)
                file.close()
        return pieces

    def _update(self, pieces: list[tuple[_File, memoryview]]) -> None:
        if "md5" in self._algorithms:
            native.update_md5s([file.md5 for file, _ in pieces], [piece for _, piece in pieces])
        if "xxh3_128" in self._algorithms:
            for file, piece in pieces:
                file.xxh3.update(piece)
