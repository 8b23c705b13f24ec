"""Digests of the contents of objects, which are streamed: many at a time, large ones in ranges."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import xxhash

from polars_alf import native
from polars_alf.bucket.keys import TRIES, pause
from polars_alf.bucket.service import Failure, Service, classify_failure, open_store
from polars_alf.parallel.pacer import NO_PACER, Pacer

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

BYTES_PER_REQUEST = 8 << 20
"""Bytes of a range. With `RANGES` of them in memory, requests are long and memory is bounded."""

RANGES = 16
"""Ranges that are asked for, or wait to be digested, at once."""

_RANGES_AHEAD = 4
"""Ranges of one object among them."""

_REPLACED = "it was replaced while it was read"

_LASTING = ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "TokenRefreshRequired")


_Result = TypeVar("_Result")


class _RangesError(Exception):
    """A service answers requests for ranges with something else."""


class _ShortError(Exception):
    """An answer has fewer bytes than its object, or its range, though it says that it is whole."""


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
            # Digests cannot go back: where there are no ranges, what is cut short is begun again.
            return await self._try(lambda: self._digest(algorithms, self._read_whole()))

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
            raise _ShortError
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
        async def read() -> memoryview:
            options: GetOptions = {"range": (start, start + BYTES_PER_REQUEST)}
            if self._tag is not None:
                options["if_match"] = self._tag
            async with self._slots:
                try:
                    found = await self._ask(options)
                except Exception as error:
                    if _is_about_ranges(error):
                        raise _RangesError from None
                    raise
                if not start:
                    self._size, self._tag = found.meta["size"], found.meta["e_tag"]
                elif found.meta["e_tag"] != self._tag:  # some services do not heed if_match
                    raise self._make_error(errno.ESTALE, _REPLACED)
                piece = memoryview(await found.bytes_async())
            if len(piece) != min(BYTES_PER_REQUEST, self._size - start):
                raise _ShortError
            return piece

        return await self._try(read)

    async def _read_whole(self) -> AsyncIterator[memoryview]:
        import obstore

        async with self._slots:
            # Its size by itself: an answer that is cut short may tell of no more than it has.
            await self._pacer.wait_for_request()
            self._size = (await obstore.head_async(self._store, self._path))["size"]
            found = await self._ask({})
            async for piece in found.stream(min_chunk_size=1 << 20):
                yield memoryview(piece)

    async def _ask(self, options: GetOptions) -> GetResult:
        import obstore

        await self._pacer.wait_for_request()
        return await obstore.get_async(self._store, self._path, options=options)

    async def _try(self, request: Callable[[], Awaitable[_Result]]) -> _Result:
        """Return what a request gives, which is made again where its answer is cut short."""
        for n_tries in range(1, TRIES + 1):
            try:
                return await request()
            except _RangesError:
                raise
            except Exception as error:
                await self._check(error, n_tries)
        raise AssertionError

    async def _check(self, error: Exception, n_tries: int) -> None:
        """Wait before the next try, or raise OSError of the object, or the error of the service."""
        if isinstance(error, OSError) and error.errno == errno.ESTALE:
            raise error
        if type(error).__name__ == "PreconditionError":
            raise self._make_error(errno.ESTALE, _REPLACED) from None
        failure, reason = classify_failure(error)
        if failure is Failure.NOT_FOUND:
            raise self._make_error(errno.ENOENT, "it is gone since it was listed") from None
        is_lasting = failure is Failure.BUSY or any(code in reason for code in _LASTING)
        if is_lasting:
            raise self._service.explain(error, "be read") from None
        if failure is Failure.DENIED or n_tries == TRIES:
            number = errno.EACCES if failure is Failure.DENIED else errno.EIO
            raise self._make_error(number, reason) from None
        await pause(n_tries)

    def _make_error(self, number: int, reason: str) -> OSError:
        return OSError(number, reason, self._path)


def _is_about_ranges(error: Exception) -> bool:
    """Whether a range of an empty object is refused, or a service has sent all of another."""
    text = str(error)
    if "Error performing" in text:  # with an address, which may have these words
        return "status: 416" in text
    reason = text.partition("\n")[0].lower()
    return "partial" in reason or "range" in reason
