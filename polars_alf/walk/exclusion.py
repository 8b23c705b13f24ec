"""What patterns as in .gitignore leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polars_alf.alf.paths import join, list_folders_above

if TYPE_CHECKING:  # loaded where something is excluded
    import pathspec

_MOST_NAMES = 65_536
"""Names of which it is remembered whether they are left out: those that never repeat are more."""


class Exclusion:
    """What patterns leave out of a walk, which enters no folder that they leave out.

    Where none of the patterns takes back what another excludes, the name of an entry, which
    repeats, nearly always tells: those without a slash ask for no more, and those with one ask for
    a name, too. pathspec itself takes some microseconds for each path.

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
        if self.is_empty:
            return
        self._patterns = compile_patterns(lines)
        self._excludes_only = all(pattern.include for pattern in self._patterns.patterns)
        of_paths = [line for line in lines if "/" in line.strip().removesuffix("/")]
        # A file lies in no folder that is left out, so what is only of folders says nothing of it.
        of_files = [line for line in of_paths if not _is_of_folders(line)]
        self._name_patterns = compile_patterns([line for line in lines if line not in of_paths])
        self._folder_names = compile_patterns([_find_name(line) for line in of_paths])
        self._file_names = compile_patterns([_find_name(line) for line in of_files])
        self._known: dict[str, bool | None] = {}

    def leaves_out(self, directory: str, name: str) -> bool:
        """Whether an entry of a directory is left out; `name` ends with a slash if it is one."""
        if self.is_empty:
            return False
        is_out = self.judge_name(name)
        if is_out is None:
            return self._patterns.match_file(join(directory, name))
        return is_out

    def judge_name(self, name: str) -> bool | None:
        """Whether an entry is left out, as far as its name tells; None where its path decides."""
        if self.is_empty:
            return False
        if not self._excludes_only:
            return None
        if name in self._known:
            return self._known[name]
        is_out: bool | None = self._name_patterns.match_file(name)
        by_path = self._folder_names if name.endswith("/") else self._file_names
        if not is_out and by_path.match_file(name):
            is_out = None
        if len(self._known) < _MOST_NAMES:
            self._known[name] = is_out
        return is_out

    def takes_back(self, path: str) -> bool:
        """Whether a pattern that begins with ! names a path."""
        return not self.is_empty and self._patterns.check_file(path).include is False

    def covers(self, path: str) -> bool:
        """Whether a walk leaves out a path: by itself, or with a folder above it."""
        if self.is_empty:
            return False
        folders = list_folders_above(path)[1:-1]
        return any(
            self._patterns.match_file(above) for above in (*(f"{f}/" for f in folders), path)
        )


def compile_patterns(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    """Return compiled patterns."""
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _is_of_folders(line: str) -> bool:
    """Whether a pattern is only of folders, or of all that lies in one."""
    return line.endswith("/") or (line.endswith("/**") and line.strip("/*") != "")


def _find_name(line: str) -> str:
    """Return the pattern of the names that what a pattern with a slash leaves out may have."""
    parts = line.strip("/").split("/")
    while parts and parts[-1] == "**":
        parts.pop()
    return f"**/{parts[-1]}" if parts else "*"
