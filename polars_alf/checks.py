"""Check what a caller gives, before anything is scanned or written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID, uuid4

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
    path = Path(root).resolve()
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
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ArchiveNotFoundError(
            f"the path of the archive {os.fsencode(path)!r} is not UTF-8, so no table can hold "
            "it; rename the folder, or mount it elsewhere"
        ) from None
    return path


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the absolute path of the folder for the tables, if it can be written to.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        It cannot.
    """
    path = Path(folder).resolve()
    try:
        # Asking is not enough: a read-only mount shows only when something is made there.
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileNotFoundError:
        raise ArchiveNotFoundError(
            f"the folder for the tables {path} does not exist; make it, or give another"
        ) from None
    except NotADirectoryError:
        raise ArchiveNotADirectoryError(
            f"the folder for the tables {path} is a file; give a folder"
        ) from None
    except OSError as error:
        raise ArchivePermissionError(
            error.errno,
            f"the folder for the tables {path} cannot be written to: {error.strerror}; give "
            "another one",
        ) from error
    return path


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
    if "/" in lab or "\0" in lab or lab in (".", ".."):
        raise OptionError(f"the lab {lab!r} cannot be the name of a folder; give another name")
    for place in places:
        if place.lab not in (None, lab):
            raise LabConflictError(
                f"the lab {lab!r} contradicts the folder "
                f"{'/'.join((*place.base, str(place.lab)))}; leave the lab out, as it is taken "
                "from the folders, or index each lab by itself"
            )
    return lab


def parse_namespace(namespace: UUID | str | None) -> UUID | None:
    """Return a namespace that was given as a UUID or as its text.

    Raises
    ------
    OptionError
        The text is no UUID.
    """
    if namespace is None or isinstance(namespace, UUID):
        return namespace
    try:
        return UUID(namespace)
    except ValueError:
        raise OptionError(
            f"the namespace {namespace!r} is no UUID; give one, for example {uuid4()}"
        ) from None


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
