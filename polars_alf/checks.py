"""Check what a caller gives, before anything is scanned or written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from uuid import NAMESPACE_DNS, UUID, uuid5

import pathspec

from polars_alf.errors import (
    ArchiveNotADirectoryError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    LabConflictError,
    NamespaceConflictError,
    OptionError,
)
from polars_alf.layout import Place


def check_root(root: str | os.PathLike[str]) -> Path:
    """Return the absolute path of an archive, links resolved, if it can be listed.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        It cannot.
    """
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


def check_folder(folder: str | os.PathLike[str], *, to_write: bool = True) -> Path:
    """Return the absolute path of the folder for the tables, if it can be written to, or is there.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        It cannot.
    """
    path = _resolve(folder, "the folder for the tables")
    if not path.exists():
        cure = "make it, or give another" if to_write else "give another"
        raise ArchiveNotFoundError(f"the folder for the tables {path} does not exist; {cure}")
    if not path.is_dir():
        raise ArchiveNotADirectoryError(
            f"the folder for the tables {path} is a file; give a folder"
        )
    if not to_write:
        return path
    try:
        # Asking is not enough: a read-only mount shows only when something is made there.
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ArchivePermissionError(
            error.errno,
            f"the folder for the tables {path} cannot be written to: {error.strerror}; give "
            "another one",
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
