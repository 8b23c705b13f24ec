"""Which files of an archive the rows of its tables mean. Pure: frames in, frames out.

A row claims every file that it could mean, so that a file without a claim can go: also one with a
UUID in its name, whichever that is. A session is
recognised by subject, date and number, however the number is spelt, and by its lab as far as the
folders and the tables both know one. Where there is doubt the claim is wider, never narrower.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.paths import expr_below, expr_full, expr_join
from polars_alf.alf.uuid_names import expr_without_uuid

# Absolute, or with parts that are no names, or as Windows writes it: readers disagree on where
# such a path leads.
_ODD_PATH = r"(?:^|/)\.{0,2}(?:/|$)|\\|^[A-Za-z]:"

_LAST_NAME = r"([^/\\:]+)[/\\]*$"

_LAB_OF_EID = r"^([^/]+)/[^/]+/[^/]+/[^/]+$"

# ONE cuts the name of a lab such as `my-lab` to this.
_LAB_OF_ONE = r"([\p{L}\p{N}_]+)$"

_KEYS = ("subject", "date", "number")

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """The sessions that the rows of the tables mean."""

    sessions: pl.DataFrame
    """``session``: those that have a row, perhaps repeated; all where a row does not tell which."""
    owners: pl.DataFrame
    """``owner`` and ``eid``: the sessions that an id means."""
    eids: pl.DataFrame
    """``eid``: ids that mean sessions, in this archive or elsewhere."""
    belong: bool
    """Whether the tables and the archive have a session in common, its lab included."""


@dataclass(frozen=True, slots=True)
class FileClaims:
    """The files that rows of the datasets mean."""

    files: pl.DataFrame
    """``owner``, ``key``: files by session and folded rel_path."""
    paths: pl.DataFrame
    """``key``: folded rel_paths of rows whose session is unknown; claimed in every session."""
    names: pl.DataFrame
    """``name``: folded names from rel_paths that are odd; claimed wherever they are."""


def list_owners(directories: pl.LazyFrame, root: str) -> pl.LazyFrame:
    """List the sessions that each directory may be said to lie in.

    Adds to DIRECTORIES, below the POSIX path of a root, the ``owner`` with its ``lab`` (null
    where there is no lab's folder), ``subject``, ``date`` and ``number``. One row has the session
    itself for owner; there is one more for each session inside it, which ONE would open.
    """
    parts = grammar.expr_session_parts(expr_full(root, "directory"))
    owners = (
        directories.select("session", owner="directory", parts=parts)
        .unnest("parts")
        .drop_nulls("subject")
        .with_columns(_fold(pl.col("lab", "subject")), pl.col("number").cast(pl.Int64))
    )
    is_inside = pl.concat_str("directory", pl.lit("/")).str.starts_with(
        pl.concat_str("owner", pl.lit("/"))
    )
    is_session = pl.col("owner") == pl.col("session")
    return directories.join(owners, on="session").filter(is_session | is_inside)


def claim_sessions(
    owners: pl.DataFrame, sessions: pl.DataFrame, eids: pl.DataFrame
) -> SessionClaims:
    """Find the owners of files that are claimed by rows of sessions, and by ids of datasets.

    The columns of `sessions` are all String.
    """
    ids = _parse_ids(sessions.lazy(), eids.lazy()).collect()
    # Some subjects at a time, as a join of all takes much memory.
    n_parts = len(owners) // _ROWS_AT_ONCE + 1
    part = (pl.col("subject").hash() % n_parts).cast(pl.UInt32)
    part_of_owner, part_of_id = (frame.select(part).to_series() for frame in (owners, ids))
    with_row, meant, belong = [], [], False
    for number in range(n_parts):
        pairs = _pair(owners.filter(part_of_owner == number), ids.filter(part_of_id == number))
        with_row.append(pairs.select("session").unique())
        meant.append(pairs.select("owner", "eid").unique())
        belong |= bool(pairs["agrees"].any())
    known = ids.select("eid").unique()
    if len(sessions.select(eid="id").join(known, on="eid", how="anti")):
        with_row = [owners.select("session").unique()]
    return SessionClaims(pl.concat(with_row), pl.concat(meant), known, belong)


def _pair(owners: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """Return ``session`` and ``owner`` with the ``eid`` that means them, and whether labs agree."""
    lab, lab_row = pl.col("lab").fill_null(""), pl.col("lab_row").fill_null("")
    agrees = pl.any_horizontal(
        lab == "", lab_row == "", lab_row == lab, lab_row == lab.str.extract(_LAB_OF_ONE)
    )
    return (
        owners.lazy()
        .select("session", "owner", "lab", *_KEYS)
        .unique()
        .join(ids.unique().with_row_index("row").lazy(), on=_KEYS, suffix="_row")
        .with_columns(agrees=agrees)
        # A lab that nothing agrees with was renamed, is reached by a link, or is unknown here.
        .filter(pl.col("agrees") | ~pl.col("agrees").any().over("row"))
        .collect()
    )


def claim_files(owners: pl.DataFrame, eids: pl.DataFrame, datasets: pl.DataFrame) -> FileClaims:
    """Find the files that some rows of datasets, whose columns are all String, mean.

    `owners` and `eids` are those of `SessionClaims`; the files have the columns that these may
    have beside.
    """
    rows = datasets.select(
        "eid",
        key=_fold(pl.col("rel_path")),
        is_odd=pl.col("rel_path").str.contains(_ODD_PATH),
    )
    return FileClaims(
        files=rows.join(owners, on="eid").drop("eid", "is_odd").unique(),
        paths=rows.join(eids, on="eid", how="anti").select("key").drop_nulls().unique(),
        names=rows.filter("is_odd").select(name=pl.col("key").str.extract(_LAST_NAME)).unique(),
    )


def find_claimed(entries: pl.LazyFrame, owners: pl.LazyFrame, claims: FileClaims) -> pl.LazyFrame:
    """Find the files that a row claims, and those that lie in no session that rows could name.

    Entries are numbered by a column ``entry``; the result has each number once.
    """
    placed = (
        entries.join(owners.select("directory", "owner"), on="directory")
        .with_columns(path=expr_join("directory", "name"))
        .select(
            "entry",
            "owner",
            key=_fold(expr_below("path", "owner")),
            name=_fold(pl.col("name")),
        )
    )
    # Rows of a database, or of an index that took ids from names, mean files with UUIDs in these.
    path, name = (expr_without_uuid(pl.col(column)) for column in ("key", "name"))
    named = placed.filter(path != pl.col("key")).with_columns(key=path, name=name)
    placed = pl.concat([placed, named])
    claimed = [
        entries.join(owners, on="directory", how="anti"),
        placed.join(claims.files.lazy(), on=["owner", "key"], how="semi"),
        placed.join(claims.paths.lazy(), on="key", how="semi"),
        placed.join(claims.names.lazy(), on="name", how="semi"),
    ]
    return pl.concat([frame.select("entry") for frame in claimed]).unique()


def _parse_ids(sessions: pl.LazyFrame, eids: pl.LazyFrame) -> pl.LazyFrame:
    """Return the sessions that ids mean: by a row of the sessions table, and by the id itself.

    They may be there twice.
    """
    rows = sessions.select(
        eid="id",
        lab=_fold(pl.col("lab")),
        subject=_fold(pl.col("subject")),
        # A time of day may follow, and a number have come as 1.0, where pandas had missing ones.
        date=pl.col("date").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False),
        number=pl.col("number").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False),
    )
    ids = (
        pl.concat([rows.select("eid"), eids.select("eid")])
        .filter(pl.col("eid").str.contains("/", literal=True))
        .unique()
        .select("eid", parts=grammar.expr_session_parts(pl.col("eid")))
        .unnest("parts")
        .select(
            "eid",
            lab=_fold(pl.coalesce("lab", pl.col("eid").str.extract(_LAB_OF_EID))),
            subject=_fold(pl.col("subject")),
            date="date",
            number=pl.col("number").cast(pl.Int64),
        )
    )
    return pl.concat([rows, ids]).drop_nulls(_KEYS)


def _fold(text: pl.Expr) -> pl.Expr:
    """Return texts alike that a file system may take for the same name."""
    return text.str.normalize("NFC").str.to_lowercase()
