"""Paths relative to an archive's root: POSIX, "" for the root itself."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from polars_alf.errors import OutputError
from polars_alf.native.twin import CONTROL

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tabs and line feeds, and the marks that change a text's direction: these
let it look like another."""

BENCH_PREFIX = "polars_alf_bench_"

BENCH_FOLDER = re.compile(f"{BENCH_PREFIX}[0-9a-f]{{12}}")
"""Name of a bench's own folder, which is left where one was killed: its sessions are made up."""

STATE_DIR = ".polars_alf"
"""Folder of our state, beside the tables."""


def join(directory: str, name: str) -> str:
    """Return the path of a name in a directory."""
    return f"{directory}/{name}" if directory else name


def path_key(path: str) -> str:
    """Return the key that sorts POSIX paths component by component, as `pathlib` does."""
    return path.replace("/", "\0")  # which no name has, and which sorts before all that they have


def printable(path: str) -> str:
    r"""Return a path as one line of text, with bytes not UTF-8 and controls as ``\xNN``."""
    try:
        text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, as Windows allows
        text = path.encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def visible(text: str) -> str:
    r"""Return text with characters that steer a terminal, but lines and tabs, as ``\uNNNN``."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


@contextmanager
def temporary_folder(where: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of this user alone, by default in the system's for temporary files.

    Raises OutputError where none can be made.
    """
    try:
        # TemporaryDirectory of Python 3.11 ends in a RecursionError where permissions are missing.
        folder = Path(tempfile.mkdtemp(dir=where))
    except OSError as error:
        raise OutputError(
            error.errno,
            f"no folder for temporary files can be made in {error.filename or 'any usual place'}: "
            f"{error.strerror or error}; set TMPDIR to a folder that this user may write to",
        ) from error
    try:
        yield folder
    finally:
        # Whatever cannot be removed stays: Windows keeps files that are mapped.
        shutil.rmtree(folder, ignore_errors=True)


def list_folders_above(path: str) -> list[str]:
    """Return the folders that hold a path, from the root on, and the path itself."""
    return ["", *accumulate(path.split("/"), "{}/{}".format)] if path else [""]


def find_folder_above(path: str, folders: Collection[str]) -> str | None:
    """Return the outermost of some folders that is a path or holds it; "" holds all."""
    return next((folder for folder in list_folders_above(path) if folder in folders), None)


def find_subdirectories(directories: Iterable[str]) -> defaultdict[str, list[str]]:
    """Return the names of the folders in each folder, also of those that only paths imply."""
    children: defaultdict[str, set[str]] = defaultdict(set)
    for directory in directories:
        while directory:
            above, _, name = directory.rpartition("/")
            if name in children[above]:
                break
            children[above].add(name)
            directory = above
    return defaultdict(list, {above: sorted(names) for above, names in children.items()})
