"""The rows of an inventory: what a listing of a whole archive says of each file and folder."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import polars as pl

from polars_alf.alf.paths import printable
from polars_alf.bucket.raw_keys import is_plain
from polars_alf.native.twin import CONTROL, Odd, is_valid


class Kind(IntEnum):
    """Kinds of rows: a file, a folder, or one of `Odd`."""

    FILE = 0
    INVALID_NAME = Odd.INVALID_NAME
    LINKED_DIRECTORY = Odd.LINKED_DIRECTORY
    SPECIAL_FILE = Odd.SPECIAL_FILE
    BROKEN_LINK = 32
    CIRCULAR_LINK = 33
    UNREAD_LINK = 34
    LINKED_FILE = 35
    """A link to a file, whose own size and time are not known."""
    FOLDER = 36


ODD_ENTRIES = {
    Kind.INVALID_NAME: (Odd.INVALID_NAME, 0),
    Kind.LINKED_DIRECTORY: (Odd.LINKED_DIRECTORY, 0),
    Kind.SPECIAL_FILE: (Odd.SPECIAL_FILE, 0),
    Kind.BROKEN_LINK: (Odd.UNREAD_LINK, errno.ENOENT),
    Kind.CIRCULAR_LINK: (Odd.UNREAD_LINK, errno.ELOOP),
    Kind.UNREAD_LINK: (Odd.UNREAD_LINK, errno.EIO),
    Kind.LINKED_FILE: (Odd.UNREAD_FILE, 0),
}
"""The kind and the error that a walk has for an entry of a kind."""

_FACTS = {
    "kind": pl.UInt8(),
    "file_size": pl.UInt64(),
    "mtime_ns": pl.Int64(),
    "inode": pl.UInt64(),
    "e_tag": pl.String(),
    "version": pl.String(),
}

RECORDS = pl.Schema({"path": pl.String(), **_FACTS})
"""Records of a listing, with paths as they stand in it."""

ROWS = pl.Schema({"directory": pl.String(), "name": pl.String(), **_FACTS})
"""The same with paths relative to the archive. Of an invalid name, ``name`` is for messages on a
file system, and all that follows ``directory`` in a bucket."""


@dataclass(slots=True)
class Records:
    """Some records of a listing.

    Parameters
    ----------
    frame
        With the columns RECORDS.
    undecoded
        Paths that are not UTF-8, with bytes as `os.fsdecode` has them.
    malformed
        Records that cannot be read, as text.
    """

    frame: pl.DataFrame
    undecoded: Sequence[str] = ()
    malformed: Sequence[str] = ()


@dataclass(slots=True)
class Relation:
    """How paths of a listing relate to an archive.

    Parameters
    ----------
    tops
        Paths of the archive that a path of the listing may begin with; relative paths that begin
        with none of them lie in the archive where `takes_relative` says so.
    is_bucket
        Whether paths are the keys of a bucket.

    Attributes
    ----------
    n_rows, n_outside : int
        Rows in the archive up to now, and outside of it.
    example : str
        A path outside, '' where there is none.
    """

    tops: Sequence[str]
    takes_relative: bool
    is_bucket: bool = False
    n_rows: int = field(default=0, init=False)
    n_outside: int = field(default=0, init=False)
    example: str = field(default="", init=False)

    def relate(self, records: Records) -> pl.DataFrame:
        """Return the records that lie in the archive, with the columns ROWS."""
        path = pl.col("path")
        nowhere = pl.lit(None, pl.String)
        related = path if self.takes_relative else nowhere
        if not self.is_bucket:
            is_absolute = path.str.starts_with("/")
            related = pl.when(is_absolute).then(nowhere).otherwise(related.str.strip_prefix("./"))
        for top in self.tops:
            below = pl.when(path.str.starts_with(f"{top}/")).then(path.str.strip_prefix(f"{top}/"))
            related = pl.when(path == top).then(pl.lit("")).otherwise(below.otherwise(related))
        found = records.frame.with_columns(related=related)
        outside = found.filter(pl.col("related").is_null())
        self._count_outside(outside["path"])
        found = found.drop_nulls("related").with_columns(path="related").drop("related")
        if not self.is_bucket:
            found = found.with_columns(path.str.strip_chars_end("/"))
        # The archive itself says nothing.
        found = found.filter(~path.is_in(["", "."]))
        self.n_rows += len(found)
        is_odd = found["path"].str.contains(_ODD_KEYS if self.is_bucket else _ODD_PATHS)
        odd = found.filter(is_odd)["path"].to_list()
        odd += filter(None, map(self._relate_one, records.undecoded))
        rows = found.filter(~is_odd)
        if self.is_bucket:
            rows = rows.with_columns(path.str.strip_suffix("/"))
        name = path.str.split("/").list.last()
        rows = (
            rows.lazy()
            .with_columns(name=name)
            .with_columns(directory=path.str.strip_suffix(pl.col("name")).str.strip_suffix("/"))
            .select(ROWS.names())
            .collect()
        )
        return pl.concat([rows, self._place_odd(odd)])

    def _relate_one(self, path: str) -> str | None:
        """Return one path relative to the archive; None where it lies outside, or is the root."""
        for top in self.tops:
            if path.startswith(f"{top}/"):
                self.n_rows += 1
                return path.removeprefix(f"{top}/")
        if self.takes_relative and not path.startswith("/"):
            self.n_rows += 1
            return path.removeprefix("./")
        self.n_outside += 1
        self.example = self.example or printable(path)
        return None

    def _count_outside(self, paths: pl.Series) -> None:
        if len(paths):
            self.n_outside += len(paths)
            self.example = self.example or printable(paths[0])

    def _place_odd(self, paths: Iterable[str]) -> pl.DataFrame:
        """Return rows for paths with an invalid name: its folder, and the name, each once."""
        found: dict[tuple[str, str], None] = {}
        for path in paths:
            names = path.split("/")
            last = next((i for i, name in enumerate(names) if not self._is_name(name)), 0)
            rest = "/".join(names[last:]) if self.is_bucket else printable(names[last])
            found["/".join(names[:last]), rest] = None
        columns = {
            "directory": [above for above, _ in found],
            "name": [name for _, name in found],
            "kind": [int(Kind.INVALID_NAME)] * len(found),
        }
        frame = pl.DataFrame(columns, {name: ROWS[name] for name in columns})
        return pl.concat([ROWS.to_frame(), frame], how="diagonal")

    def _is_name(self, name: str) -> bool:
        is_fine = is_plain if self.is_bucket else is_valid
        return name not in ("", ".", "..") and is_fine(name)


_ODD_PATHS = CONTROL.pattern + r"|(^|/)\.{0,2}(/|$)"
_ODD_KEYS = r"[\x00-\x1f\x7f]|//|^/|(^|/)\.\.?(/|$)"
