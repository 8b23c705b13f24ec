"""Empty the system's caches, as far as it lets us."""

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

from polars_alf.bench.operations import CHANGING, STREAMING, Operation
from polars_alf.errors import MissingExtraError
from polars_alf.parallel.executors import count_workers

_DROP = Path("/proc/sys/vm/drop_caches")


class Cache(StrEnum):
    """Whether what is read was read just before, or is not in this machine's memory."""

    WARM = "warm"
    COLD = "cold"


class ColdMethod(StrEnum):
    """How caches are emptied."""

    DROP_CACHES = "drop_caches"
    FADVISE = "posix_fadvise"


def find_cold_method() -> ColdMethod | None:
    """Return the most thorough way that this process has, None where there is none."""
    try:
        # Nothing is written, and nothing is dropped.
        os.close(os.open(_DROP, os.O_WRONLY))
    except OSError:
        return ColdMethod.FADVISE if hasattr(os, "posix_fadvise") else None
    return ColdMethod.DROP_CACHES


def list_operations(cache: Cache, method: ColdMethod | None, *, writes: bool) -> list[Operation]:
    """Return the operations that can be measured with caches in a state."""
    if cache is Cache.WARM:
        return [operation for operation in Operation if writes or operation not in CHANGING]
    if method is ColdMethod.DROP_CACHES:
        return [operation for operation in Operation if operation not in CHANGING]
    # Names and attributes stay in memory, contents go.
    return [Operation.READ, *STREAMING] if method is ColdMethod.FADVISE else []


def empty_caches(method: ColdMethod, paths: Iterable[str]) -> None:
    """Empty the caches of the whole machine, or those of some files' contents.

    Raises
    ------
    OSError
        It cannot be done.
    """
    os.sync()  # what is yet to be written cannot leave memory
    if method is ColdMethod.DROP_CACHES:
        _DROP.write_text("3\n", encoding="ascii")
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


_MOUNTS = Path("/proc/self/mountinfo")

_OCTAL = re.compile(r"\\([0-7]{3})")

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system, and where it is mounted.

    Parameters
    ----------
    point
        The folder that it is mounted on.
    file_system
        Its type, such as ``ext4``, ``nfs4`` or ``lustre``.
    source
        What is mounted: a device, or the server and what it exports.
    options
        Of the mount, and of the file system, as the system spells them.
    """

    point: str
    file_system: str
    source: str
    options: str


def find_mount(path: Path) -> Mount:
    """Return the mount that a path, absolute and without links, lies on.

    Where the system does not tell (it does on Linux), only the mount's folder is known.
    """
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    above = {str(path), *map(str, path.parents)}
    mount = choose_mount(lines, above)
    if mount:
        return mount
    point = next((folder for folder in (path, *path.parents) if folder.is_mount()), path)
    return Mount(str(point), _UNKNOWN, _UNKNOWN, "")


def choose_mount(lines: Iterable[str], above: set[str]) -> Mount | None:
    """Return the innermost mount among folders, from the lines of Linux's ``mountinfo``.

    Parameters
    ----------
    lines
        ``id parent device root point options [tag...] - type source options`` each.
    above
        A path and all folders above it.
    """
    found = None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = _unescape(fields.split(" ")[4])
        # The later of two on the same folder hides the earlier.
        if point in above and (found is None or len(point) >= len(found.point)):
            file_system, source, options = rest.split(" ", 2)
            every = ",".join(dict.fromkeys([*fields.split(" ")[5].split(","), *options.split(",")]))
            found = Mount(point, file_system, _unescape(source), every)
    return found


def describe_machine() -> dict[str, str | int | float]:
    """Return what is known of this machine: system, kernel, processors, memory (bytes)."""
    return {
        "host": platform.node(),
        "system": platform.system(),
        "kernel": platform.release(),
        "cpu": _name_processor(),
        "n_cpus": count_workers(None),
        "memory_bytes": _count_memory(),
        "python": platform.python_version(),
    }


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


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


NEEDED = ("scipy", "altair", "vl_convert", "jinja2")


def check_extra() -> None:
    """Check that all of them are there, without loading them.

    Raises
    ------
    MissingExtraError
        One is not.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError(
                f'measuring storage needs {name}: pip install "polars-alf[bench]"', name=name
            )
