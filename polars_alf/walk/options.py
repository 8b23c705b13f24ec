"""The options of a walk, and their checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import pathspec

from polars_alf.alf.paths import join
from polars_alf.errors import OptionError


def is_excluded(patterns: pathspec.GitIgnoreSpec, path: str) -> bool:
    """Tell whether a walk leaves out a file: by its own path, or with a folder above it."""
    folders = accumulate(path.split("/")[:-1], join)
    return any(patterns.match_file(f"{folder}/") for folder in folders) or bool(
        patterns.match_file(path)
    )


def check_threads(threads: int | None) -> int | None:
    """Return the number of threads, if it makes sense.

    Raises
    ------
    OptionError
        It is below 1.
    """
    if threads is not None and threads < 1:
        raise OptionError(
            f"the number of threads is {threads}; give one from 1 on, or none, for it to be found "
            "by measuring"
        )
    return threads


def check_op_timeout(seconds: float | None) -> float | None:
    """Return how long to wait for the storage, if it makes sense.

    Raises
    ------
    OptionError
        It is no positive number.
    """
    if seconds is not None and not 0 < seconds < math.inf:
        raise OptionError(
            f"the timeout of an operation is {seconds}; give a number of seconds above 0, or none, "
            "to wait as long as it takes"
        )
    return seconds


def parse_exclude(patterns: str | Iterable[str]) -> tuple[str, ...]:
    """Return patterns of .gitignore, one or several, if all of them are valid.

    Raises
    ------
    OptionError
        One is not.
    """
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in patterns:
        try:
            pathspec.GitIgnoreSpec.from_lines([pattern])
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"{pattern!r} cannot be excluded: {error}; give a pattern as in .gitignore"
            ) from None
    return patterns


@dataclass(frozen=True, slots=True)
class Options:
    """What a walk looks at, and how patiently.

    Parameters
    ----------
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        Patterns as in .gitignore, matched against paths relative to the root.
    ignored
        Names to pass over without a word, by the directory (relative to the root) they lie in:
        the tables themselves, and the folder of our own state.
    threads
        Number of calls to the storage that each worker has under way; None measures how many
        are worth it.
    op_timeout
        Seconds after which a directory that does not answer is given up; None waits for ever.
    """

    follow_links: bool = False
    exclude: tuple[str, ...] = ()
    ignored: Mapping[str, frozenset[str]] = field(default_factory=dict)
    threads: int | None = None
    op_timeout: float | None = None
