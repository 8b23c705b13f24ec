"""The files of sessions against the tables of a database that has them registered. Pure."""

from __future__ import annotations

import polars as pl

from polars_alf.check.findings import CheckKind, make_findings
from polars_alf.query.columns import expr_session_path

_KEY = ["subject", "date", "number"]


def find_registered(
    sessions: pl.DataFrame,
    files: pl.DataFrame,
    registered: tuple[pl.DataFrame, pl.DataFrame],
) -> list[pl.DataFrame]:
    """Compare files with what is registered.

    Sessions, ``lab``, ``subject``, ``date``, ``number``, ``eid`` and ``session``, are those
    registered with the same subject, date and number, and the same lab as far as both name one;
    files are known by their path. The ids of findings are those of the database where it has one.
    """
    known_sessions, known_datasets = registered
    known = known_sessions.select(
        *_KEY, lab=pl.col("lab").fill_null(""), known_eid="id", known_session=expr_session_path()
    )
    pairs = (
        sessions.join(known, on=_KEY, suffix="_known")
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
    new_sessions = sessions.join(pairs, on="eid", how="anti")
    gone = known.join(pairs, on="known_eid", how="anti")
    # Of a session that is not here at all, one row tells all there is to tell.
    expected = known_datasets.filter(pl.col("exists").ne_missing(other=False))
    gone = gone.join(expected.select(known_eid="eid").unique(), on="known_eid", how="semi")
    here = files.join(pairs, on="eid").select(
        "rel_path", "file_size", eid="known_eid", session="known_session"
    )
    wanted = expected.select("eid", "rel_path", other_size="file_size").join(
        pairs.select(eid="known_eid", session="known_session"), on="eid"
    )
    both = here.join(wanted.drop("session"), on=["eid", "rel_path"])
    key = ["eid", "rel_path"]
    known_paths = known_datasets.select(key)
    absent = [
        gone.select(
            eid="known_eid",
            session="known_session",
            message=pl.lit("the session is registered, and not here"),
        ),
        wanted.join(here, on=key, how="anti").with_columns(
            message=pl.lit("registered, and not here")
        ),
    ]
    strange = [
        new_sessions.select("eid", "session", message=pl.lit("the session is not registered")),
        here.join(known_paths, on=key, how="anti").with_columns(
            message=pl.lit("here, and not registered")
        ),
    ]
    differing = both.filter(pl.col("file_size") != pl.col("other_size")).with_columns(
        message=pl.lit("registered with another size")
    )
    return [
        *(make_findings(CheckKind.NOT_ON_DISK, rows) for rows in absent),
        *(make_findings(CheckKind.NOT_REGISTERED, rows) for rows in strange),
        make_findings(CheckKind.OTHER_SIZE, differing),
    ]
