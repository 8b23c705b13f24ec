"""The rows that an index removes from the tables that were there: frames in, counts out.

A session is found again by its id, or else by its lab, subject, date and number; a dataset by its
session and rel_path. A folder that was renamed counts as removed: its rows lose their ids, and all
that is noted by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import polars as pl

from polars_alf.query.columns import expr_session_folder
from polars_alf.query.spill import hash_ids

ROWS_AT_ONCE = 1 << 23
"""About how many datasets are compared by their paths at a time."""

_EXAMPLES = 3
_KEY = ["lab", "subject", "date", "number"]
_SESSIONS = pl.Schema(
    {
        "id": pl.String(),
        "lab": pl.String(),
        "subject": pl.String(),
        "date": pl.Date(),
        "number": pl.UInt16(),
    }
)
_DATASETS = pl.Schema({"eid": pl.String(), "rel_path": pl.String()})
_COUNTS = pl.Schema({"eid": pl.UInt64(), "n": pl.UInt32(), "paths": pl.UInt64()})


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of both tables, as far as they are counted.

    A hash takes the place of each id: there are many of them, and they are compared only.

    Parameters
    ----------
    sessions
        ``id``, ``lab``, ``subject``, ``date`` and ``number`` of each session.
    datasets
        ``eid`` and ``rel_path`` of each dataset.
    counts
        ``eid`` of each session with datasets, ``n``, their number, and a checksum of their paths.
    """

    sessions: pl.DataFrame
    datasets: pl.LazyFrame
    counts: pl.DataFrame

    @classmethod
    def read(
        cls, sessions: pl.LazyFrame | None = None, datasets: pl.LazyFrame | None = None
    ) -> Self:
        """Read what is needed of the columns of SESSIONS and DATASETS; None has no rows."""
        found = _SESSIONS.to_frame().lazy() if sessions is None else sessions
        files = _DATASETS.to_frame().lazy() if datasets is None else datasets
        datasets = files.select(_DATASETS.names()).with_columns(hash_ids(pl.col("eid")))
        counts = datasets.group_by("eid").agg(n=pl.len(), paths=pl.col("rel_path").hash().sum())
        return cls(
            sessions=found.select(_SESSIONS.names())
            .with_columns(hash_ids(pl.col("id")), pl.col("lab").fill_null(""))
            .collect(),
            datasets=datasets,
            counts=counts.collect(engine="streaming").cast(_COUNTS),
        )

    def keep_sessions(self, sessions: pl.DataFrame) -> Self:
        """Return the rows of some of the sessions."""
        counts = self.counts.join(sessions, left_on="eid", right_on="id", how="semi")
        return type(self)(sessions, self.datasets, counts)


@dataclass(frozen=True, slots=True)
class LostLab:
    """A lab of which every session in the tables is removed.

    `is_empty` is whether the new tables have no session of it at all.
    """

    name: str
    n_sessions: int
    n_datasets: int
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Removals:
    """The figures of what is removed.

    Parameters
    ----------
    n_sessions, n_datasets
        How many are removed.
    n_sessions_before, n_datasets_before
        How many there were.
    is_emptied
        Whether there are no sessions, or no datasets, any more.
    labs
        Labs that lose every session that they had, those with most sessions first.
    examples
        Paths of sessions that lose all, then of those that lose most.
    """

    n_sessions: int = 0
    n_sessions_before: int = 0
    n_datasets: int = 0
    n_datasets_before: int = 0
    is_emptied: bool = False
    labs: tuple[LostLab, ...] = ()
    examples: tuple[str, ...] = ()


def count_removals(old: Rows, new: Rows, *, rows_at_once: int = ROWS_AT_ONCE) -> Removals:
    """Count what is in the old rows and not in the new ones.

    A few numbers of each session are in memory; of datasets only the paths in sessions that
    changed, about `rows_at_once` at a time.
    """
    sessions = _find_again(old.sessions, new.sessions)
    placed = sessions.select("now", eid="id", is_placed=pl.lit(value=True)).unique("eid")
    found = (
        old.counts.join(placed, on="eid", how="left")
        # A dataset of no session in the tables may still have the id of one.
        .with_columns(pl.coalesce("now", "eid"), pl.col("is_placed").fill_null(value=False))
        .join(new.counts, left_on="now", right_on="eid", how="left", suffix="_now")
    )
    is_same = (pl.col("n") == pl.col("n_now")) & (pl.col("paths") == pl.col("paths_now"))
    changed = found.filter(pl.col("n_now").is_not_null() & ~is_same).select("eid", "now", "n")
    compared = _compare_paths(changed, old.datasets, new.datasets, rows_at_once)
    # Rows of no session name no file: they count only where nothing at all is left.
    is_gone = pl.col("n_now").is_null() & (pl.col("is_placed") | pl.lit(new.counts.is_empty()))
    gone = found.join(compared, on="eid", how="left").select(
        "eid", "n", gone=pl.when(is_gone).then("n").otherwise("gone").fill_null(0)
    )
    return _sum_up(sessions, gone, new)


def _find_again(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Add ``now``: the id that each session has in the new table, null where it is gone."""
    is_there = pl.col("id").is_in(new["id"].implode())
    found = old.with_columns(now=pl.when(is_there).then("id"))
    lost = found.filter(pl.col("now").is_null()).drop("now")
    by_path = new.join(lost, on=_KEY, how="semi").select(*_KEY, now="id").unique(_KEY)
    return pl.concat([found.drop_nulls("now"), lost.join(by_path, on=_KEY, how="left")])


def _compare_paths(
    sessions: pl.DataFrame, old: pl.LazyFrame, new: pl.LazyFrame, rows_at_once: int
) -> pl.DataFrame:
    """Return ``eid`` of sessions and ``gone``: how many of their datasets are not there now."""
    counts = [pl.DataFrame(schema={"eid": pl.UInt64, "gone": pl.UInt32})]
    batch = pl.col("n").cast(pl.UInt64).cum_sum() // rows_at_once
    for part in sessions.with_columns(batch=batch).partition_by("batch"):
        pairs = part.lazy().select("eid", "now")
        there = new.join(pairs, left_on="eid", right_on="now", how="semi")
        key = ["now", "rel_path"]
        missing = old.join(pairs, on="eid").join(
            there.rename({"eid": "now"}), left_on=key, right_on=key, how="anti"
        )
        counts.append(missing.group_by("eid").agg(gone=pl.len()).collect(engine="streaming"))
    return pl.concat(counts)


def _sum_up(sessions: pl.DataFrame, gone: pl.DataFrame, new: Rows) -> Removals:
    """Return the figures of sessions with ``now``, and datasets ``gone`` of ``n`` by ``eid``."""
    n_before = int(gone["n"].sum())
    counted = sessions.join(
        gone, left_on="id", right_on="eid", how="left", maintain_order="left"
    ).with_columns(pl.col("gone").fill_null(0), is_gone=pl.col("now").is_null())
    lost = (
        counted.group_by("lab")
        .agg(pl.len(), pl.col("gone").sum(), pl.col("is_gone").all())
        .filter("is_gone")
        .sort("len", "lab", descending=[True, False])
    )
    order = {"is_gone": True, "gone": True} | dict.fromkeys(_KEY, False)
    worst = counted.filter((pl.col("gone") > 0) | pl.col("is_gone")).sort(
        *order, descending=[*order.values()]
    )
    left = {*new.sessions["lab"]}
    return Removals(
        n_sessions=int(counted["is_gone"].sum()),
        n_sessions_before=len(sessions),
        n_datasets=int(gone["gone"].sum()),
        n_datasets_before=n_before,
        is_emptied=bool(
            (len(sessions) and new.sessions.is_empty()) or (n_before and new.counts.is_empty())
        ),
        labs=tuple(
            LostLab(lab, n_sessions, n_datasets, is_empty=lab not in left)
            for lab, n_sessions, n_datasets, _ in lost.iter_rows()
        ),
        examples=tuple(
            worst.select(path=expr_session_folder())["path"]
            .unique(maintain_order=True)
            .head(_EXAMPLES)
        ),
    )
