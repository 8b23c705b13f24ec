"""Which files of an archive the rows of its tables mean. Pure: frames in, frames out.

A row claims every file that it could mean, so that what no row claims can go. A session is
recognised by subject, date and number, however the number is spelt, and by its lab as far as the
folders and the tables both know one. Where there is doubt the claim is wider, never narrower.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from polars_alf.alf import grammar

# Absolute, or with parts that are no names, or as Windows writes it: where it leads is a question
# of who reads it.
_ODD_PATH = r"(?:^|/)\.{0,2}(?:/|$)|\\|^[A-Za-z]:"

_LAST_NAME = r"([^/\\:]+)[/\\]*$"

_LAB_OF_EID = r"^([^/]+)/[^/]+/[^/]+/[^/]+$"

# What ONE leaves of a lab's name such as `my-lab`.
_LAB_OF_ONE = r"([\p{L}\p{N}_]+)$"

_KEYS = ("subject", "date", "number")


@dataclass(frozen=True, slots=True)
class Claims:
    """What the rows of the tables claim.

    Parameters
    ----------
    sessions
        ``session``: sessions of the archive that have a row; all of them where a row does not
        say which it means.
    files
        ``owner``, ``key``: files by session and folded rel_path.
    paths
        ``key``: folded rel_paths of rows whose session is unknown; claimed in every session.
    names
        ``name``: folded names from rel_paths that are odd; claimed wherever they are.
    belong
        Whether the tables and the archive have a session in common, its lab included.
    """

    sessions: pl.DataFrame
    files: pl.DataFrame
    paths: pl.DataFrame
    names: pl.DataFrame
    belong: bool


def fold(text: pl.Expr) -> pl.Expr:
    """Return a text in one spelling of all that a file system may take for the same."""
    return text.str.normalize("NFC").str.to_lowercase()


def list_owners(directories: pl.LazyFrame, above: str) -> pl.LazyFrame:
    """List the sessions that a directory may be said to lie in.

    Parameters
    ----------
    directories
        DIRECTORIES.
    above
        POSIX path of the root.

    Returns
    -------
    polars.LazyFrame
        ``directory``, ``session`` (the outermost) and ``owner``: the outermost too, and one more
        row for each session inside it, which ONE takes for one of its own. Of the owner also
        ``lab`` (null where there is no lab's folder), ``subject``, ``date`` and ``number``.
    """
    path = pl.concat_str(pl.lit(f"{above}/"), "directory").str.strip_suffix("/")
    owners = (
        directories.select(
            "session",
            owner="directory",
            parts=grammar.expr_session_parts(path),
        )
        .unnest("parts")
        .drop_nulls("subject")
        .with_columns(fold(pl.col("lab")), fold(pl.col("subject")), pl.col("number").cast(pl.Int64))
    )
    is_inside = pl.concat_str("directory", pl.lit("/")).str.starts_with(
        pl.concat_str("owner", pl.lit("/"))
    )
    outermost = pl.col("owner") == pl.col("session")
    return directories.join(owners, on="session").filter(outermost | is_inside)


def claim_files(owners: pl.LazyFrame, sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> Claims:
    """Find what the rows of the tables mean.

    Parameters
    ----------
    owners
        What `list_owners` gave.
    sessions
        ``id``, ``lab``, ``subject``, ``date``, ``number``, all as String.
    datasets
        ``eid``, ``rel_path``, both as String.
    """
    known = (
        owners.select("session", "owner", "lab", *_KEYS)
        .unique()
        .join(_read_ids(sessions, datasets), on=_KEYS, suffix="_row")
    )
    lab, lab_row = pl.col("lab").fill_null(""), pl.col("lab_row").fill_null("")
    agrees = pl.any_horizontal(
        lab == "", lab_row == "", lab_row == lab, lab_row == lab.str.extract(_LAB_OF_ONE)
    )
    # A lab that nothing agrees with was renamed, is reached by a link, or is not known here.
    known = known.with_columns(agrees=agrees).filter(
        pl.col("agrees") | ~pl.col("agrees").any().over("row")
    )
    rows = datasets.select(
        eid="eid",
        key=fold(pl.col("rel_path")),
        is_odd=pl.col("rel_path").str.contains(_ODD_PATH),
    )
    pairs, ids = pl.collect_all([known, _read_ids(sessions, datasets).select("eid")])
    with_row = pairs.select("session").unique()
    nameless = sessions.select(eid="id").join(ids.lazy(), on="eid", how="anti")
    if not nameless.collect().is_empty():
        with_row = owners.select("session").unique().collect()
    claimed = pairs.lazy().select("owner", "eid").unique()
    files, paths, names = pl.collect_all(
        [
            rows.join(claimed, on="eid").select("owner", "key").unique(),
            rows.join(ids.lazy(), on="eid", how="anti").select("key").drop_nulls().unique(),
            rows.filter("is_odd").select(name=pl.col("key").str.extract(_LAST_NAME)).unique(),
        ],
        engine="streaming",
    )
    return Claims(
        sessions=with_row,
        files=files,
        paths=paths,
        names=names,
        belong=bool(pairs["agrees"].any()),
    )


def find_claimed(entries: pl.LazyFrame, owners: pl.LazyFrame, claims: Claims) -> pl.LazyFrame:
    """Find the files that a row claims, and those that lie in no session that rows could name.

    Parameters
    ----------
    entries
        ``entry``, a number of each file, with ``directory`` and ``name``.
    owners
        What `list_owners` gave.
    claims
        What `claim_files` made of it.

    Returns
    -------
    polars.LazyFrame
        ``entry``, each once.
    """
    path = pl.concat_str("directory", "name", separator="/").str.strip_prefix("/")
    start = pl.col("owner").str.len_chars()
    placed = entries.join(owners.select("directory", "owner"), on="directory").select(
        "entry",
        "owner",
        key=fold(path.str.slice(start).str.strip_prefix("/")),
        name=fold(pl.col("name")),
    )
    return pl.concat(
        [
            entries.join(owners, on="directory", how="anti").select("entry"),
            placed.join(claims.files.lazy(), on=["owner", "key"], how="semi").select("entry"),
            placed.join(claims.paths.lazy(), on="key", how="semi").select("entry"),
            placed.join(claims.names.lazy(), on="name", how="semi").select("entry"),
        ]
    ).unique()


def _read_ids(sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> pl.LazyFrame:
    """Return what sessions the ids mean: by the row of the sessions table, and by the id itself."""
    rows = sessions.select(
        eid="id",
        lab=fold(pl.col("lab")),
        subject=fold(pl.col("subject")),
        # A time of day may follow, and a number have come as 1.0, where pandas had missing ones.
        date=pl.col("date").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False),
        number=pl.col("number").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False),
    )
    ids = (
        pl.concat([rows.select("eid"), datasets.select("eid")])
        .unique()
        .select("eid", parts=grammar.expr_session_parts(pl.col("eid")))
        .unnest("parts")
        .select(
            "eid",
            lab=fold(pl.coalesce("lab", pl.col("eid").str.extract(_LAB_OF_EID))),
            subject=fold(pl.col("subject")),
            date="date",
            number=pl.col("number").cast(pl.Int64),
        )
    )
    return pl.concat([rows, ids]).drop_nulls(_KEYS).unique().with_row_index("row")
