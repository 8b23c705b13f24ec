"""Folders below a root that are reached through no link, so that what is in them may be removed.

Where the system can (Linux, macOS), each folder on the way is opened inside the one before and
must not be a link. Whatever is then done by the descriptor of the last one happens in that very
folder, even if a link takes its place meanwhile. Elsewhere (Windows) each folder on the way is
checked before its path is used: a folder swapped for a link between the two is not noticed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BY_DESCRIPTOR = {os.open, os.stat, os.unlink, os.rmdir, os.mkdir, os.rename, os.link} <= (
    os.supports_dir_fd
) and os.scandir in os.supports_fd
"""Whether names can be looked up in an open folder."""

LINK_ERRORS = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK)
"""Error numbers of Linux, macOS and FreeBSD for a link where a folder is asked for."""

# Errors of file systems without second names, and of systems that refuse them for others' files.
_NO_SECOND_NAME = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

_OPEN = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder. Methods take the names of its entries, and follow no links.

    The descriptor is None where the system has no such descriptors.
    """

    path: Path
    descriptor: int | None

    @property
    def inode(self) -> int:
        """File serial number of the folder."""
        return self._own_status().st_ino

    @property
    def device(self) -> int:
        """Number of the file system that the folder is in."""
        return self._own_status().st_dev

    def status(self, name: str) -> os.stat_result:
        """Return the status of an entry, of a link itself where it is one."""
        return os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False)

    def scan(self) -> dict[str, bool]:
        """Return the names of all entries, and whether each is a folder."""
        with os.scandir(self.path if self.descriptor is None else self.descriptor) as entries:
            return {entry.name: _is_folder(self.status(entry.name)) for entry in entries}

    def remove_file(self, name: str) -> None:
        """Remove the name of a file."""
        os.unlink(self._at(name), dir_fd=self.descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(self._at(name), dir_fd=self.descriptor)

    def move_file(self, name: str, target: Folder) -> None:
        """Move a file into another folder of its file system; FileExistsError if its name is taken.

        Where the file system has second names, no other run can take the name meanwhile.
        """
        if self.descriptor is not None:
            try:
                os.link(
                    name,
                    name,
                    src_dir_fd=self.descriptor,
                    dst_dir_fd=target.descriptor,
                    follow_symlinks=False,
                )
            except FileExistsError:
                # A run that was cut off between the two calls has left it with both names.
                if not os.path.samestat(self.status(name), target.status(name)):
                    raise
                self.remove_file(name)
                return
            except OSError as error:
                if error.errno not in _NO_SECOND_NAME:
                    raise
            else:
                self.remove_file(name)
                return
        with contextlib.suppress(FileNotFoundError):
            target.status(name)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(
            self._at(name),
            target._at(name),
            src_dir_fd=self.descriptor,
            dst_dir_fd=target.descriptor,
        )

    def _own_status(self) -> os.stat_result:
        return self.path.stat() if self.descriptor is None else os.fstat(self.descriptor)

    def _at(self, name: str) -> str | Path:
        return self.path / name if self.descriptor is None else name


@contextmanager
def open_folder(root: Path, directory: str, *, make: bool = False) -> Iterator[Folder]:
    """Open a folder by its POSIX path relative to the root, which has no links in it.

    With `make`, folders that are missing are made.

    Raises ValueError if the path could lead out of the root, and OSError if the folder cannot
    be opened: one of `LINK_ERRORS` if there is a link on the way, or something else.
    """
    parts = split_path(directory) if directory else ()
    path = root.joinpath(*parts)
    if not BY_DESCRIPTOR:
        for depth in range(1, len(parts) + 1):
            step = root.joinpath(*parts[:depth])
            if make:
                with contextlib.suppress(FileExistsError):
                    step.mkdir()
            if not _is_folder(step.lstat()):
                raise NotADirectoryError(errno.ENOTDIR, "a link, or no folder", str(step))
        yield Folder(path, None)
        return
    descriptor = os.open(root, _OPEN)
    try:
        for part in parts:
            outer = descriptor
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=outer)
            descriptor = os.open(part, _OPEN, dir_fd=outer)
            os.close(outer)
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def split_path(path: str) -> tuple[str, ...]:
    """Split a relative POSIX path into names; raise ValueError if it could lead elsewhere."""
    parts = tuple(path.split("/"))
    for part in parts:
        # A drive or a backslash is a name on POSIX only.
        if part in ("", ".", "..") or "\0" in part or Path(part).name != part:
            raise ValueError(f"{path!r} is no path relative to the archive; plan again")
    return parts


def _is_folder(status: os.stat_result) -> bool:
    # A junction of Windows has the mode of a folder.
    return stat.S_ISDIR(status.st_mode) and not getattr(status, "st_reparse_tag", 0)
