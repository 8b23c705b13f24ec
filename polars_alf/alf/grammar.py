"""The grammar of ALF names and paths, and the QC outcomes.

The names of datasets and their parts are those of `one.alf.spec`, which
<https://int-brain-lab.github.io/ONE/alf_intro.html> explains. Each pattern is written once, without
look-around, for two engines: Python's `re`, for one text at a time, and the Rust crate `regex`, in
Polars expressions.

The differences from ONE are deliberate. The whole text has to match: ONE lets a final line feed
pass, and searches a path for a session, so that `my subject` becomes `subject`. A date is a real
day in ASCII digits, a number is in ASCII digits, and a lab is the whole name of its folder.

Paths are POSIX. For a text that ALF does not allow, a `parse_` function returns None, and its
expression, as for null, a null Struct; nothing raises.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import polars as pl

from polars_alf.alf.folder_names import DATE, NUMBER, is_date

# Python's \w, but for characters newer than Python's Unicode. Rust's own \w adds marks, connectors
# and joiners, so that files would become datasets that ONE does not see.
_RUST_WORD = r"[\p{L}\p{N}_]"


class _Pattern:
    """A pattern of a whole text, for Python and for Polars."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.fullmatch = re.compile(source).fullmatch
        self._rust = f"^(?:{source})$".replace(r"\w", _RUST_WORD)

    def list_matches(self, texts: Sequence[str]) -> list[bool]:
        return pl.Series(texts, dtype=pl.String).str.contains(self._rust).to_list()

    def expr_matches(self, text: pl.Expr) -> pl.Expr:
        return text.str.contains(self._rust)

    def expr_groups(self, text: pl.Expr) -> pl.Expr:
        # Alone, extract_groups gives the same for no match as for a match of no group.
        return pl.when(self.expr_matches(text)).then(text.str.extract_groups(self._rust))


_STEM = _Pattern(
    # An object that would be empty takes its last character from the namespace, as in ONE:
    # `_trials.x.y` is the object `s` of the namespace `trial`.
    r"(?:_(?P<namespace>[a-zA-Z0-9]+)?_?)?(?P<object>\w+)"
    # The prefix is an attribute's own namespace, deprecated but in use: `channels._phy_ids.csv`.
    r"\.(?P<attribute>(?:_[a-z]+_)?[a-zA-Z0-9]+(?:_times|_intervals)?)(?:_(?P<timescale>\w+))?"
)

_EXTRA = _Pattern(r"[.\w-]+")

match_extra = _EXTRA.fullmatch
"""Match a text, or the part of it between two positions, that can be the extra parts of a name."""

# One group for all the extra parts: repeated, it would backtrack exponentially.
_TAIL = _Pattern(rf"(?:(?P<extra>{_EXTRA.source})\.)?(?P<extension>\w+)")

_FILE = _Pattern(rf"{_STEM.source}\.{_TAIL.source}")

_COLLECTION = _Pattern(r"(?:(?P<collection>[\w./-]+)/)?(?:#(?P<revision>[\w.-]+)#/)?")

_REL_STEM = _Pattern(_COLLECTION.source + _STEM.source)

_REL_PATH = _Pattern(_COLLECTION.source + _FILE.source)

_USUAL_LAB = _Pattern(r"\w+")

_SUBJECT = _Pattern(r"[\w.-]+")

_SESSION = _Pattern(
    # Any folders above, even with line feeds in their names; lazily, to leave the lab to its group.
    r"(?s:.*?/)??(?:(?P<lab>[^/]+)/Subjects/)?"
    rf"(?P<subject>{_SUBJECT.source})/(?P<date>{DATE})/(?P<number>{NUMBER})"
)

UUID_LENGTH = 36

UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[345][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
"""Pattern of a UUID as `is_uuid` takes it, for other patterns to contain."""

_UUID = _Pattern(UUID_PATTERN)


class FileParts(NamedTuple):
    """The parts of a dataset's name, as `one.alf.path.filename_parts` names them."""

    namespace: str | None
    object: str
    attribute: str
    timescale: str | None
    extra: str | None
    extension: str


class CollectionParts(NamedTuple):
    """A folder in a session: `collection/#revision#`, both optional."""

    collection: str | None
    revision: str | None


class RelPathParts(NamedTuple):
    """The parts of a dataset's path in its session, as `one.alf.path.rel_path_parts` has them."""

    collection: str | None
    revision: str | None
    namespace: str | None
    object: str
    attribute: str
    timescale: str | None
    extra: str | None
    extension: str


class SessionParts(NamedTuple):
    """The parts of a session's path, as spelt on disk: joined again, they are that path."""

    lab: str | None
    subject: str
    date: str
    number: str

    @property
    def date_value(self) -> datetime.date:
        """The day of the session."""
        return datetime.date.fromisoformat(self.date)

    @property
    def number_value(self) -> int:
        """The number of the session in its day: 1 for `1` and for `001`."""
        return int(self.number)


def is_dataset_name(name: str) -> bool:
    """Whether a file's whole name follows ALF (`one.alf.spec.FILE_SPEC`)."""
    return _FILE.fullmatch(name) is not None


def are_dataset_names(names: Sequence[str]) -> list[bool]:
    """`is_dataset_name` of many names in ASCII, ten times as fast."""
    return _FILE.list_matches(names)


def parse_file_name(name: str) -> FileParts | None:
    """Split a file's name into its ALF parts; absent ones are None."""
    match = _FILE.fullmatch(name)
    return FileParts(*match.groups()) if match else None


def parse_collection(directory: str) -> CollectionParts | None:
    """Split a folder into collection and revision (`one.alf.spec.COLLECTION_SPEC`).

    The folder is relative to the session, without a final slash; "" is the session's own.
    """
    match = _COLLECTION.fullmatch(f"{directory}/" if directory else "")
    return CollectionParts(*match.groups()) if match else None


def parse_rel_path(rel_path: str) -> RelPathParts | None:
    """Split a dataset's path in its session into its ALF parts (`one.alf.spec.REL_PATH_SPEC`)."""
    match = _REL_PATH.fullmatch(rel_path)
    return RelPathParts(*match.groups()) if match else None


def parse_session_path(path: str) -> SessionParts | None:
    """Split the end of a path, `[lab/Subjects/]subject/date/number` (`one.alf.spec.SESSION_SPEC`).

    The path has no final slash. Folders above these components are ignored.
    """
    match = _SESSION.fullmatch(path)
    return SessionParts(*match.groups()) if match and is_date(match["date"]) else None


def is_usual_lab(name: str) -> bool:
    """Whether ONE recognises a lab's whole name; it cuts other names, or ignores them."""
    return _USUAL_LAB.fullmatch(name) is not None


def is_subject(name: str) -> bool:
    """Whether a folder's name can be a subject's."""
    return _SUBJECT.fullmatch(name) is not None


def is_uuid(value: str) -> bool:
    """Whether `one.alf.spec` accepts a UUID: version 3, 4 or 5, lower-case, with hyphens."""
    return _UUID.fullmatch(value) is not None


def expr_is_dataset_name(name: pl.Expr) -> pl.Expr:
    """`is_dataset_name` of a String column, as Boolean."""
    return _FILE.expr_matches(name)


def expr_file_parts(name: pl.Expr) -> pl.Expr:
    """`parse_file_name` of a String column, as Struct with the fields of `FileParts`."""
    return _FILE.expr_groups(name)


def expr_collection_parts(directory: pl.Expr) -> pl.Expr:
    """`parse_collection` of a String column, as Struct with the fields of `CollectionParts`."""
    folder = pl.when(directory != "").then(directory + "/").otherwise(directory)
    return _COLLECTION.expr_groups(folder)


def expr_rel_path_parts(rel_path: pl.Expr) -> pl.Expr:
    """`parse_rel_path` of a String column, as Struct with the fields of `RelPathParts`."""
    dtype = pl.Struct(dict.fromkeys(RelPathParts._fields, pl.String))
    return rel_path.map_batches(
        lambda paths: _map_distinct(paths, _split_rel_paths),
        return_dtype=dtype,
        is_elementwise=True,
    )


def _map_distinct(values: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Apply an elementwise function, once to equal values where many are equal."""
    # A sample will do: to count the distinct values of all takes a sixth of the time of parsing.
    sample = values.head(10_000)
    if sample.n_unique() > len(sample) // 2:
        return function(values)
    given = values.to_frame("value")
    distinct = given.unique()
    positions = given.join(
        distinct.with_row_index("position"),
        on="value",
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return function(distinct["value"]).gather(positions["position"])


def _split_rel_paths(paths: pl.Series) -> pl.Series:
    # The pattern of the whole path takes three times as long where all names differ, as those with
    # UUIDs do. Neither object nor attribute has a full stop, so the name's second one divides the
    # path into a stem, of which there are few, and a tail with a cheap pattern.
    name, pieces = pl.col("name"), pl.col("pieces").struct
    stem = pl.concat_str(
        pl.col("path").str.strip_suffix(name),
        pieces.field("field_0"),
        pl.lit("."),
        pieces.field("field_1"),
    )
    tail, extension = pl.col("tail"), pl.col("extension")
    extra = tail.str.strip_suffix(extension).str.strip_suffix(".")
    return (
        pl.DataFrame({"path": paths})
        .select("path", name=pl.col("path").str.split("/").list.last())
        .select("path", "name", pieces=name.str.splitn(".", 3))
        .select(stem=stem, tail=pieces.field("field_2"))
        .select(
            "tail",
            parts=pl.col("stem").map_batches(lambda stems: _map_distinct(stems, _match_stems)),
            extension=tail.str.split(".").list.last(),
        )
        .select(
            pl.when(pl.col("parts").is_not_null() & _TAIL.expr_matches(tail)).then(
                pl.col("parts").struct.with_fields(
                    extra=pl.when(extra != "").then(extra), extension=extension
                )
            )
        )
        .to_series()
    )


def _match_stems(stems: pl.Series) -> pl.Series:
    return stems.to_frame("stem").select(_REL_STEM.expr_groups(pl.col("stem"))).to_series()


def expr_session_parts(path: pl.Expr) -> pl.Expr:
    """`parse_session_path` of a String column, as Struct with the fields of `SessionParts`.

    Lab and subject are String, the date is Date and the number UInt16.
    """
    parts = _SESSION.expr_groups(path).struct.with_fields(
        pl.field("date").str.to_date("%Y-%m-%d", strict=False),
        pl.field("number").cast(pl.UInt16),
    )
    # Polars, unlike Python, has a year 0.
    return pl.when(parts.struct.field("date").dt.year() > 0).then(parts)


def expr_is_uuid(value: pl.Expr) -> pl.Expr:
    """`is_uuid` of a String column, as Boolean."""
    return _UUID.expr_matches(value)


class QC(IntEnum):
    """Outcomes of quality control, with the values that Alyx and `one.alf.spec.QC` use."""

    NOT_SET = 0
    PASS = 10
    WARNING = 30
    FAIL = 40
    CRITICAL = 50

    @classmethod
    def parse(cls, value: int | str | QC) -> QC:
        """Return the outcome of a value, or of a name in any case; ValueError for any other."""
        try:
            if isinstance(value, str):
                return cls(int(value)) if value.isdecimal() else cls[value.upper()]
            return cls(value)
        except (KeyError, ValueError):
            outcomes = ", ".join(f"{outcome.name} ({outcome.value})" for outcome in cls)
            raise ValueError(f"{value!r} is not a QC outcome; use one of {outcomes}") from None


QC_NAMES = tuple(outcome.name for outcome in QC)
"""Names of the outcomes, in ascending order of value."""

QC_DTYPE = pl.Enum(QC_NAMES)
"""The type of `qc` columns, which sorts and compares by value, not by name."""
