"""The log of removals: announced before, with the result after."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polars_alf.tables.files import sync_directory

# Where others can write, a link could have the log appended to any file of this user.
_APPEND = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

BEFORE = "removing"
"""The event before a removal."""

_FIELDS_AFTER = ("time", "event", "root", "path", "message")

_FIELDS_BEFORE = (
    *_FIELDS_AFTER[:-1],
    *("kind", "file_size", "mtime_ns", "inode", "reason", "to"),
)

Row = Mapping[str, Any]
"""A row of REMOVALS, or of a log."""


class RemovalLog:
    """A file of JSON lines that grows: on disk before `write` returns.

    Each record has ``time`` (UTC), ``event``, ``root`` and ``path``. The event is ``removing``,
    with columns of the plan, before a removal, and a RemovalResult after it. The second is
    missing where a run was cut off. ``to`` is the path in a trash that a file is moved to.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._root = str(root)
        self._file = os.fdopen(os.open(path, _APPEND, 0o666), "ab+")
        # A line that was cut off must not spoil the next one.
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            if self._file.read() != b"\n":
                self._file.write(b"\n")
        else:
            sync_directory(path.parent)

    def __enter__(self) -> RemovalLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, records: Iterable[Row]) -> None:
        """Append records, and wait for the disk."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        for record in records:
            fields = _FIELDS_BEFORE if record["event"] == BEFORE else _FIELDS_AFTER
            values = {"time": time, "root": self._root, **record}
            line = {field: values[field] for field in fields if values.get(field) is not None}
            self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
