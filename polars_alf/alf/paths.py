"""Paths relative to an archive's root (POSIX, "" for the root itself), and checks of folders."""

from __future__ import annotations

import os
import queue
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from polars_alf.errors import (
    ArchiveNotADirectoryError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    OptionError,
    ScanError,
)

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that break a path over lines, or move a terminal's cursor."""

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys but lines and tabs, or lets text look like another: the marks that turn
its direction."""

BENCH_PREFIX = "polars_alf_bench_"

BENCH_FOLDER = re.compile(f"{BENCH_PREFIX}[0-9a-f]{{12}}")
"""Name of the folder of a bench that is under way, or was killed: its sessions are made up."""


def join(directory: str, name: str) -> str:
    """Return the path of what lies in a directory."""
    return f"{directory}/{name}" if directory else name


def printable(path: str) -> str:
    r"""Return a path as text of one line; bytes not UTF-8 and control characters as ``\xNN``."""
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, as Windows allows
        text = path.encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def visible(text: str) -> str:
    r"""Return text of lines and tabs with all else that steers a terminal as ``\uNNNN``."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


@contextmanager
def temporary_folder(where: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of this user alone; what cannot be removed of it at the end stays.

    Parameters
    ----------
    where
        Folder to make it in; by default the system's for temporary files.
    """
    # TemporaryDirectory of Python 3.11 ends in a RecursionError where permissions are missing.
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        yield folder
    finally:
        # Windows, too, keeps files that are mapped.
        shutil.rmtree(folder, ignore_errors=True)


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


def find_above(path: str, folders: Iterable[str]) -> str | None:
    """Return the folder among some that is, or holds, a path; "" holds all."""
    steps = ("", *accumulate(path.split("/"), "{}/{}".format))
    return next((step for step in steps if step in folders), None)
