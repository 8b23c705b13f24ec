"""Check what a caller gives, before anything is scanned or written."""

from __future__ import annotations

import math
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args
from uuid import NAMESPACE_DNS, UUID, uuid5

import pathspec

from polars_alf.digests import ALGORITHMS, Algorithm
from polars_alf.errors import (
    ArchiveNotADirectoryError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    LabConflictError,
    NamespaceConflictError,
    OptionError,
    ScanError,
)
from polars_alf.layout import Place

Keep = Literal["first", "newest"]
"""Which of several rows to keep where tables are merged: see `polars_alf.merge_tables`."""
KEEPS: tuple[Keep, ...] = get_args(Keep)

Result = TypeVar("Result")


def check_root(root: str | os.PathLike[str], op_timeout: float | None = None) -> Path:
    """Return the absolute path of an archive, links resolved, if it can be listed.

    Parameters
    ----------
    root
        The archive.
    op_timeout
        Seconds to wait for it; None waits for ever.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        It cannot.
    ScanError
        It does not answer.
    """
    if op_timeout is None:
        return _check_root(root)
    try:
        return _call_within(op_timeout, lambda: _check_root(root))
    except TimeoutError:
        raise ScanError(
            f"the archive {os.fspath(root)} did not answer within {op_timeout:g} s; tables that "
            "were there are as they were; see to its mount, or give it more time"
        ) from None


def _call_within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function in a thread, which is left behind if that takes too long.

    Raises
    ------
    TimeoutError
        It does. What the function raises comes through as it is.
    """
    outcomes: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()

    def call() -> None:
        try:
            outcomes.put(function())
        except BaseException as error:
            outcomes.put(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _check_root(root: str | os.PathLike[str]) -> Path:
    path = _resolve(root, "the archive")
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except FileNotFoundError:
        raise ArchiveNotFoundError(
            f"the archive {path} does not exist; give the folder of an archive, a lab, a subject "
            "or a session"
        ) from None
    except NotADirectoryError:
        raise ArchiveNotADirectoryError(
            f"the archive {path} is a file; give the folder that it lies in"
        ) from None
    except OSError as error:
        raise ArchivePermissionError(
            error.errno,
            f"the archive {path} cannot be listed: {error.strerror}; check its permissions and "
            "its mount",
        ) from error
    return path


def check_folder(
    folder: str | os.PathLike[str],
    *,
    to_write: bool = True,
    what: str = "the folder for the tables",
) -> Path:
    """Return the absolute path of the folder for the tables, if it can be written to, or is there.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        It cannot.
    """
    path = _resolve(folder, what)
    if not path.exists():
        cure = "make it, or give another" if to_write else "give another"
        raise ArchiveNotFoundError(f"{what} {path} does not exist; {cure}")
    if not path.is_dir():
        raise ArchiveNotADirectoryError(f"{what} {path} is a file; give a folder")
    if not to_write:
        return path
    try:
        # Asking is not enough: a read-only mount shows only when something is made there.
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ArchivePermissionError(
            error.errno,
            f"{what} {path} cannot be written to: {error.strerror}; give another one",
        ) from error


def _resolve(path: str | os.PathLike[str], what: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"{what} is {path!r}, which is no path; give the path of a folder")
    if not os.fspath(path):
        raise OptionError(f"{what} is an empty text; give the path of a folder")
    try:
        resolved = Path(path).resolve()
    except (OSError, RuntimeError) as error:
        raise ArchiveNotFoundError(
            f"{what} {path} cannot be found: {error}; mend the link, or give another path"
        ) from None
    try:
        str(resolved).encode()
    except UnicodeEncodeError:
        raise ArchiveNotFoundError(
            f"the path of {what} {os.fsencode(resolved)!r} is not UTF-8, so no table can hold it; "
            "rename the folder, or mount it elsewhere"
        ) from None
    return resolved


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


def check_digests(
    digest: Algorithm | Sequence[Algorithm], *, hash_files: bool = False
) -> tuple[Algorithm, ...]:
    """Return the digests to compute, each once.

    Raises
    ------
    OptionError
        There is none of that name.
    """
    given = {digest} if isinstance(digest, str) else {*digest}
    if unknown := given - {*ALGORITHMS}:
        raise OptionError(
            f"there is no digest {min(map(str, unknown))!r}; give one of {', '.join(ALGORITHMS)}"
        )
    return tuple(name for name in ALGORITHMS if name in given or (hash_files and name == "md5"))


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


def check_lab(lab: str | None, places: Iterable[Place]) -> str:
    """Return the name of the lab, '' for None, if no lab's folder has another one.

    Raises
    ------
    LabConflictError
        It contradicts the folders.
    OptionError
        It cannot be the name of a folder.
    """
    if not lab:
        return ""
    if not lab.isprintable() or lab != lab.strip() or "/" in lab or lab in (".", ".."):
        raise OptionError(f"the lab {lab!r} cannot be the name of a folder; give another name")
    for place in places:
        if place.lab not in (None, lab):
            raise LabConflictError(
                f"the lab {lab!r} contradicts the folder "
                f"{Path(*place.base, str(place.lab))}; leave the lab out, as it is taken "
                "from the folders, or index each lab by itself"
            )
    return lab


def parse_namespace(namespace: UUID | str | None) -> UUID | None:
    """Return the namespace that a UUID, its text, or any other name stands for.

    A name, such as that of a site, becomes the UUID that RFC 9562 gives to it among domain names.

    Raises
    ------
    OptionError
        It is neither, or empty.
    """
    if namespace is None or isinstance(namespace, UUID):
        return namespace
    if not isinstance(namespace, str) or not namespace.strip():
        raise OptionError(f"the namespace {namespace!r} is no name; give a UUID or a name")
    try:
        return UUID(namespace)
    except ValueError:
        return uuid5(NAMESPACE_DNS, namespace)


def check_namespace(given: UUID | None, found: UUID | None, folder: Path) -> None:
    """Check that a namespace would not change the ids of the tables that are there.

    Raises
    ------
    NamespaceConflictError
        It would.
    """
    if given and found and given != found:
        raise NamespaceConflictError(
            f"the namespace {given} would change the id of every session and dataset: the tables "
            f"in {folder} were made with {found}; leave the namespace out, or give another "
            "folder for the tables"
        )
