"""Judge directories by their paths alone: which are sessions, where a walk goes, what is odd."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from polars_alf.alf import grammar
from polars_alf.alf.folder_names import is_date, is_number, look_like_dates, looks_like_date
from polars_alf.alf.paths import join, printable
from polars_alf.alf.root import Root
from polars_alf.display import count
from polars_alf.errors import ScanError
from polars_alf.schema import IssueKind
from polars_alf.walk.batches import Issue

_NESTED = re.compile(r"/[0-9]{1,3}(?=/|$)")
"""Pattern of a name among paths that is the number of a session."""


class Layout:
    """The layout of one archive, whose root completes the paths of sessions.

    Attributes
    ----------
    issues : list of Issue
        What was reported, in the order of the walk.
    """

    def __init__(self, root: Root) -> None:
        self.issues: list[Issue] = []
        self._root = root
        self._root_parts = tuple(filter(None, root.posix.split("/")))
        self._valid: set[str] = set()  # ends of directories that are collections as ALF has them

    def _parts(self, directory: str) -> list[str]:
        """Return the last components of a directory's path: three, if there are as many."""
        # This runs a few times for every directory that lies in no session.
        parts = directory.rsplit("/", 3)
        if len(parts) > 3:
            return parts[1:]
        return [*self._root_parts, *parts] if directory else [*self._root_parts]

    def is_session(self, directory: str) -> bool:
        """Whether a directory is a session, in another one or not."""
        parts = self._parts(directory)
        return (
            len(parts) > 2
            and is_number(parts[-1])
            and is_date(parts[-2])
            and grammar.is_subject(parts[-3])
        )

    def is_dated(self, directory: str) -> bool:
        """Whether a directory is called like a date, or is a session."""
        name = directory.rpartition("/")[2]
        return looks_like_date(name) or self.is_session(directory)

    def find_session(self, directory: str) -> str | None:
        """Return a directory that lies in no session, if it is one itself."""
        return directory if self.is_session(directory) else None

    def find_sessions(self, directories: Iterable[str]) -> list[str | None]:
        """Return the session that each directory lies in or is; each comes before those in it."""
        sessions: dict[str, str | None] = {}
        for path in directories:
            above = sessions.get(path.rpartition("/")[0])
            sessions[path] = above if above is not None else self.find_session(path)
        return [*sessions.values()]

    def list_above_dates(
        self, directory: str, session: str | None, names: Sequence[str]
    ) -> list[tuple[str, str | None]]:
        """Return the directories that a survey enters."""
        return [(join(directory, name), None) for name in self.divide(directory, names)[1]]

    def divide(self, directory: str, names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Return the names of dated folders among those in a directory, and the others."""
        if look_like_dates(names):
            return names, ()
        dated = {*filter(looks_like_date, names)}
        if self._is_subjects_date(directory):
            dated.update(filter(is_number, names))
        found = [name for name in names if name in dated]
        return found, [name for name in names if name not in dated]

    def _is_subjects_date(self, directory: str) -> bool:
        """Whether sessions may lie in a directory."""
        parts = self._parts(directory)
        return len(parts) > 1 and is_date(parts[-1]) and grammar.is_subject(parts[-2])

    def list_below(
        self, directory: str, session: str | None, names: Sequence[str]
    ) -> list[tuple[str, str | None]]:
        """Return the directories that a walk enters, and the session of each."""
        if session is None:
            may_be = self._is_subjects_date(directory)
            paths = ((join(directory, name), name) for name in names)
            return [(p, p if may_be and is_number(name) else None) for p, name in paths]
        above = f"{directory}/" if directory else ""
        return [(above + name, session) for name in names]

    def check_sessions(
        self,
        directories: Sequence[str],
        sessions: Sequence[str],
        subdirectories: Sequence[str],
        begun: Collection[str],
    ) -> None:
        """Do what `check_in_session` does for many directories; `begun` are sessions themselves."""
        if _NESTED.search("/".join(("", *subdirectories))):
            for directory, session, below in zip(
                directories, sessions, subdirectories, strict=True
            ):
                self.check_in_session(directory, session, below.split("/"))
            return
        for directory in filter(begun.__contains__, directories if begun else ()):
            self._check_number(directory)

    def check_in_session(self, directory: str, session: str, names: Sequence[str]) -> None:
        """Report sessions among the directories in a session, and a session's own odd number."""
        for name in filter(is_number, names):
            self._check_nested(join(directory, name), session)
        if directory == session:
            self._check_number(directory)

    def _check_number(self, directory: str) -> None:
        name = directory.rpartition("/")[2] or self._parts(directory)[-1]
        if len(name) < 3:
            self.report(
                directory,
                IssueKind.UNPADDED_NUMBER,
                f"ONE looks for this session in {name.zfill(3)!r}; rename the folder "
                f"{name!r} to that, or to a free number if there is one of that name",
            )

    def report_no_session(self, directory: str) -> None:
        """Report a directory that lies in no session where it nearly is one."""
        parts = self._parts(directory)
        name = parts[-1] if parts else ""
        if is_date(name):
            return
        if looks_like_date(name):
            self.report(
                directory,
                IssueKind.INVALID_DATE,
                f"{name!r} is no calendar date, so there are no sessions in it; rename it",
            )
        elif len(parts) > 2 and name.isdigit() and is_date(parts[-2]):
            if not is_number(name):
                self.report(
                    directory,
                    IssueKind.INVALID_NUMBER,
                    f"session number {name!r} is not one to three digits; rename it",
                )
            else:
                self.report(
                    directory,
                    IssueKind.INVALID_SUBJECT,
                    f"subject {parts[-3]!r} may have letters, digits, '_', '-' and '.' only; "
                    "rename it",
                )

    def report_strays(self, directory: str, n_strays: int) -> None:
        """Report files with names of datasets in a directory that lies in no session."""
        self.report(
            directory,
            IssueKind.OUTSIDE_SESSION,
            f"{count(n_strays, 'file')} named as a dataset, but in no session; move such a file "
            "into one, [lab/Subjects/]subject/yyyy-mm-dd/number, or exclude it",
        )

    def check_lab(self, directory: str) -> None:
        """Report the lab of a folder of subjects if its name is unusual."""
        parts = self._parts(directory) if directory.endswith("Subjects") else ()
        if len(parts) > 1 and parts[-1] == "Subjects" and not grammar.is_usual_lab(parts[-2]):
            self.report(
                directory.rpartition("/")[0],
                IssueKind.UNUSUAL_LAB,
                f"lab {parts[-2]!r} has more than letters, digits and '_'; ONE opens its data, "
                "but some of its functions cut the name; rename the folder if you can",
            )

    def check_collections(self, directories: Sequence[str], sessions: Sequence[str]) -> None:
        """Do what `check_collection` does for each of some directories."""
        if not self._valid.issuperset(map(str.removeprefix, directories, sessions)):
            for directory, session in zip(directories, sessions, strict=True):
                self.check_collection(directory, session)

    def check_collection(self, directory: str, session: str) -> None:
        """Report a directory that has datasets, and is no collection as ALF has them."""
        within = directory[len(session) :]
        if within in self._valid:
            return
        collection = within if not session else within[1:]
        if grammar.parse_collection(collection) is not None:
            self._valid.add(within)
        else:
            self.report(
                directory,
                IssueKind.INVALID_COLLECTION,
                f"ALF allows no collection {collection!r}; its datasets are in the table with "
                "their real path, but ONE may not find them; rename it",
            )

    def _check_nested(self, directory: str, session: str) -> None:
        if self.is_session(directory):
            self.report(
                directory,
                IssueKind.NESTED_SESSION,
                f"looks like a session inside the session {session!r}, to which its files were "
                "given; move it out",
            )

    def report_lost(self, directory: str, op_timeout: float | None) -> None:
        """Report a directory that did not answer in so many seconds; ScanError for the root."""
        patience = f"did not answer within {op_timeout or 0:g} s"
        if not directory:
            raise ScanError(
                f"the archive {self._root} {patience}; tables that were there are as they were; "
                "see to the storage, or give it more time"
            )
        self.report(
            directory,
            IssueKind.TIMED_OUT,
            f"{patience}, so nothing in it was taken; see to the storage, or give it more time",
        )

    def report(self, path: str, kind: IssueKind, message: str) -> None:
        """Add an issue."""
        self.issues.append((printable(path) or ".", str(kind), None, printable(message)))
