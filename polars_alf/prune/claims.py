"""Which files of an archive the rows of its tables mean. Pure: frames in, frames out.

A row claims every file that it could mean, so that a file without a claim can go: also one with a
UUID in its name, whichever that is. A session is
recognised by subject, date and number, however the number is spelt, and by its lab as far as the
folders and the tables both know one. Where there is doubt the claim is wider, never narrower.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import identify
from polars_alf.alf.path_columns import expr_below, expr_full, expr_join
from polars_alf.alf.uuid_names import expr_without_uuid
from polars_alf.query.spill import BUCKET, ROWS_PER_SLICE, Spill

# Absolute, or with parts that are no names, or as Windows writes it: readers disagree on where
# such a path leads.
_ODD_PATH = r"(?:^|/)\.{0,2}(?:/|$)|\\|^[A-Za-z]:"

_LAST_NAME = r"([^/\\:]+)[/\\]*$"

_LAB_OF_EID = r"^([^/]+)/[^/]+/[^/]+/[^/]+$"

# ONE cuts the name of a lab such as `my-lab` to this.
_LAB_OF_ONE = r"([\p{L}\p{N}_]+)$"

_KEYS = ("subject", "date", "number")


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """The sessions that the rows of the tables mean."""

    owners: pl.DataFrame
    """``key``, a hash of an eid, by which they are sorted, and the ``code`` of an owner that it
    means, null where it means a session that is not in this archive."""
    names_all: bool
    """Whether a row does not tell which session it means, so that it may be any."""
    belong: bool
    """Whether the tables and the archive have a session in common, its lab included."""


@dataclass(frozen=True, slots=True)
class FileClaims:
    """The files that rows of the datasets mean."""

    files: pl.DataFrame
    """``code``, ``key``: files by the code of their owner, and folded rel_path."""
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
    owners: Iterable[pl.DataFrame],
    sessions: Iterable[pl.DataFrame],
    eids: Iterable[pl.DataFrame],
    n_owners: int,
    folder: Path,
) -> SessionClaims:
    """Find the owners of files that are claimed by rows of sessions, and by ids of datasets.

    Parameters
    ----------
    owners
        Those of `list_owners`, some at a time: ``code``, another for each, and the parts.
    sessions, eids
        Rows of the sessions, and ``eid`` of datasets, some at a time; all are String.
    n_owners
        About how many there are.
    folder
        Takes what is much: a few subjects are in memory at a time.
    """
    n_parts = n_owners // ROWS_PER_SLICE + 1
    part = (pl.col("subject").hash() % n_parts).cast(pl.UInt32).alias(BUCKET)
    by_subject, ids = Spill(folder), Spill(folder)
    for rows in owners:
        by_subject.add(rows.with_columns(part))
    names_all = False
    for rows in sessions:
        parsed = pl.concat([_parse_rows(rows), _parse_ids(rows.select(eid="id"))])
        names_all |= bool(len(rows.select(eid="id").join(parsed, on="eid", how="anti")))
        ids.add(parsed.with_columns(part))
    for rows in eids:
        ids.add(_parse_ids(rows).with_columns(part))
    meant, belong = [], False
    for number in range(n_parts):
        wanted = ids.read(number).unique()
        pairs = _pair(by_subject.read(number), wanted)
        belong |= bool(pairs["agrees"].any())
        found = wanted.select("eid").join(pairs.select("eid", "code"), on="eid", how="left")
        meant.append(found.drop_nulls("eid").unique().select("code", key=identify(pl.col("eid"))))
    return SessionClaims(pl.concat(meant).sort("key"), names_all, belong)


def _pair(owners: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """Return the ``code`` of owners with the ``eid`` that means them, and whether labs agree."""
    lab, lab_row = pl.col("lab").fill_null(""), pl.col("lab_row").fill_null("")
    agrees = pl.any_horizontal(
        lab == "", lab_row == "", lab_row == lab, lab_row == lab.str.extract(_LAB_OF_ONE)
    )
    return (
        owners.lazy()
        .join(ids.with_row_index("row").lazy(), on=_KEYS, suffix="_row")
        .with_columns(agrees=agrees)
        # A lab that nothing agrees with was renamed, is reached by a link, or is unknown here.
        .filter(pl.col("agrees") | ~pl.col("agrees").any().over("row"))
        .collect()
    )


def claim_files(meant: pl.DataFrame, datasets: pl.DataFrame) -> FileClaims:
    """Find the files that some rows of datasets, whose columns are all String, mean.

    `meant` are the rows of `SessionClaims.owners` for their ids, with these as ``eid``.
    """
    rows = datasets.select(
        "eid",
        key=_fold(pl.col("rel_path")),
        is_odd=pl.col("rel_path").str.contains(_ODD_PATH),
    )
    here = meant.drop_nulls("code")
    return FileClaims(
        files=rows.join(here, on="eid").select("code", "key").unique(),
        paths=rows.join(meant, on="eid", how="anti").select("key").drop_nulls().unique(),
        names=rows.filter("is_odd").select(name=pl.col("key").str.extract(_LAST_NAME)).unique(),
    )


def find_claimed(entries: pl.LazyFrame, owners: pl.LazyFrame, claims: FileClaims) -> pl.LazyFrame:
    """Find the files that a row claims, and those that lie in no session that rows could name.

    Entries are numbered by a column ``entry``; the result has each number once. The owners, those
    of `list_owners`, have their ``code``, too.
    """
    placed = (
        entries.join(owners.select("directory", "owner", "code"), on="directory")
        .with_columns(path=expr_join("directory", "name"))
        .select(
            "entry",
            "code",
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
        placed.join(claims.files.lazy(), on=["code", "key"], how="semi"),
        placed.join(claims.paths.lazy(), on="key", how="semi"),
        placed.join(claims.names.lazy(), on="name", how="semi"),
    ]
    return pl.concat([frame.select("entry") for frame in claimed]).unique()


def _parse_rows(sessions: pl.DataFrame) -> pl.DataFrame:
    """Return ``eid`` of the rows of sessions, and the parts of what they mean, if they tell."""
    return sessions.select(
        eid="id",
        lab=_fold(pl.col("lab")),
        subject=_fold(pl.col("subject")),
        # A time of day may follow, and a number have come as 1.0, where pandas had missing ones.
        date=pl.col("date").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False),
        number=pl.col("number").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False),
    ).drop_nulls(_KEYS)


def _parse_ids(eids: pl.DataFrame) -> pl.DataFrame:
    """Return those ids that are paths, and the parts of these."""
    return (
        eids.lazy()
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
        .drop_nulls(_KEYS)
        .collect()
    )


def _fold(text: pl.Expr) -> pl.Expr:
    """Return texts alike that a file system may take for the same name."""
    return text.str.normalize("NFC").str.to_lowercase()
