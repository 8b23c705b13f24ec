"""Buckets: the requests that are measured there, and the folder of a run."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow as pa

from polars_alf.alf.address import Address, hide_secrets
from polars_alf.alf.paths import BENCH_FOLDER, BENCH_PREFIX, temporary_folder
from polars_alf.bench.folder import uninterrupted
from polars_alf.bench.machine import ColdMethod, Mount
from polars_alf.bench.meters import Meter
from polars_alf.bench.operations import CHANGING, CHUNK, Operation, check_content, make_content
from polars_alf.bench.place import Place
from polars_alf.bench.plan import Plan
from polars_alf.bucket.content import digest_objects
from polars_alf.bucket.keys import KEYS_PER_REQUEST, list_level
from polars_alf.bucket.loop import run_requests
from polars_alf.bucket.service import Failure, Service, classify_failure, open_store
from polars_alf.errors import BenchError, OptionError, PolarsAlfError
from polars_alf.walk.digests import Algorithm

_PATIENCE = 30.0
"""Seconds to try a request for: a service that takes longer cannot be measured."""

_REMOVALS = 5
"""Times to look for objects to delete: what was under way at an interrupt may come later."""

_KEYS_PER_DELETION = 1000
"""Most keys that a service takes in a request to delete."""

_NAMES = {"s3": "S3", "gs": "Google Cloud Storage", "az": "Azure"}

DESCRIPTIONS = {
    Operation.CREATE: "put an empty object",
    Operation.DELETE: "delete an object",
    Operation.FSYNC: "put an object of 4 KiB",
    Operation.READBACK: "get such an object again, and compare what it holds",
    Operation.LIST: "list up to 1,000 keys; a key counts as an operation",
    Operation.STAT: "get the size and time of an object (HEAD)",
    Operation.READ: "get a small object",
    Operation.STREAM: "get a large object whole, in pieces of 1 MiB",
    Operation.MD5: "get a large object in ranges of 8 MiB, four at once, for its MD5",
    Operation.XXH3: "get a large object in ranges of 8 MiB, four at once, for its XXH3",
    Operation.INDEX: "index the whole archive; a file counts as an operation",
}
"""The operations, and one call of each in words. No service renames objects."""


@dataclass(frozen=True)
class Bucket(Place):
    """A folder in a bucket."""

    path: Address

    descriptions = DESCRIPTIONS
    holds_tables = False
    lists_tell_all = True

    @property
    def service(self) -> Service:
        """How the bucket is reached: the same for all folders in it, as it keeps connections."""
        address = Address(*self.path.parts[:2])
        return replace(self.options.find_service(address), op_timeout=_PATIENCE, kept="")

    @property
    def mount(self) -> Mount:
        """The bucket and its service."""
        service = self.service
        options = {"anonymous": service.anonymous, f"region={service.region}": service.region}
        return Mount(
            point=self.label,
            file_system=_NAMES[self.path.scheme],
            source=hide_secrets(service.endpoint or "the provider"),
            options=",".join(name for name, is_given in options.items() if is_given),
        )

    @property
    def label(self) -> str:
        """The address of the bucket."""
        return str(self.service.address)

    def find_others(self) -> list[str]:
        """Return the folders of other runs in it; raises the errors of `Service.explain`."""
        names = run_requests(list_level(self.service, self.path.folder)).folders
        return [str(self.path / name) for name in sorted(names) if BENCH_FOLDER.fullmatch(name)]

    def find_cold_method(self) -> ColdMethod:
        """Raise OptionError: this machine has no caches of a bucket."""
        raise OptionError(
            f"{self} is in a bucket, of which this machine keeps nothing in its caches; leave "
            "--cold out"
        )

    def note_caches(self, cold: ColdMethod | None) -> str:
        """Return what to know of the caches behind the figures."""
        return (
            "this machine keeps nothing of a bucket in memory; its service may be faster with what "
            "was asked for a moment before"
        )

    def check_room(self, n_files: int) -> None:
        """Do nothing: a bucket is never full."""

    @contextmanager
    def open_run(
        self, plan: Plan, *, n_threads: int, warn: Callable[[str], None]
    ) -> Iterator[tuple[Self, Path]]:
        """Yield a new folder in it for a run, and a folder of this machine for tables."""
        run = self / f"{BENCH_PREFIX}{uuid.uuid4().hex[:12]}"
        with temporary_folder() as tables:
            try:
                yield run, tables
            finally:
                with uninterrupted():
                    run._remove(plan, warn)

    def _remove(self, plan: Plan, warn: Callable[[str], None]) -> None:
        """Delete the objects of a run, and no others."""
        import obstore

        n_before = len(self.locate(""))
        store = open_store(self.service)
        try:
            for _ in range(_REMOVALS):
                keys = self._list_keys()
                ours = [key for key in keys if plan.has_file(key[n_before:])]
                if not ours:
                    break
                for start in range(0, len(ours), _KEYS_PER_DELETION):
                    with suppress(FileNotFoundError):  # deleted by a try that got no answer
                        obstore.delete(store, ours[start : start + _KEYS_PER_DELETION])
        except (OSError, obstore.exceptions.BaseError) as error:
            reason = classify_failure(error)[1]
            raise BenchError(f"{self} cannot be removed: {reason}; remove it yourself") from None
        if ours:
            raise BenchError(f"{self} fills while it is removed; remove it yourself")
        if keys:
            names = ", ".join(keys[:3])
            warn(f"{self} is left, with what this run did not write: {names}")

    def _list_keys(self) -> list[str]:
        import obstore

        pages = obstore.list(open_store(self.service), self.path.folder, return_arrow=True)
        frames = [pl.DataFrame(pa.record_batch(page)) for page in pages]
        return [key for frame in frames for key in frame["path"]]

    def make_folders(self, folders: Iterable[str], n_threads: int) -> None:
        """Do nothing: keys imply folders."""

    def locate(self, path: str) -> str:
        """Return the key of an object."""
        return "/".join((*self.path.parts[2:], path))

    def plan_lists(self, folders: Sequence[str], files: Collection[str]) -> Sequence[str]:
        """Return the keys after which lists begin, "" for the first: a call lists 1,000 keys.

        An index asks so for the folders beside each other.
        """
        keys = sorted(map(self.locate, files))
        return ["", *keys[KEYS_PER_REQUEST - 1 : -1 : KEYS_PER_REQUEST]]

    def make_call(self, operation: Operation | None, meter: Meter) -> Callable[[Any], object]:
        """Return the call of an operation for the thread of a meter; that of None writes files."""
        return partial(_CALLS[operation], _Client(self, meter))

    def explain(self, error: Exception, operation: Operation | None) -> Exception:
        """Return the error to raise in the place of one of the store."""
        from obstore.exceptions import BaseError

        if isinstance(error, PolarsAlfError) or not isinstance(error, OSError | BaseError):
            return error
        if isinstance(error, OSError) and error.errno:  # of a digest
            reason = str(error.strerror)
        else:
            failure, reason = classify_failure(error)
            if failure in (Failure.DENIED, Failure.BUSY):
                is_writing = operation is None or operation in CHANGING
                return self.service.explain(error, "be written to" if is_writing else "be read")
        call = DESCRIPTIONS[operation] if operation else "put an object"
        return BenchError(
            f"the service of {self} failed to {call}: {reason}; see to it, and measure again"
        )

    def find_unseen(self) -> str | None:
        """Return None: a bucket is the same from every machine."""


class _Client:
    """The requests of one thread."""

    def __init__(self, place: Bucket, meter: Meter) -> None:
        import obstore

        self._obstore = obstore
        self._service = place.service
        self._prefix = place.path.folder or None
        self._store = open_store(self._service)
        self._meter = meter

    def write(self, file: tuple[str, int]) -> None:
        # No service can compress or deduplicate these bytes.
        self._obstore.put(self._store, file[0], os.urandom(file[1]))

    def create(self, key: str) -> None:
        self._obstore.put(self._store, key, b"")

    def delete(self, key: str) -> None:
        self._obstore.delete(self._store, key)

    def put(self, key: str) -> None:
        self._obstore.put(self._store, key, make_content(key))

    def read_back(self, key: str) -> None:
        check_content(key, bytes(self._obstore.get(self._store, key).bytes()))

    def list_after(self, key: str) -> None:
        """List what follows a key, as far as one request tells it."""
        pages = self._obstore.list(
            self._store,
            self._prefix,
            offset=key or None,
            chunk_size=KEYS_PER_REQUEST,
            return_arrow=True,
        )
        # Keys that are no paths have been answered, too; an index asks for them another way.
        with suppress(self._obstore.exceptions.InvalidPathError):
            next(iter(pages), None)

    def head(self, key: str) -> None:
        self._obstore.head(self._store, key)

    def read(self, key: str) -> None:
        self._obstore.get(self._store, key).bytes()

    def stream(self, key: str) -> None:
        for piece in self._obstore.get(self._store, key).stream(min_chunk_size=CHUNK):
            self._meter.tick(len(piece))

    def digest(self, key: str, algorithms: Sequence[Algorithm]) -> None:
        """Read an object as an index does for its digests."""
        (outcome,) = run_requests(
            digest_objects(self._service, [key], algorithms, self._meter.tick, lambda _: None)
        )
        if isinstance(outcome, OSError):
            raise outcome


_CALLS: dict[Operation | None, Callable[[_Client, Any], object]] = {
    None: _Client.write,
    Operation.CREATE: _Client.create,
    Operation.DELETE: _Client.delete,
    Operation.FSYNC: _Client.put,
    Operation.READBACK: _Client.read_back,
    Operation.LIST: _Client.list_after,
    Operation.STAT: _Client.head,
    Operation.READ: _Client.read,
    Operation.STREAM: _Client.stream,
    Operation.MD5: partial(_Client.digest, algorithms=["md5"]),
    Operation.XXH3: partial(_Client.digest, algorithms=["xxh3_128"]),
}
"""The request of each operation; that of None writes an object."""
