"""Exclusion of files and folders by patterns as in .gitignore."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from polars_alf.alf.paths import join, list_folders_above

if TYPE_CHECKING:  # loaded where something is excluded
    import pathspec

_MOST_NAMES = 65_536
"""Names of which it is remembered whether they are left out: those that never repeat are more."""

_ANY_FOLDER = "(?P<ps_d>/)"


class Exclusion:
    """Patterns that leave files and folders out of a walk, which does not enter such a folder.

    As in git, the last pattern that an entry itself matches decides. (pathspec judges a path with
    all above it, and so lets ``!*/`` take back no folder that ``*`` excludes.) The name of an
    entry, which repeats, nearly always tells which that is.

    Parameters
    ----------
    lines
        The patterns, as in .gitignore.

    Attributes
    ----------
    is_empty : bool
        Whether there are no patterns.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.is_empty = not lines
        self._rules = [*map(_make_rule, reversed(lines))]
        self._known: dict[str, bool | None] = {}

    def leaves_out(self, directory: str, name: str) -> bool:
        """Whether an entry of a directory is left out; `name` ends with a slash if it is one."""
        is_out = self.judge_name(name)
        return self._judge(join(directory, name)) if is_out is None else is_out

    def judge_name(self, name: str) -> bool | None:
        """Whether an entry is left out, as far as its name tells; None where its path decides."""
        if self.is_empty:
            return False
        if name in self._known:
            return self._known[name]
        rule = next((rule for rule in self._rules if rule.names.search(name)), None)
        is_out = None if rule and not rule.is_of_names else bool(rule and rule.excludes)
        if len(self._known) < _MOST_NAMES:
            self._known[name] = is_out
        return is_out

    def takes_back(self, path: str) -> bool:
        """Whether a pattern that begins with ! names a path, not by wildcards alone."""
        rule = self._find_rule(path)
        return rule is not None and not rule.excludes and rule.is_named

    def covers(self, path: str) -> bool:
        """Whether a walk leaves out a path: by itself, or with a folder above it."""
        if self.is_empty:
            return False
        folders = (f"{folder}/" for folder in list_folders_above(path.rstrip("/"))[1:-1])
        return any(map(self._judge, (*folders, path)))

    def _judge(self, path: str) -> bool:
        """Whether a path itself is left out."""
        rule = self._find_rule(path)
        return rule is not None and rule.excludes

    def _find_rule(self, path: str) -> _Rule | None:
        """Return the last pattern that a path itself matches."""
        return next((rule for rule in self._rules if rule.matches(path)), None)


class _Rule(NamedTuple):
    """A pattern: `names` is what the names of its matches match, all there is if `is_of_names`.

    `is_named` tells whether the name is asked for, and not by wildcards alone.
    """

    excludes: bool
    paths: re.Pattern[str]
    names: re.Pattern[str]
    is_of_names: bool
    is_named: bool

    def matches(self, path: str) -> bool:
        """Whether a path matches by itself, and not by a folder above it.

        pathspec has regular expressions of five kinds, which it searches for: ``.`` is any path,
        ``(?P<ps_d>/)`` any folder, what ends with a slash all that lies in a folder; others end
        with ``(?P<ps_d>/)``, for folders, or with ``(?:(?P<ps_d>/)|$)``.
        """
        regex = self.paths.pattern
        if regex == ".":
            return True
        if regex == _ANY_FOLDER:
            return path.endswith("/")
        if regex.endswith("/"):
            found = self.paths.search(path)
            return found is not None and found.end() < len(path)
        return self.paths.fullmatch(path) is not None


def _make_rule(line: str) -> _Rule:
    if line.endswith("/**/"):  # the folders in one, which pathspec takes for that itself
        line += "*/"
    shape = line.strip().removeprefix("!")
    is_of_names = "/" not in shape.removesuffix("/")
    last = shape.rstrip("/").rpartition("/")[2]
    paths = names = _compile(line)
    if not is_of_names:
        names = _compile("*" if last == "**" else f"**/{last}")
    is_named = last.strip("*?") != ""
    return _Rule(not line.startswith("!"), paths, names, is_of_names, is_named)


def _compile(line: str) -> re.Pattern[str]:
    (pattern,) = compile_patterns([line]).patterns
    assert pattern.regex is not None, line  # WalkOptions has refused what stands for no file
    return pattern.regex


def compile_patterns(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    """Return compiled patterns."""
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)
