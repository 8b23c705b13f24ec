"""The machine that measures: its processors and memory, its mounts, its caches."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from polars_alf.errors import MissingExtraError
from polars_alf.parallel.executors import count_workers

NEEDED = ("scipy", "altair", "vl_convert", "jinja2")
"""Packages of the extra ``bench``."""

_DROP = Path("/proc/sys/vm/drop_caches")

_MOUNTS = Path("/proc/self/mountinfo")

_OCTAL = re.compile(r"\\([0-7]{3})")

_UNKNOWN = "unknown"


def check_extra(names: Iterable[str] = NEEDED) -> None:
    """Check that packages are installed, without loading them.

    Raises
    ------
    MissingExtraError
        One is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingExtraError(
                f'measuring storage needs {name}: pip install "polars-alf[bench]"', name=name
            )


def describe_machine() -> dict[str, str | int | float]:
    """Return the host, system, kernel, processors, memory (bytes) and Python of this machine."""
    return {
        "host": platform.node(),
        "system": platform.system(),
        "kernel": platform.release(),
        "cpu": _name_processor(),
        "n_cpus": count_workers(None),
        "memory_bytes": _count_memory(),
        "python": platform.python_version(),
    }


def _name_processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _count_memory() -> int:
    if sys.platform == "win32":
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system and the folder that it is mounted on."""

    point: str  # that folder
    file_system: str  # type, such as ext4, nfs4 or lustre
    source: str  # device, or server and export
    options: str  # of the mount and of the file system, as the system spells them


def find_mount(path: Path) -> Mount:
    """Return the mount of a path, absolute and without links.

    Elsewhere than on Linux only the folder of the mount is known.
    """
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    folders = (path, *path.parents)
    mount = choose_mount(lines, {*map(str, folders)})
    if mount:
        return mount
    point = next((folder for folder in folders if folder.is_mount()), path)
    return Mount(str(point), _UNKNOWN, _UNKNOWN, "")


def choose_mount(lines: Iterable[str], folders: set[str]) -> Mount | None:
    """Return the innermost mount among a path and its parents, from lines of ``mountinfo``.

    A line reads ``id parent device root point options [tag...] - type source options``.
    """
    found = None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = _unescape(fields.split(" ")[4])
        # The later of two mounts on the same folder hides the earlier.
        if point in folders and (found is None or len(point) >= len(found.point)):
            file_system, source, options = rest.split(" ", 2)
            every = dict.fromkeys([*fields.split(" ")[5].split(","), *options.split(",")])
            found = Mount(point, file_system, _unescape(source), ",".join(every))
    return found


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


class Cache(StrEnum):
    """Whether files were read just before, or are not in this machine's memory."""

    WARM = "warm"
    COLD = "cold"


class ColdMethod(StrEnum):
    """How caches are emptied: those of the whole machine, or of the contents of some files."""

    DROP_CACHES = "drop_caches"
    FADVISE = "posix_fadvise"


def find_cold_method() -> ColdMethod | None:
    """Return the most thorough way that this process has to empty caches, or None."""
    try:
        # Opening the file drops nothing; only writing to it does.
        os.close(os.open(_DROP, os.O_WRONLY))
    except OSError:
        return ColdMethod.FADVISE if hasattr(os, "posix_fadvise") else None
    return ColdMethod.DROP_CACHES


def empty_caches(method: ColdMethod, paths: Iterable[str]) -> None:
    """Empty the caches of the whole machine, or those of the contents of the files given."""
    os.sync()  # dirty pages cannot leave memory
    if method is ColdMethod.DROP_CACHES:
        _DROP.write_text("3\n", encoding="ascii")
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
