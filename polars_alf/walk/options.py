"""The options of a walk: one object, made once, that travels from the caller to every worker."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from polars_alf.alf.address import Address
from polars_alf.alf.arguments import check_argument, check_texts
from polars_alf.bucket.service import Service, check_endpoint
from polars_alf.errors import OptionError
from polars_alf.native.twin import has_copies
from polars_alf.parallel.executors import check_backend, check_jobs
from polars_alf.parallel.pacer import check_max_rate
from polars_alf.walk.exclusion import Exclusion, compile_patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkOptions:
    """The options of every walk, checked when they are made.

    Parameters
    ----------
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        Patterns as in .gitignore, matched against paths relative to the root.
    include_snapshots
        Whether to enter folders of snapshots and of what was deleted, which are left out else.
    threads
        Number of calls to the storage that each worker has under way; None measures how many
        are worth it.
    op_timeout
        Seconds after which a directory that does not answer is given up; None waits for ever.
    max_rate
        Calls to the storage a second, of all workers together; None sets no limit.
    n_jobs
        Number of workers; None or -1 is one for each processor, or each thread of a cluster.
    executor
        ``serial``, ``threads``, ``processes``, the address of a cluster, or None for the fastest.
    endpoint_url, region, anonymous
        How a bucket is reached: see `polars_alf.bucket.service.Service`.
    inventory
        Folder of the store that has the rows of an inventory, of which the archive is taken to be
        made; '' where its storage is asked.
    own_files
        Names to pass over without a word, by the directory that they lie in: the tables
        themselves, and the folder of our state.

    Raises
    ------
    OptionError
        A value makes no sense.
    """

    follow_links: bool = False
    exclude: tuple[str, ...] = ()
    include_snapshots: bool = False
    threads: int | None = None
    op_timeout: float | None = None
    max_rate: float | None = None
    n_jobs: int | None = None
    executor: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False
    inventory: str = ""
    own_files: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("follow_links", "include_snapshots", "anonymous"):
            check_argument(name, getattr(self, name), bool)
        for name, spelling in (("threads", "threads"), ("n_jobs", "jobs")):
            number = check_argument(spelling, getattr(self, name), int, is_optional=True)
            object.__setattr__(self, name, number)
        for name in ("op_timeout", "max_rate"):
            check_argument(name, getattr(self, name), float, is_optional=True)
        for name in ("executor", "endpoint_url", "region"):
            check_argument(name, getattr(self, name), str, is_optional=True)
        object.__setattr__(self, "endpoint_url", check_endpoint(self.endpoint_url))
        object.__setattr__(self, "exclude", _parse_exclude(self.exclude))
        own_files = {directory: tuple(names) for directory, names in self.own_files.items()}
        object.__setattr__(self, "own_files", own_files)
        if self.threads is not None and self.threads < 1:
            raise OptionError(
                f"the number of threads is {self.threads}; give one from 1 on, or leave it "
                "out, for it to be found by measuring"
            )
        if self.op_timeout is not None and not 0 < self.op_timeout < math.inf:
            raise OptionError(
                f"the timeout of an operation is {self.op_timeout}; give a number of seconds above "
                "0, or leave it out, to wait as long as it takes"
            )
        check_max_rate(self.max_rate)
        check_jobs(self.n_jobs)
        check_backend(self.executor)

    def to_dict(self) -> dict[str, object]:
        """Return the options in values that JSON has."""
        return asdict(self) | {
            "exclude": [*self.exclude],
            "inventory": "",  # the store is gone with its run
            "own_files": {directory: [*names] for directory, names in self.own_files.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Return the options that `to_dict` gave."""
        return cls(**values)  # type: ignore[arg-type]

    def find_service(self, address: Address) -> Service:
        """Return how the bucket of an archive is reached."""
        return Service(address, self.endpoint_url, self.region, self.anonymous, self.op_timeout)

    @property
    def exclusion(self) -> Exclusion:
        """The patterns, ready to be asked of paths."""
        return Exclusion(self.exclude)


def _parse_exclude(patterns: str | Iterable[str]) -> tuple[str, ...]:
    patterns = check_texts("exclude", patterns)
    has_plain = False
    for pattern in patterns:
        excludes = _read_pattern(pattern)
        if not (excludes or has_plain or _may_mean_copies(pattern)):
            raise OptionError(
                f"{pattern!r} takes back what a pattern before it excludes, and there is none; "
                "give that one first, write \\! for the name of a file that begins so, or "
                "--include-snapshots (include_snapshots=True) for all folders that are left out"
            )
        has_plain |= excludes
    return patterns


def _may_mean_copies(pattern: str) -> bool:
    """Whether a pattern may take back a folder of snapshots, which no pattern excludes."""
    name = pattern.removeprefix("!").rstrip("/").rpartition("/")[2]
    return has_copies(name) or ("*" in name and name.strip("*") != "")


def _read_pattern(pattern: str) -> bool:
    """Return whether a pattern excludes, or takes back; OptionError where it does neither."""
    try:
        compiled = compile_patterns([pattern]).patterns
    except (TypeError, ValueError, re.error) as error:
        reason, cure = str(error), "give a pattern as in .gitignore, such as 'backup/' or '*.tmp'"
    else:
        found = next(iter(compiled), None)
        if found is not None and found.include is not None:
            return found.include
        reason = "it stands for no file"
        cure = "give a pattern as in .gitignore, such as 'backup/' or '*.tmp'"
        if pattern.startswith("#"):
            cure = "it is a comment: write \\# for the name of a file that begins so"
        elif "[" in pattern:
            cure = "close its [, or write \\[ for the character itself"
    raise OptionError(f"{pattern!r} cannot be excluded: {reason}; {cure}") from None
