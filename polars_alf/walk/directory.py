"""A directory that is listed ahead of a visit, in parts by several threads."""

from __future__ import annotations

import threading
from array import array

from polars_alf.walk.batches import Listing
from polars_alf.walk.columns import Columns, Examined


class Part:
    """Some files of a directory: their names until they are examined, then their listing.

    Of a session that is listed at once, ``codes`` of the names, and then ``examined``.
    """

    __slots__ = ("codes", "examined", "listing", "names")

    def __init__(self, names: list[str], listing: Listing, codes: array[int] | None = None) -> None:
        self.names = names
        self.listing = listing
        self.codes = codes
        self.examined: Examined | None = None


class Directory:
    """A directory that is listed ahead.

    Attributes
    ----------
    parts : list of Part
        The directory's own listing, then files that others examined.
    below : list of Directory
        The directories in it that are listed by themselves.
    columns : Columns or None
        The directory with what lies below it, where it was listed at once.
    instead : Directory or None
        What takes its place, where it was lost with all that lies below it.
    is_alone : bool
        Whether it is to be listed without what lies below it.
    is_lost : bool
        Whether the directory was given up, as it did not answer: its parts are worth nothing.
    """

    __slots__ = (
        *("below", "columns", "instead", "is_alone", "is_done", "is_lost", "lock", "n_left"),
        *("parts", "path", "session"),
    )

    def __init__(self, path: str, session: str | None, *, is_alone: bool) -> None:
        self.path = path
        self.session = session
        self.is_alone = is_alone
        self.parts: list[Part] = []
        self.below: list[Directory] = []
        self.columns: Columns | None = None
        self.instead: Directory | None = None
        self.is_done = False
        self.is_lost = False
        self.lock = threading.Lock()
        self.n_left = 1  # parts that are not examined yet; the first one is there from the start
