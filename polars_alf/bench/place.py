"""Where to measure: what a file system and a bucket have in common for the rest of this room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, ClassVar, Self

from polars_alf.bench.machine import ColdMethod, Mount
from polars_alf.bench.meters import Meter
from polars_alf.bench.operations import Operation
from polars_alf.bench.plan import Plan
from polars_alf.walk.options import WalkOptions


@dataclass(frozen=True)
class Place(ABC):
    """A folder of a file system, or one in a bucket. Travels to the processes that measure.

    Parameters
    ----------
    path
        Its path, or its address.
    options
        How it is walked, and how its bucket is reached.

    Attributes
    ----------
    descriptions
        The operations that there are, and one call of each in words.
    holds_tables
        Whether the tables of an index may lie there.
    lists_tell_all
        Whether a list has all that an index asks for, so that lists tell how long one takes.
    """

    path: PurePath
    options: WalkOptions

    descriptions: ClassVar[Mapping[Operation, str]]
    holds_tables: ClassVar[bool]
    lists_tell_all: ClassVar[bool]

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, path: str) -> Self:
        """Return a folder in it, which need not be there."""
        return replace(self, path=self.path / path)

    @property
    @abstractmethod
    def mount(self) -> Mount:
        """File system or bucket that it is on."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Name of its storage in reports where nobody gives one."""

    @abstractmethod
    def find_others(self) -> list[str]:
        """Return the folders of other runs in it, under way or killed."""

    @abstractmethod
    def find_cold_method(self) -> ColdMethod:
        """Return the way to empty the caches of this machine; OptionError where there is none."""

    @abstractmethod
    def note_caches(self, cold: ColdMethod | None) -> str:
        """Return what to know of the caches behind the figures."""

    @abstractmethod
    def check_room(self, n_files: int) -> None:
        """Raise StorageFullError if there is too little room for so many small files."""

    @abstractmethod
    def open_run(
        self, plan: Plan, *, n_threads: int, warn: Callable[[str], None]
    ) -> AbstractContextManager[tuple[Self, Path]]:
        """Yield a new folder in it for a run, and one for tables; remove at the end what was made.

        `n_threads` remove at once; `warn` is called with a message if what others made was found,
        which is left there.

        Raises
        ------
        StorageFullError
            There is too little room.
        BenchError
            A folder cannot be made, or what was made cannot be removed.
        """

    @abstractmethod
    def make_folders(self, folders: Iterable[str], n_threads: int) -> None:
        """Make folders in it, parents first, that are not there; BenchError where that fails."""

    @abstractmethod
    def locate(self, path: str) -> str:
        """Return the path of a file in it as calls take it."""

    @abstractmethod
    def plan_lists(self, folders: Sequence[str], files: Collection[str]) -> Sequence[str]:
        """Return the items of LIST that together list all of its folders and files."""

    @abstractmethod
    def make_call(self, operation: Operation | None, meter: Meter) -> Callable[[Any], object]:
        """Return the call of an operation for the thread of a meter; that of None writes files.

        Its argument is an item: a path from `locate`; for RENAME two of them; to write, a path and
        a size; for LIST what `plan_lists` gave.
        """

    @abstractmethod
    def explain(self, error: Exception, operation: Operation | None) -> Exception:
        """Return the error to raise in the place of one that a call raised."""

    @abstractmethod
    def find_unseen(self) -> str | None:
        """Return the place where this machine does not see it, else None."""
