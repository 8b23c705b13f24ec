"""The folders that the sessions of tables are in, or could be in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import polars as pl

from polars_alf.alf.ids import expr_uuid3
from polars_alf.alf.paths import join
from polars_alf.tables.rows import assemble_sessions, drop_duplicate_sessions

_KEYS = ["subject", "date", "number"]


def locate_sessions(
    directories: pl.DataFrame, root: str, sessions: pl.DataFrame, namespace: UUID | None
) -> pl.DataFrame:
    """Find the sessions of an archive in a sessions table, whose ids are of a namespace if known.

    Returns ``session``, the folder; ``eid``, null where the table does not have it; and
    ``is_copy``, whether the table means another folder with the same session. Sessions are found
    by the id where it follows from the path; else by subject, date and number, and by the lab as
    far as both know one.
    """
    found = (
        assemble_sessions(directories.lazy(), root)
        .select("session", "name", "lab", *_KEYS)
        .with_columns(key=expr_uuid3(pl.col("name"), namespace) if namespace else "name")
        .collect()
    )
    ids = sessions.select(eid="id").unique()
    by_id = pl.concat(
        [
            found.join(ids, left_on=key, right_on="eid", coalesce=False).select("session", "eid")
            for key in ("key", "name")
        ]
    ).unique("session", keep="first")
    rows = sessions.select("lab", *_KEYS, eid="id").join(by_id, on="eid", how="anti")
    lab, lab_found = pl.col("lab_right").fill_null(""), pl.col("lab").fill_null("")
    by_parts = (
        found.join(by_id, on="session", how="anti")
        .join(rows, on=_KEYS)
        .filter((lab == lab_found) | (lab == "") | (lab_found == ""))
        .sort("session", lab != lab_found, "eid")
        .unique("session", keep="first", maintain_order=True)
        .select("session", "eid")
    )
    by_parts, _ = _drop_copies(by_parts)
    by_id, copies = _drop_copies(by_id)
    located = pl.concat([by_id, by_parts])
    rest = found.join(pl.concat([located, copies]), on="session", how="anti")
    copies = pl.concat([copies, _find_twins(found, rest, located, sessions)])
    located = located.with_columns(is_copy=pl.lit(value=False))
    copies = copies.select("session", "eid", is_copy=pl.lit(value=True))
    return (
        found.select("session")
        .join(pl.concat([located, copies]), on="session", how="left")
        .with_columns(pl.col("is_copy").fill_null(value=False))
    )


def _drop_copies(located: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    if not located["eid"].is_duplicated().any():  # ranking all would take much memory
        return located, located.clear()
    kept, dropped = pl.collect_all(drop_duplicate_sessions(located.lazy(), ["eid"]))
    return kept, dropped.drop("kept")


def _find_twins(
    found: pl.DataFrame, rest: pl.DataFrame, located: pl.DataFrame, sessions: pl.DataFrame
) -> pl.DataFrame:
    """Return the sessions of `rest` that an index drops for one that is located, with its eid.

    ONE cannot tell them apart: ``1`` beside ``001``, say.
    """
    if rest.is_empty():
        return located.clear()
    rows = sessions.select(pl.col("lab").fill_null(""), *_KEYS, eid="id").unique("eid")
    known = located.join(rows, on="eid")
    # The lab that an index was given for sessions in no lab's folder.
    is_given = found.filter(pl.col("lab") == "")["session"].implode()
    given = known.filter(pl.col("session").is_in(is_given))["lab"].to_list()
    lab = pl.when(pl.col("lab") == "").then(pl.lit(given[0] if given else "")).otherwise("lab")
    pairs = rest.with_columns(lab=lab).join(known.drop("session"), on=["lab", *_KEYS])
    twins = pairs.select("session", "eid").unique("session", keep="first", maintain_order=True)
    _, dropped = _drop_copies(pl.concat([located, twins]))
    return dropped.join(twins, on="session", how="semi")


def expect_paths(
    sessions: pl.DataFrame, root: Sequence[str], bases: Iterable[str]
) -> dict[str, list[str]]:
    """Return by id the folders that sessions could be in, relative to the root, likeliest first.

    The root, of whose path the components are given, may lie inside a lab, a subject or a date;
    the paths of sessions start at it, or at one of the bases below it.
    """
    bases = sorted({"", *bases})
    rows = sessions.select("id", "lab", "subject", pl.col("date").cast(pl.String), "number").rows()
    return {
        row[0]: list(dict.fromkeys(_guess_paths(root, bases, *row[1:])))
        for row in rows
        if None not in row[2:]
    }


def _guess_paths(
    root: Sequence[str],
    bases: Sequence[str],
    lab: str | None,
    subject: str,
    date: str,
    number: int,
) -> Iterator[str]:
    for name in (f"{number:03}", str(number)):
        plain = (subject, date, name)
        for tail in [(lab, "Subjects", *plain), plain] if lab else [plain]:
            for depth in range(min(len(tail), len(root)), 0, -1):
                if tuple(root[-depth:]) == tail[:depth]:
                    yield "/".join(tail[depth:])
            for base in bases:
                yield join(base, "/".join(tail))
