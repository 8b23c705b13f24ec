"""Digests of the contents of objects, which are streamed: many at a time, large ones in ranges."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import xxhash

from polars_alf import native
from polars_alf.bucket.keys import TRIES, pause
from polars_alf.bucket.service import Failure, Service, classify_failure, open_store
from polars_alf.parallel.pacer import NO_PACER, Pacer

BYTES_PER_REQUEST = 8 << 20
"""Bytes of a range. With `RANGES` of them in memory, requests are long and memory is bounded."""

RANGES = 16
"""Ranges that are asked for, or wait to be digested, at once."""

_RANGES_AHEAD = 4
"""Ranges of one object among them."""

_LASTING = ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "TokenRefreshRequired")


class _RangesError(Exception):
    """A service answers requests for ranges with something else."""


async def digest_objects(
    service: Service,
    paths: Sequence[str],
    algorithms: Sequence[str],
    on_bytes: Callable[[int], None],
    on_files: Callable[[int], None],
    pacer: Pacer = NO_PACER,
) -> list[list[str] | OSError]:
    """Return the digests of objects, or why one cannot be read, in their order.

    Parameters
    ----------
    service
        Of their bucket.
    paths
        Paths relative to the bucket.
    algorithms
        ``md5`` and ``xxh3_128``; each object is read once for all of them.
    on_bytes, on_files
        Called with the bytes that were read, and the objects that were done, since the last call.
        What they raise ends the reading.
    pacer
        Gives requests their turns.

    Raises the errors of `Service.explain` where the service answers no request any more.
    """
    outcomes: list[list[str] | OSError] = [[]] * len(paths)
    waiting = deque(enumerate(paths))
    slots = asyncio.Semaphore(RANGES)

    async def serve() -> None:
        while waiting:
            position, path = waiting.popleft()
            reader = _Reader(service, path, slots, on_bytes, pacer)
            try:
                outcomes[position] = await reader.digest(algorithms)
            except OSError as error:
                outcomes[position] = error
            on_files(1)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(RANGES, len(paths))):
                group.create_task(serve())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return outcomes


class _Reader:
    """Read one object."""

    def __init__(
        self,
        service: Service,
        path: str,
        slots: asyncio.Semaphore,
        on_bytes: Callable[[int], None],
        pacer: Pacer,
    ) -> None:
        self._service = service
        self._store = open_store(service)
        self._path = path
        self._slots = slots
        self._on_bytes = on_bytes
        self._pacer = pacer
        self._size = 0
        self._tag: str | None = None

    async def digest(self, algorithms: Sequence[str]) -> list[str]:
        """Return digests; OSError where the object cannot be read."""
        try:
            return await self._digest(algorithms, self._read_ranges())
        except _RangesError:
            return await self._digest(algorithms, self._read_whole())

    async def _digest(
        self, algorithms: Sequence[str], pieces: AsyncIterator[memoryview]
    ) -> list[str]:
        md5, xxh3 = native.start_md5(), xxhash.xxh3_128()

        def update(piece: memoryview) -> None:
            if "md5" in algorithms:
                native.update_md5s([md5], [piece])
            if "xxh3_128" in algorithms:
                xxh3.update(piece)

        n_bytes = 0
        async for piece in pieces:
            await asyncio.to_thread(update, piece)
            n_bytes += len(piece)
            self._on_bytes(len(piece))
        if n_bytes != self._size:
            raise OSError(errno.EIO, f"{n_bytes:,} of {self._size:,} bytes were sent", self._path)
        finish = {"md5": native.finish_md5(md5).hex, "xxh3_128": xxh3.hexdigest}
        return [finish[algorithm]() for algorithm in algorithms]

    async def _read_ranges(self) -> AsyncIterator[memoryview]:
        ahead: deque[asyncio.Task[memoryview]] = deque()
        try:
            yield await self._read_range(0)
            start = BYTES_PER_REQUEST
            while ahead or start < self._size:
                while start < self._size and len(ahead) < _RANGES_AHEAD:
                    ahead.append(asyncio.create_task(self._read_range(start)))
                    start += BYTES_PER_REQUEST
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()

    async def _read_range(self, start: int) -> memoryview:
        import obstore

        options: dict[str, object] = {"range": (start, start + BYTES_PER_REQUEST)}
        if self._tag is not None:
            options["if_match"] = self._tag
        for n_tries in range(1, TRIES + 1):
            try:
                async with self._slots:
                    await self._pacer.wait_for_request()
                    found = await obstore.get_async(
                        self._store,
                        self._path,
                        options=options,  # type: ignore[arg-type]
                    )
                    piece = memoryview(await found.bytes_async())
                    if not start:
                        self._size, self._tag = found.meta["size"], found.meta["e_tag"]
                    return piece
            except Exception as error:
                text = str(error)
                # A range of an empty object is refused; some servers send all of any.
                if "status: 416" in text or "artial" in text or "range" in text.lower():
                    raise _RangesError from None
                await self._check(error, n_tries)
        raise AssertionError

    async def _read_whole(self) -> AsyncIterator[memoryview]:
        import obstore

        async with self._slots:
            for n_tries in range(1, TRIES + 1):
                is_begun = False
                await self._pacer.wait_for_request()
                try:
                    found = await obstore.get_async(self._store, self._path)
                    self._size = found.meta["size"]
                    async for piece in found.stream(min_chunk_size=1 << 20):
                        is_begun = True
                        yield memoryview(piece)
                    return
                except Exception as error:
                    # Digests cannot go back, and there are no ranges to go on with.
                    await self._check(error, TRIES if is_begun else n_tries)

    async def _check(self, error: Exception, n_tries: int) -> None:
        """Wait before the next try, or raise OSError of the object, or the error of the service."""
        if type(error).__name__ == "PreconditionError":
            raise OSError(errno.ESTALE, "it was replaced while it was read", self._path) from None
        failure, reason = classify_failure(error)
        if failure is Failure.NOT_FOUND:
            raise OSError(errno.ENOENT, "it is gone since it was listed", self._path) from None
        is_lasting = failure is Failure.BUSY or any(code in reason for code in _LASTING)
        if is_lasting:
            raise self._service.explain(error, "be read") from None
        if failure is Failure.DENIED or n_tries == TRIES:
            number = errno.EACCES if failure is Failure.DENIED else errno.EIO
            raise OSError(number, reason, self._path) from None
        await pause(n_tries)
