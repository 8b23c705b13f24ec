"""Exceptions and warnings.

Each is also the builtin that a caller would catch, and each message names the value, the place
and the cure. A file that cannot be read raises nothing: it becomes a row of
`polars_alf.schema.ISSUES`.
"""

from __future__ import annotations


class PolarsAlfError(Exception):
    """Base of all exceptions that this package raises on purpose."""

    def __str__(self) -> str:
        # An OSError with an errno would put that before a message that says it in words.
        return getattr(self, "strerror", None) or super().__str__()


class ArchiveNotFoundError(PolarsAlfError, FileNotFoundError):
    """The archive, or the folder for its tables, does not exist."""


class ArchiveNotADirectoryError(PolarsAlfError, NotADirectoryError):
    """The archive, or the folder for its tables, is not a directory."""


class ArchivePermissionError(PolarsAlfError, PermissionError):
    """The archive cannot be listed, or the folder for its tables cannot be written."""


class OptionError(PolarsAlfError, ValueError):
    """An option has an invalid value."""


class InventoryError(OptionError):
    """An inventory cannot be read, or is not one of the archive."""


class NamedFileNotFoundError(OptionError, ArchiveNotFoundError):
    """A file that an option names does not exist."""


class EncodingError(PolarsAlfError, UnicodeError):
    """The names of files are not decoded as UTF-8, as tables have them, by this process."""


class ForkError(PolarsAlfError, RuntimeError):
    """A process that was forked from one in which Polars had run would wait for ever."""


class LimitError(PolarsAlfError, OSError):
    """A limit of this process on address space, threads or open files is too low."""


class QueryError(OptionError):
    """An SQL query is invalid, or reads something else than the tables."""


class LabConflictError(PolarsAlfError, ValueError, AssertionError):
    """The lab given contradicts the lab folders; `one.alf.cache` raises an `AssertionError`."""


class NamespaceConflictError(PolarsAlfError, ValueError):
    """The namespace given would change the id of every session and dataset."""


class IdsConflictError(PolarsAlfError, ValueError):
    """Ids of paths would replace the UUIDs of the tables that are there."""


class MassRemovalError(PolarsAlfError, RuntimeError):
    """An index would remove more of the tables that are there than it may.

    Attributes
    ----------
    n_removed, n_before
        Datasets that would be removed, and those that there are.
    n_removed_sessions, n_sessions_before
        The same for sessions.
    labs : tuple of str
        Labs that would lose all of their sessions, '' for those of no lab.
    examples : tuple of str
        Some of the sessions that would lose most, as ``[lab/Subjects/]subject/date/number``.
    """

    def __init__(
        self,
        *message: object,
        n_removed: int = 0,
        n_before: int = 0,
        n_removed_sessions: int = 0,
        n_sessions_before: int = 0,
        labs: tuple[str, ...] = (),
        examples: tuple[str, ...] = (),
    ) -> None:
        super().__init__(*message)
        self.n_removed = n_removed
        self.n_before = n_before
        self.n_removed_sessions = n_removed_sessions
        self.n_sessions_before = n_sessions_before
        self.labs = labs
        self.examples = examples


class MissingPartsError(PolarsAlfError, RuntimeError):
    """A job array cannot be assembled, as some of its parts have not finished.

    Attributes
    ----------
    parts : tuple of int
        The parts that have not finished, from 1 on; none where no part has begun.
    """

    def __init__(self, *message: object, parts: tuple[int, ...] = ()) -> None:
        super().__init__(*message)
        self.parts = parts


class ArchiveBusyError(PolarsAlfError, BlockingIOError):
    """Another run is writing the same tables."""


class OutputError(PolarsAlfError, OSError):
    """The tables cannot be written, for example because the disk is full."""


class OverwriteError(OutputError):
    """A file would lie in an archive or among tables, or replace one that is there."""


class CommitError(PolarsAlfError, OSError):
    """New tables are complete but cannot replace the old ones; the next run tries again."""


class TableError(PolarsAlfError, ValueError):
    """A table cannot be read, or is not the table that its name promises."""


class TableNotFoundError(TableError, FileNotFoundError):
    """A folder has no table of this name."""


class ColumnsError(TableError, AssertionError):
    """Records lack a table's columns; `one.alf.cache` raises an `AssertionError`."""


class MissingIdsError(TableError, KeyError):
    """A table has no column of ids."""

    __str__ = Exception.__str__  # KeyError's own quotes the message


class UnknownTableError(TableError, KeyError):
    """A cache has no table of this name."""

    __str__ = Exception.__str__


class TornPairError(TableError):
    """Sessions and datasets are of two generations: a commit is under way, or was cut off."""


class ForeignTablesError(PolarsAlfError, ValueError):
    """There are no tables, or they are of another archive."""


class StalePlanError(PolarsAlfError, ValueError):
    """The tables have been replaced since the plan was made."""


class MissingExtraError(PolarsAlfError, ImportError):
    """A package of an optional extra is not installed."""


class BenchError(PolarsAlfError, OSError):
    """A storage system cannot be measured, or the files of the measurement cannot be removed."""


class StorageFullError(BenchError):
    """A storage system has too little free space to be measured."""


class ResultError(PolarsAlfError, ValueError):
    """A saved measurement cannot be read."""


class ScanError(PolarsAlfError, RuntimeError):
    """A run failed as a whole: the archive disappeared, or a worker was killed."""


class TableWarning(UserWarning):
    """A table was skipped, or could not be read where that does no harm."""


class KeptWarning(UserWarning):
    """Files that are in no table were kept, as it is uncertain that they may be removed."""


class TakeoverWarning(UserWarning):
    """A run that was writing the same tables was cut off, and this one takes its place."""


class NoSessionsWarning(RuntimeWarning):
    """The archive has no sessions, or no datasets: the tables are empty."""
