r"""What an index should find, by the plainest means: `os.walk` over bytes, and ALF's grammar.

Shares no code with the package. Follows docs/tables.md: a session is
``[lab/Subjects/]subject/date/number``, the outermost one owns what is below it, a dataset is a file
or a link to one whose whole name ONE takes for a dataset's. Links to folders are for other tests.
"""

from __future__ import annotations

import datetime
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from one.alf import spec

_NAME = re.compile(spec.regex(spec.FILE_SPEC).pattern.removeprefix("^").removesuffix("$"))
_SUBJECT = re.compile(r"[\w.-]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{1,3}")


@dataclass
class Expected:
    """What is in an archive, by paths relative to it."""

    sessions: set[str] = field(default_factory=set)
    datasets: dict[str, int] = field(default_factory=dict)
    others: int = 0
    invalid: set[str] = field(default_factory=set)
    special: set[str] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)

    @property
    def twins(self) -> set[str]:
        """Sessions that ONE takes for another: ``1`` and ``01`` beside ``001``."""
        kept: dict[tuple[str, int], str] = {}
        for session in sorted(self.sessions, key=lambda name: (-len(name), name)):
            dated, _, number = session.rpartition("/")
            kept.setdefault((dated, int(number)), session)
        return self.sessions - {*kept.values()}


def expect(root: Path) -> Expected:
    """Look through an archive."""
    found = Expected()
    top = os.fsencode(root)
    for folder, names, files in os.walk(top):
        inside = [part for part in os.path.relpath(folder, top).split(b"/") if part != b"."]
        parts = [part.decode() for part in inside]
        session = find_session(parts)
        if session and len(session) == len(parts):
            found.sessions.add("/".join(parts))
        for name in [*names]:
            if not is_valid(name):
                found.invalid.add(spell(b"/".join([*inside, name])))
                names.remove(name)
        for name in files:
            path = b"/".join([*inside, name])
            if not is_valid(name):
                found.invalid.add(spell(path))
                continue
            try:
                status = os.stat(os.path.join(folder, name))
            except OSError:
                found.broken.add(spell(path))
                continue
            if not stat.S_ISREG(status.st_mode):
                found.special.add(spell(path))
            elif _NAME.fullmatch(name.decode()) and session:
                found.datasets[path.decode()] = status.st_size
            else:
                found.others += 1
                if _NAME.fullmatch(name.decode()):
                    found.strays.add("/".join(parts) or ".")
    return found


def find_session(parts: list[str]) -> list[str] | None:
    """Return the path of the outermost session that a folder lies in, or is."""
    for end in range(3, len(parts) + 1):
        subject, date, number = parts[end - 3 : end]
        if _SUBJECT.fullmatch(subject) and is_date(date) and _NUMBER.fullmatch(number):
            return parts[:end]
    return None


def is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.date(*map(int, text.split("-")))
    except ValueError:
        return False
    return True


def is_valid(name: bytes) -> bool:
    """Tell whether a table can hold a name, and a line show it."""
    try:
        return not any(unicodedata.category(letter) == "Cc" for letter in name.decode())
    except UnicodeDecodeError:
        return False


def spell(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return "".join(
        f"\\x{ord(letter):02x}" if unicodedata.category(letter) == "Cc" else letter
        for letter in text
    )
