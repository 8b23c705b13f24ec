"""The folders that the sessions of tables are in, or could be in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import polars as pl

from polars_alf.alf.ids import expr_uuid3
from polars_alf.alf.paths import join
from polars_alf.arrow import copy_texts
from polars_alf.query.spill import ROWS_PER_SLICE, find_positions
from polars_alf.tables.rows import assemble_sessions, drop_duplicate_sessions

_KEYS = ["subject", "date", "number"]


def locate_sessions(
    folders: pl.DataFrame, root: str, sessions: pl.DataFrame, namespace: UUID | None
) -> pl.DataFrame:
    """Find the sessions of an archive in a sessions table, whose ids are of a namespace if known.

    `folders` has ``session``, the folder of each. Returns that, with ``eid``, null where the table
    does not have it, and ``is_copy``, whether the table means another folder with the same session.
    Sessions are found by the id where it follows from the path; else by subject, date and number,
    and by the lab as far as both know one.
    """
    by_id, rest = _find_by_id(folders, root, sessions, namespace)
    is_left = find_positions(sessions["id"], by_id["eid"].sort()).is_null()
    rows = sessions.filter(is_left).select("lab", *_KEYS, eid="id")
    lab, lab_found = pl.col("lab_right").fill_null(""), pl.col("lab").fill_null("")
    by_parts = (
        rest.join(rows, on=_KEYS)
        .filter((lab == lab_found) | (lab == "") | (lab_found == ""))
        .sort("session", lab != lab_found, "eid")
        .unique("session", keep="first", maintain_order=True)
        .select("session", "eid", in_lab=lab_found != "")
    )
    by_parts, _ = _drop_copies(by_parts)
    by_id, copies = _drop_copies(by_id)
    located = pl.concat([by_id, by_parts])
    rest = rest.join(by_parts, on="session", how="anti")
    twins = _find_twins(rest, located, sessions)
    return pl.concat(
        [
            located.select("session", "eid", is_copy=pl.lit(value=False)),
            pl.concat([copies, twins]).select("session", "eid", is_copy=pl.lit(value=True)),
            rest.join(twins, on="session", how="anti").select(
                "session", eid=pl.lit(None, pl.String), is_copy=pl.lit(value=False)
            ),
        ]
    )


def _find_by_id(
    folders: pl.DataFrame, root: str, sessions: pl.DataFrame, namespace: UUID | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sessions that are found by their id, and the parts of the others.

    The first have ``session``, ``eid`` and ``in_lab``, whether they lie in the folder of a lab.
    """
    ids = sessions["id"].drop_nulls().sort()
    found, rest = [], []
    # Their parts take ten times as much as their folders.
    for start in range(0, max(len(folders), 1), ROWS_PER_SLICE):
        directories = (
            folders.slice(start, ROWS_PER_SLICE).select("session", directory="session").lazy()
        )
        parts = (
            assemble_sessions(directories, root)
            .select("session", "name", "lab", *_KEYS)
            .with_columns(key=expr_uuid3(pl.col("name"), namespace) if namespace else "name")
            .collect()
        )
        by_key, by_name = (ids.gather(find_positions(parts[name], ids)) for name in ("key", "name"))
        eids = by_key.fill_null(by_name).alias("eid")
        in_lab = (pl.col("lab").fill_null("") != "").alias("in_lab")
        found.append(parts.select("session", eids, in_lab).filter(eids.is_not_null()))
        rest.append(copy_texts(parts.drop("name", "key").filter(eids.is_null())))
    return pl.concat(found), pl.concat(rest)


def _drop_copies(located: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    eids = located["eid"].sort()
    if not (eids == eids.shift()).any():  # ranking all would take much memory
        return located, located.clear()
    kept, dropped = pl.collect_all(drop_duplicate_sessions(located.lazy(), ["eid"]))
    return kept, dropped.drop("kept")


def _find_twins(rest: pl.DataFrame, located: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """Return the sessions of `rest` that an index drops for one that is located, with its eid.

    ONE cannot tell them apart: ``1`` beside ``001``, say.
    """
    if rest.is_empty():
        return located.clear()
    rows = sessions.select(pl.col("lab").fill_null(""), *_KEYS, eid="id").unique("eid")
    # The lab that an index was given for sessions in no lab's folder.
    bare = located.filter(~pl.col("in_lab")).head(1).join(rows, on="eid")
    given = bare["lab"].item() if len(bare) else ""
    in_lab = pl.col("lab") != ""
    wanted = rest.with_columns(
        in_lab=in_lab, lab=pl.when(in_lab).then("lab").otherwise(pl.lit(given))
    )
    known = located.select("eid").join(rows, on="eid").join(wanted, on=["lab", *_KEYS], how="semi")
    pairs = wanted.join(known, on=["lab", *_KEYS])
    twins = pairs.select("session", "eid", "in_lab").unique(
        "session", keep="first", maintain_order=True
    )
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
