"""The files of sessions against the tables of a database that has them registered. Pure."""

from __future__ import annotations

import polars as pl

from polars_alf.check.findings import CheckKind, make_findings
from polars_alf.query.columns import expr_session_folder

_KEY = ["subject", "date", "number"]


def pair_sessions(sessions: pl.DataFrame, registered: pl.DataFrame) -> pl.DataFrame:
    """Return ``eid`` of sessions, with ``known_eid`` and ``known_session`` as registered.

    Sessions, ``lab``, ``subject``, ``date``, ``number``, ``eid`` and ``session``, are those
    registered with the same subject, date and number, and the same lab as far as both name one.
    """
    return (
        sessions.join(_name_known(registered), on=_KEY, suffix="_known")
        .filter(
            (pl.col("lab") == pl.col("lab_known"))
            | (pl.col("lab") == "")
            | (pl.col("lab_known") == "")
        )
        .sort(pl.col("lab") != pl.col("lab_known"), "known_eid")
        .unique("eid", keep="first", maintain_order=True)
        .unique("known_eid", keep="first", maintain_order=True)
        .select("eid", "known_eid", "known_session")
    )


def find_unpaired(
    sessions: pl.DataFrame,
    pairs: pl.DataFrame,
    registered: tuple[pl.DataFrame, pl.LazyFrame],
) -> list[pl.DataFrame]:
    """Find sessions that are registered and not here, or here and not registered."""
    known_sessions, known_datasets = registered
    gone = _name_known(known_sessions).join(pairs, on="known_eid", how="anti")
    # Of a session that is not here at all, one row tells all there is to tell.
    expected = known_datasets.filter(pl.col("exists").ne_missing(other=False))
    with_files = expected.select(known_eid="eid").unique().collect(engine="streaming")
    absent = gone.join(with_files, on="known_eid", how="semi").select(
        eid="known_eid",
        session="known_session",
        message=pl.lit("the session is registered, and not here"),
    )
    strange = sessions.join(pairs, on="eid", how="anti").select(
        "eid", "session", message=pl.lit("the session is not registered")
    )
    return [
        make_findings(CheckKind.NOT_ON_DISK, absent),
        make_findings(CheckKind.NOT_REGISTERED, strange),
    ]


def find_differences(
    files: pl.DataFrame, pairs: pl.DataFrame, known_datasets: pl.LazyFrame
) -> list[pl.DataFrame]:
    """Compare files of some sessions, by their paths, with what is registered of these `pairs`.

    The ids of findings are those of the database.
    """
    eids = pairs["known_eid"]
    known = (
        known_datasets.filter(
            # The bounds spare row groups.
            pl.col("eid").is_between(pl.lit(eids.min()), pl.lit(eids.max())),
            pl.col("eid").is_in(eids.implode()),
        )
        .select("eid", "rel_path", "exists", other_size="file_size")
        .collect()
    )
    here = files.join(pairs, on="eid").select(
        "rel_path", "file_size", eid="known_eid", session="known_session"
    )
    wanted = (
        known.filter(pl.col("exists").ne_missing(other=False))
        .drop("exists")
        .join(pairs.select(eid="known_eid", session="known_session"), on="eid")
    )
    key = ["eid", "rel_path"]
    absent = wanted.join(here, on=key, how="anti").with_columns(
        message=pl.lit("registered, and not here")
    )
    strange = here.join(known, on=key, how="anti").with_columns(
        message=pl.lit("here, and not registered")
    )
    differing = (
        here.join(wanted.drop("session"), on=key)
        .filter(pl.col("file_size") != pl.col("other_size"))
        .with_columns(message=pl.lit("registered with another size"))
    )
    return [
        make_findings(CheckKind.NOT_ON_DISK, absent),
        make_findings(CheckKind.NOT_REGISTERED, strange),
        make_findings(CheckKind.OTHER_SIZE, differing),
    ]


def _name_known(sessions: pl.DataFrame) -> pl.DataFrame:
    return sessions.select(
        *_KEY, lab=pl.col("lab").fill_null(""), known_eid="id", known_session=expr_session_folder()
    )
