"""Exceptions and warnings.

Each is also the builtin that a caller would catch, and each message names the value, the place
and the cure. Across a million files nothing is raised: what cannot be read becomes a row of
`polars_alf.schema.ISSUES`.
"""

from __future__ import annotations


class PolarsAlfError(Exception):
    """Base of every exception that this package raises on purpose."""

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
    """An option has a value that makes no sense."""


class QueryError(OptionError):
    """A query in SQL is wrong, or asks for more than the tables."""


class LabConflictError(PolarsAlfError, ValueError, AssertionError):
    """A lab was given that contradicts the lab folders.

    Also an `AssertionError`, which is what `one.alf.cache` raises here.
    """


class NamespaceConflictError(PolarsAlfError, ValueError):
    """A namespace was given that would change the id of every session and dataset."""


class ArchiveBusyError(PolarsAlfError, BlockingIOError):
    """Another run is writing the same tables."""


class OutputError(PolarsAlfError, OSError):
    """The tables cannot be written: the disk is full, for one."""


class CommitError(PolarsAlfError, OSError):
    """New tables are whole, but cannot be put in their place; the next run tries again."""


class TableError(PolarsAlfError, ValueError):
    """A table cannot be read, or is not what its name says."""


class TableNotFoundError(TableError, FileNotFoundError):
    """A folder has no table of this name."""


class ColumnsError(TableError, AssertionError):
    """Records do not have a table's columns.

    Also an `AssertionError`, which is what `one.alf.cache` raises here.
    """


class MissingIdsError(TableError, KeyError):
    """A table has no column of ids."""

    __str__ = Exception.__str__  # KeyError's own puts quotes around the message


class UnknownTableError(TableError, KeyError):
    """A cache has no table of this name."""

    __str__ = Exception.__str__


class TornPairError(TableError):
    """Sessions and datasets are of two generations: a commit is under way, or was cut off."""


class ForeignTablesError(PolarsAlfError, ValueError):
    """There are no tables, or they are not those of the archive."""


class StalePlanError(PolarsAlfError, ValueError):
    """A plan was made with tables that have been replaced since."""


class MissingExtraError(PolarsAlfError, ImportError):
    """A feature needs a package of an extra that is not installed."""


class BenchError(PolarsAlfError, OSError):
    """A storage system cannot be measured, or what that made cannot be removed."""


class StorageFullError(BenchError):
    """A storage system has too little room to be measured."""


class ResultError(PolarsAlfError, ValueError):
    """A saved result of measuring cannot be read."""


class ScanError(PolarsAlfError, RuntimeError):
    """The run failed as a whole: the archive went away, or a worker was killed."""


class TableWarning(UserWarning):
    """A table was passed over, or could not be read where that does no harm."""


class KeptWarning(UserWarning):
    """Files that no table has were kept, as it is not certain that they may go."""


class NoSessionsWarning(RuntimeWarning):
    """The archive has no sessions, or no datasets: the tables are empty."""
