"""Task protocols and projects from the settings that a rig leaves in each session.

A mapping says which files have them, and by which keys. Only sessions are read whose protocol or
projects nobody has written: a person's own values win, and what was read once is kept.
"""

from __future__ import annotations

import fnmatch
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl

from polars_alf.alf.arguments import check_session_path
from polars_alf.alf.paths import join, printable
from polars_alf.errors import OptionError
from polars_alf.parallel.threads import open_threads
from polars_alf.schema import IssueKind

_THREADS = 16

_MOST_BYTES = 1 << 20
"""Size above which a file holds no settings."""

_EXAMPLE = "raw_behavior_data/_iblrig_taskSettings.raw.json"

_READ = ("task_protocol", "projects")


@dataclass(frozen=True, slots=True)
class SettingsMapping:
    """Where protocols and projects are in the files of a session.

    Parameters
    ----------
    files
        Paths in a session of files in JSON, each one object. ``*`` stands for any text in one
        name. All that match are read, in the order of their paths.
    task_protocol
        Alternatives for each part of a protocol: of each the first key that has a value counts, and
        the parts are put together as they are. There is no protocol without the first part. Those
        of several files are joined by ``/``.
    projects
        Alternatives for the projects: the first key that has a value, one text or a list. Those of
        all files are joined by commas, each once.

    Raises
    ------
    OptionError
        There are no files, a path leads out of a session, or a value has another type.
    """

    files: tuple[str, ...]
    task_protocol: tuple[tuple[str, ...], ...] = ()
    projects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.files:
            raise OptionError("the mapping of settings has no files; give one at least")
        for path in self.files:
            check_session_path(path, "the mapping of settings", _EXAMPLE)

    @classmethod
    def parse(cls, given: object) -> Self | None:
        """Return a mapping from one, its values, the name of a known one, or a file in JSON."""
        if given is None or isinstance(given, cls):
            return given
        if isinstance(given, str) and given in KNOWN_MAPPINGS:
            return cls.parse(KNOWN_MAPPINGS[given])
        values = given if isinstance(given, Mapping) else _read_mapping(given)
        unknown = {*values} - {*cls.__dataclass_fields__}
        if unknown:
            raise OptionError(
                f"the mapping of settings has {', '.join(sorted(map(repr, unknown)))}; it may have "
                f"{', '.join(cls.__dataclass_fields__)}"
            )
        return cls(
            files=_list_texts("files", values.get("files", ())),
            task_protocol=tuple(
                _list_texts("task_protocol", part) for part in values.get("task_protocol", ())
            ),
            projects=_list_texts("projects", values.get("projects", ())),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the mapping in values that JSON has, as it has them."""
        return dict(json.loads(json.dumps(asdict(self))))


KNOWN_MAPPINGS: dict[str, dict[str, Any]] = {
    "iblrig": {
        "files": [
            "raw_behavior_data/_iblrig_taskSettings.raw*.json",
            "raw_task_data_*/_iblrig_taskSettings.raw*.json",
        ],
        "task_protocol": [["PYBPOD_PROTOCOL"], ["IBLRIG_VERSION", "IBLRIG_VERSION_TAG"]],
        "projects": ["PROJECTS", "PROJECT", "PYBPOD_PROJECT"],
    }
}
"""Mappings by name."""


def _read_mapping(path: object) -> Mapping[str, Any]:
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"{path!r} is no mapping of settings; give a file, or 'iblrig'")
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(
            f"the mapping of settings {path} cannot be read: {error}; give a file in JSON, or "
            f"{' or '.join(map(repr, KNOWN_MAPPINGS))}"
        ) from error
    if not isinstance(values, dict):
        raise OptionError(f"the mapping of settings {path} is no object of JSON")
    return values


def _list_texts(name: str, values: Any) -> tuple[str, ...]:
    given = [values] if isinstance(values, str) else values
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise OptionError(f"{name} in the mapping of settings is {values!r}; give a list of texts")
    return tuple(given)


@dataclass(slots=True)
class SettingsReader:
    """Fill in what sessions say in their settings.

    `root` is the path of the archive, ready to stand before that of a session. `issues` are rows of
    ISSUES: files that cannot be read, up to now.
    """

    mapping: SettingsMapping
    root: str
    issues: list[tuple[object, ...]]

    def fill(self, sessions: pl.DataFrame, folders: pl.Series) -> pl.DataFrame:
        """Return SESSIONS with protocols and projects where these were ''.

        `folders` are those of the sessions, relative to the root.
        """
        lacks = [pl.col(name).fill_null("") == "" for name in _READ]
        wanted = sessions.select(pl.any_horizontal(lacks)).to_series()
        with open_threads(_THREADS, threading.Event()) as pool:
            found = [*pool.map(self._read_session, folders.filter(wanted))]
        schema = dict.fromkeys(_READ, pl.String)
        values = pl.DataFrame([pair for pair, _ in found], schema, orient="row")
        self.issues += [issue for _, issues in found for issue in issues]
        places = wanted.arg_true()
        return sessions.with_columns(
            pl.when(lack)
            .then(pl.lit(sessions[name].fill_null("").scatter(places, values[name])))
            .otherwise(pl.col(name))
            .alias(name)
            for name, lack in zip(_READ, lacks, strict=True)
        )

    def _read_session(self, folder: str) -> tuple[tuple[str, str], list[tuple[object, ...]]]:
        """Return the protocol and the projects of a session, and issues."""
        protocols: list[str] = []
        projects: list[str] = []
        issues: list[tuple[object, ...]] = []
        paths = {path for pattern in self.mapping.files for path in self._find(folder, pattern)}
        for path in sorted(paths):
            try:
                values = _read_values(self.root + path)
            except (OSError, ValueError, RecursionError) as error:
                number = error.errno if isinstance(error, OSError) else None
                message = f"no settings can be read from it: {printable(str(error))}"
                kind = IssueKind.UNREADABLE_CONTENT.value
                issues.append((printable(path), kind, number, message))
                continue
            parts = [_first_text(values, keys) for keys in self.mapping.task_protocol]
            if parts and parts[0]:
                protocols.append("".join(text for texts in parts for text in texts[:1]))
            projects += _first_text(values, self.mapping.projects)
        return ("/".join(protocols), ",".join(dict.fromkeys(projects))), issues

    def _find(self, folder: str, pattern: str) -> Iterator[str]:
        """Yield the files that match a pattern, one directory after the other."""
        name, _, rest = pattern.partition("/")
        try:
            with os.scandir(self.root + folder) as entries:
                matches = [
                    entry.name
                    for entry in entries
                    if fnmatch.fnmatchcase(entry.name, name)
                    and (entry.is_dir(follow_symlinks=False) if rest else entry.is_file())
                ]
        except OSError:  # the walk has reported it, or it is not on this disk
            return
        for match in matches:
            path = join(folder, match)
            if rest:
                yield from self._find(path, rest)
            else:
                yield path


def _read_values(path: str) -> Mapping[str, Any]:
    with open(path, "rb") as file:  # noqa: PTH123  a text, as the system has it
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    values = json.loads(content)
    if not isinstance(values, dict):
        raise ValueError("it is no object of JSON")
    return values


def _first_text(values: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    """Return the texts of the first key that has any, each in one line."""
    for key in keys:
        value = values.get(key)
        given = value if isinstance(value, list) else [value]
        texts = [" ".join(printable(text).split()) for text in given if isinstance(text, str)]
        if any(texts):
            return [text for text in texts if text]
    return []
