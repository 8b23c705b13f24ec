"""The folder that a walk begins at, and checks of the folders that a caller names."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeAlias, TypeVar

from polars_alf.alf.address import Address, hide_secrets, parse_address
from polars_alf.alf.encoding import check_encoding
from polars_alf.alf.forks import check_fork
from polars_alf.alf.process_limits import check_limits, start_threads
from polars_alf.display import warn_caller
from polars_alf.errors import (
    ArchiveNotADirectoryError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    NoSessionsWarning,
    OptionError,
    ScanError,
)

FolderPath: TypeAlias = "str | os.PathLike[str]"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Root:
    """The folder, or the place in a bucket, that a walk begins at.

    `path` is absolute, with links resolved, or an `Address`; `device` and `inode` identify what was
    there when the run began: the folder, or the service of the bucket.
    """

    path: PurePath
    device: int
    inode: int

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def posix(self) -> str:
        """The path with slashes, as tables have it."""
        return self.path.as_posix()

    @property
    def parts(self) -> tuple[str, ...]:
        """The components of the path."""
        return self.path.parts

    @property
    def prefix(self) -> str:
        """The path as the system has it, ready to stand before a relative one."""
        text = str(self.path)
        return text if text.endswith(os.sep) else text + os.sep

    def locate(self, path: str) -> str:
        """Return the system's path of a path relative to the root; "" is the root."""
        return self.prefix + path if path else str(self.path)

    @property
    def is_bucket(self) -> bool:
        """Whether it lies in a bucket."""
        return isinstance(self.path, Address)

    def relate(self, path: PurePath) -> str | None:
        """Return a path relative to the root, "" for the root itself, None for one outside."""
        if not path.is_relative_to(self.path):
            return None
        return "/".join(path.parts[len(self.path.parts) :])

    def check_unchanged(self) -> None:
        """Raise ScanError where another folder is there than when the run began."""


@dataclass(frozen=True, slots=True)
class FolderRoot(Root):
    """A root in a file system."""

    path: Path

    def check_unchanged(self) -> None:
        """Raise ScanError where the folder was unmounted, or replaced, since the run began."""
        status = self.path.stat()
        if (status.st_dev, status.st_ino) != (self.device, self.inode):
            raise ScanError(
                f"{self.path} is not the folder that it was when the run began; tables that were "
                "there are as they were; see to its mount, and run again"
            )


def open_root(path: FolderPath, op_timeout: float | None = None) -> FolderRoot:
    """Return the root at a path: an archive, a lab, a Subjects folder, a subject, date or session.

    Parameters
    ----------
    op_timeout
        Seconds to wait for an answer of the storage; None waits for ever.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        The folder is not there, is a file, or cannot be listed.
    EncodingError
        This process does not decode names as UTF-8.
    ForkError
        This process was forked from one in which Polars had run.
    ScanError
        The storage does not answer.
    """
    if op_timeout is None:
        return _open_root(path)
    try:
        return call_within(op_timeout, lambda: _open_root(path))
    except TimeoutError:
        raise ScanError(
            f"the archive {os.fspath(path)} did not answer within {op_timeout:g} s; tables that "
            "were there are as they were; see to its mount, or give it more time"
        ) from None


def _open_root(given: FolderPath) -> FolderRoot:
    path = _resolve(given, "the archive")
    try:
        with os.scandir(path) as entries:
            next(iter(entries), None)
        status = path.stat()
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
    return FolderRoot(path, status.st_dev, status.st_ino)


def call_within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function in a thread, and leave that behind with TimeoutError if it takes longer."""
    outcome: Future[Result] = Future()

    def call() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    # Unlike the threads of a pool, this one keeps no process from ending.
    start_threads([threading.Thread(target=call, daemon=True)])
    return outcome.result(seconds)


def check_folder(folder: FolderPath, *, to_write: bool = True, what: str | None = None) -> Path:
    """Return the absolute path of a folder that exists and, if wanted, can be written to.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        The folder is not there, is a file, or cannot be written to.
    EncodingError
        This process does not decode names as UTF-8.
    ForkError
        This process was forked from one in which Polars had run.
    """
    what = what or ("the folder for the tables" if to_write else "the folder of the tables")
    path = _resolve(folder, what)
    if not path.exists():
        cure = "make it, or give another" if to_write else "give another"
        raise ArchiveNotFoundError(f"{what} {path} does not exist; {cure}")
    if not path.is_dir():
        raise ArchiveNotADirectoryError(f"{what} {path} is a file; give a folder")
    if not to_write:
        return path
    try:
        # A read-only mount shows only when something is written there.
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ArchivePermissionError(
            error.errno,
            f"{what} {path} cannot be written to: {error.strerror}; see to that, or give another "
            "one",
        ) from error


def warn_of_no_sessions(root: Root) -> None:
    """Warn that an archive has no sessions, and tell what a walk takes for one."""
    warn_caller(
        f"No sessions found in {root}; the folder of a session is …/subject/yyyy-mm-dd/number",
        NoSessionsWarning,
    )


def check_tables_dir(root: FolderPath, tables_dir: FolderPath | None, option: str) -> None:
    """Raise OptionError where an option of this name has no folder, and the root is none."""
    address = parse_address(root)
    if address is not None and tables_dir is None:
        name = option.removeprefix("--").replace("-", "_")
        raise OptionError(
            f"the archive {address} is in a bucket, and its tables lie in a folder; give that with "
            f"{option} DIR ({name}=…)"
        )


def _check_address(path: FolderPath, what: str) -> None:
    """Raise OptionError for the address of a bucket or a server."""
    address = parse_address(path, what)
    if address is not None:
        raise OptionError(
            f"{what} is {hide_secrets(os.fspath(path))!r}, the address of a bucket, and only a "
            "folder will do here; mount it, for example with rclone, and give the folder"
        )


def _resolve(path: FolderPath, what: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"{what} is {path!r}, which is no path; give the path of a folder")
    if not os.fspath(path):
        raise OptionError(f"{what} is an empty text; give the path of a folder")
    _check_address(path, what)
    check_encoding()
    check_fork()
    check_limits()
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
