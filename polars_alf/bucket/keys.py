"""The keys of a bucket as frames: one level of folders, or all below some folders.

A service lists a thousand keys a request, in their order. Folders beside each other are listed as
one run of keys, not one by one; while there are requests to spare, the rest of a run is cut in two.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import join
from polars_alf.bucket.raw_keys import KEYS, Level, is_plain, read_raw_level, read_raw_page
from polars_alf.bucket.service import Failure, Service, classify_failure, open_store
from polars_alf.errors import PolarsAlfError, ScanError
from polars_alf.parallel.pacer import NO_PACER, Pacer

KEYS_PER_REQUEST = 1000

TRIES = 5
"""Times to ask for what was cut short each time."""

_FIRST_PAUSE = 0.1
"""Seconds before the second try; each next pause is twice as long."""

_AFTER_SLASH = "0"
"""The character that comes next after the slash, in the order of keys."""


@dataclass(slots=True)
class Listed:
    """The keys below some folders.

    Parameters
    ----------
    frames
        With the columns KEYS; keys that are no paths are in `odd`.
    odd
        Keys that are no paths.
    unread
        Folders that could not be listed to their end, and why.
    may_repeat
        Whether a key may be there twice.
    """

    frames: list[pl.DataFrame] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    may_repeat: bool = False


class _UnorderedError(Exception):
    """A service does not list keys in their order."""


async def list_level(service: Service, folder: str, pacer: Pacer = NO_PACER) -> Level:
    """List a folder, whose path is relative to the archive, without what lies in folders in it."""
    store = open_store(service)
    import obstore

    path = service.locate(folder)
    for n_tries in range(1, TRIES + 1):
        await pacer.wait_for_request()
        try:
            found = await obstore.list_with_delimiter_async(store, path or None, return_arrow=True)
        except obstore.exceptions.InvalidPathError:
            if service.address.scheme != "s3":
                raise ScanError(
                    f"{service.address} cannot be listed: a key in {folder or 'it'} is no path, as "
                    "one with // in it; rename that object"
                ) from None
            return await asyncio.to_thread(read_raw_level, service, path)
        except Exception as error:
            if n_tries == TRIES or classify_failure(error)[0] is not Failure.BROKEN:
                raise service.explain(error) from None
            await pause(n_tries)
        else:
            # Not by `pyarrow.table`, which imports pandas to see whether it is given a frame.
            keys = pl.DataFrame(found["objects"]).cast(KEYS)
            names = [prefix.rpartition("/")[2] for prefix in found["common_prefixes"]]
            if "" in names:  # of keys that begin with a slash, in the bucket itself
                if service.address.scheme == "s3":
                    return await asyncio.to_thread(read_raw_level, service, path)
                names.remove("")
            return Level(names, keys.filter(pl.col("path") != path), [])
    raise AssertionError


async def has_keys(service: Service) -> bool:
    """Whether there is any key in an archive; raises the errors of `Service.explain`."""
    store = open_store(service)
    import obstore

    folder = service.address.folder
    for n_tries in range(1, TRIES + 1):
        stream = obstore.list(store, folder or None, return_arrow=True)
        try:
            async for batch in stream:
                return bool(batch.num_rows)
        except obstore.exceptions.InvalidPathError:
            return True
        except Exception as error:
            if n_tries == TRIES or classify_failure(error)[0] is not Failure.BROKEN:
                raise service.explain(error) from None
            await pause(n_tries)
        else:
            return False
    raise AssertionError


async def list_below(
    service: Service, folders: Sequence[str], n_requests: int, pacer: Pacer = NO_PACER
) -> Listed:
    """List all keys below folders, none of which lies in another, with so many requests at once.

    Raises the errors of `Service.explain` where no request will be answered, or the service has
    answered none for long.
    """
    lister = _Lister(service, n_requests, pacer)
    try:
        async with asyncio.TaskGroup() as group:
            split = sorted(folder.rpartition("/")[::2] for folder in folders)
            for above, run in groupby(split, key=itemgetter(0)):
                names = sorted((name for _, name in run), key=_end_folder)
                lister.begin(_Run(above, names), group)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return lister.found


class _Run:
    """Folders beside each other that are still to list, in the order of the keys below them.

    Attributes
    ----------
    above
        The folder that they lie in, relative to the archive.
    names, done
        Their names: of those that are still to list, and of the others.
    is_whole
        Whether it is all that lies in one folder.
    last
        The last key that was listed, "" before the first.
    is_ordered
        Whether keys were listed in their order.
    """

    def __init__(self, above: str, names: list[str]) -> None:
        self.above = above
        self.names = names
        self.done: list[str] = []
        self.is_whole = len(names) == 1
        self.last = ""
        self.is_ordered = True

    @property
    def folders(self) -> list[str]:
        """The folders that are still to list, relative to the archive."""
        return [join(self.above, name) for name in self.names]

    def finish(self, below: str) -> None:
        """Move on to the folder that a key, relative to the folder above, lies in or before."""
        if self.is_whole:
            return
        n_done = bisect_left(self.names, below, key=lambda name: name + _AFTER_SLASH)
        self.done += self.names[:n_done]
        del self.names[:n_done]

    def split(self) -> _Run | None:
        """Hand on the second half of the folders, None where there are too few."""
        if len(self.names) < 3:
            return None
        half = (len(self.names) + 1) // 2
        rest = self.names[half:]
        del self.names[half:]
        return _Run(self.above, rest)


class _Lister:
    """List runs, several at a time."""

    def __init__(self, service: Service, n_requests: int, pacer: Pacer) -> None:
        self.found = Listed()
        self._service = service
        self._store = open_store(service)
        self._pacer = pacer
        self._free = asyncio.Semaphore(n_requests)

    def begin(self, run: _Run, group: asyncio.TaskGroup) -> None:
        """Have a run listed."""
        group.create_task(self._serve(run, group))

    async def _serve(self, run: _Run, group: asyncio.TaskGroup) -> None:
        async with self._free:
            frames: list[pl.DataFrame] = []
            n_tries = 0
            while True:
                before = run.last
                try:
                    async for frame in self._read_pages(run):
                        frames.append(frame)
                        rest = None if self._free.locked() else run.split()
                        if rest:
                            self.begin(rest, group)
                    break
                except _UnorderedError:
                    frames.clear()
                    for name in [*run.done, *run.names]:
                        self.begin(_Run(run.above, [name]), group)
                    return
                except PolarsAlfError:
                    raise
                except Exception as error:
                    failure, reason = classify_failure(error)
                    if failure is not Failure.BROKEN:
                        raise self._service.explain(error) from None
                    n_tries = 1 if run.last > before else n_tries + 1
                    if n_tries == TRIES:
                        message = f"listing stopped: {reason}; see to the service, and index again"
                        self.found.unread |= dict.fromkeys(run.folders, message)
                        break
                    if not run.is_ordered:
                        frames.clear()
                    self.found.may_repeat = True
                    await pause(n_tries)
            self.found.frames += frames

    async def _read_pages(self, run: _Run) -> AsyncIterator[pl.DataFrame]:
        """Yield the keys that are left of a run, page by page."""
        import obstore

        prefix = self._service.locate(run.folders[0] if run.is_whole else run.above)
        while run.names:
            start = run.last
            if not start and not run.is_whole:
                start = self._service.locate(run.folders[0])
            pages = obstore.list(
                self._store,
                prefix or None,
                offset=start or None,
                chunk_size=KEYS_PER_REQUEST,
                return_arrow=True,
            )
            try:
                async for batch in self._pace(pages):
                    page = pl.DataFrame(pa.record_batch(batch))
                    yield self._take(run, page, prefix)
                    if not run.names:
                        return
                return
            except obstore.exceptions.InvalidPathError:
                if self._service.address.scheme != "s3":
                    message = "a key in it is no path, and its service is listed no other way"
                    self.found.unread |= dict.fromkeys(run.folders, message)
                    return
            # The page with such a key is lost: it is listed by a client that takes any key.
            self.found.may_repeat = True
            last = run.last or start
            while run.names:
                await self._pacer.wait_for_request()
                raw = await asyncio.to_thread(read_raw_page, self._service, prefix, last)
                self.found.odd += (
                    key
                    for key in raw.odd
                    if run.is_whole or self._find_name(key, prefix) in run.names
                )
                yield self._take(run, raw.keys, prefix)
                if raw.is_last:
                    return
                if raw.last <= last:
                    message = "a key in it is no path, and the service lists none after it"
                    self.found.unread |= dict.fromkeys(run.folders, message)
                    return
                last = raw.last
                if is_plain(last):
                    run.last = last
                    break

    async def _pace(self, pages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield pages, after a wait for the turn of each request."""
        n_keys = KEYS_PER_REQUEST
        while True:
            if n_keys >= KEYS_PER_REQUEST:  # else there is no more to ask for
                await self._pacer.wait_for_request()
            try:
                batch = await anext(pages)
            except StopAsyncIteration:
                return
            n_keys = batch.num_rows
            yield batch

    def _take(self, run: _Run, page: pl.DataFrame, prefix: str) -> pl.DataFrame:
        """Return the keys of a page that are a run's, and shorten the run by what is listed."""
        # A folder's own key has lost its slash, and with that its place in the order.
        files = page.filter(pl.col("size") > 0)["path"]
        if not files.is_sorted() or (len(files) and files[0] < run.last):
            if not run.is_whole:
                raise _UnorderedError
            run.is_ordered, run.last = False, ""
        elif len(files) and run.is_ordered:
            run.last = files[-1]
        n_before = len(prefix) + 1 if prefix else 0
        if not run.is_whole and len(page):
            names = page["path"].str.slice(n_before).str.extract("^([^/]*)/?")
            kept = page.filter(names.is_in(run.names))
            if len(files):
                run.finish(files[-1][n_before:])
            return kept
        return page

    def _find_name(self, key: str, prefix: str) -> str:
        return key.removeprefix(f"{prefix}/" if prefix else "").partition("/")[0]


def _end_folder(name: str) -> str:
    """Return what the keys in a folder begin with, by which services order them."""
    return f"{name}/"


async def pause(n_tries: int) -> None:
    """Wait before the next try, longer after each."""
    await asyncio.sleep(_FIRST_PAUSE * 2 ** (n_tries - 1) * random.uniform(0.5, 1.0))
