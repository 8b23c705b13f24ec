"""The rows of earlier tables: ids, and what people and databases wrote, which no walk can tell.

The disk decides what exists, people decide the rest. `qc`, `projects`, `task_protocol`, ids and
every column that is not ours are taken row by row from the tables that are given, and from those
that are there. Sessions match by lab, subject, date and number, else by id; datasets by their
session and rel_path. Where several tables know a row, the first value that says something wins:
those given come before those that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import polars as pl

from polars_alf.alf.ids import expr_uuid3
from polars_alf.errors import TableError
from polars_alf.index.known_datasets import KnownDatasets
from polars_alf.index.known_tables import (
    ID,
    WRITTEN,
    Issue,
    KnownTables,
    count_kept,
    list_ranks,
    prefer_known,
    report_unclear,
    return_repeated,
    take_first,
)
from polars_alf.index.merge import ShardRows
from polars_alf.query.columns import expr_session_path
from polars_alf.query.revisions import DEFAULT_REVISION
from polars_alf.query.spill import BUCKET, Spill, spill_joined
from polars_alf.schema import TABLES, polars_schema
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.foreign import Columns, list_marked, merge_columns, restore_columns

_NAME = ["lab", "subject", "date", "number"]
_PLACE = "place"
"""Position of a session in the order of the table."""

_MATCH = [_PLACE, "session", "eid", "source"]

Result = TypeVar("Result")


@dataclass(slots=True)
class KnownRows:
    """The rows of some tables, for an index to complete its own with.

    Ids in the names of files win over those known, if `uuid_filenames`. `columns` are the columns
    that are not ours, by table. The counts are those of the sessions that matched tables that were
    given (`n_known_sessions`), and of those of which something was kept (`n_kept_sessions`), up to
    now. `datasets` are there once `spill_datasets` has been called.

    Of a session only what finds its rows again is in memory when these are read.
    """

    tables: Sequence[KnownTables]
    hash_ids: bool
    uuid_filenames: bool = False
    columns: dict[str, Columns] = field(init=False)
    n_known_sessions: int = field(init=False, default=0)
    n_kept_sessions: int = field(init=False, default=0)
    datasets: KnownDatasets = field(init=False)
    issues: list[Issue] = field(init=False, default_factory=list)
    _sessions: pl.DataFrame = field(init=False)
    _matches: list[pl.DataFrame] = field(init=False)
    _values: list[Spill] = field(init=False)
    _namespace: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.columns = {
            name: merge_columns(tables.list_columns(name) for tables in self.tables)
            for name in TABLES
        }
        frames = [
            tables.sessions.select(
                *_NAME[1:],
                pl.col("lab").fill_null(""),
                eid="id",
                source=pl.lit(rank, pl.UInt32),
            )
            for rank, tables in enumerate(self.tables)
        ]
        # A name with two ids, or an id of two names, tells nothing of the id.
        is_clear = (pl.col("eid").n_unique().over(*_NAME, "source") == 1) & (
            pl.struct(_NAME).n_unique().over("eid", "source") == 1
        )
        is_uuid = pl.col("eid").str.contains(ID).fill_null(value=False)
        known = pl.concat(frames).with_row_index("known")
        marked = known.with_columns(is_clear=is_clear, is_uuid=is_uuid)
        self._sessions = self._read(marked.collect)
        is_given = pl.col("source").is_in(list_ranks(self.tables, "is_given"))
        wrong = self._sessions.filter(~pl.col("is_uuid") & is_given)
        if len(wrong):
            raise TableError(
                f"{wrong['eid'][0]!r} in {', '.join(self.names)} is no UUID; give tables whose ids "
                "are"
            )

    @property
    def names(self) -> list[str]:
        """Paths of the folders that were given."""
        return [str(tables.folder) for tables in self.tables if tables.is_given]

    @property
    def databases(self) -> list[str]:
        """Names of the databases that the tables come from whose rows without a file stay."""
        own = [tables for tables in self.tables if tables.is_own or tables.keeps_missing]
        headers = [header for tables in own for header in tables.headers]
        return list(dict.fromkeys(name for header in headers for name in header.databases))

    @property
    def has_choices(self) -> bool:
        """Whether tables say which revisions are the default."""
        return DEFAULT_REVISION in self.columns["datasets"]

    @property
    def keeps_choices(self) -> bool:
        """Whether each such choice stays, also where it is that of the rule."""
        return self.has_choices and any(tables.keeps_choices for tables in self.tables)

    def _read(self, read: Callable[[], Result]) -> Result:
        """Return the result of reading the tables, which ONE may be writing at this moment."""
        for tables in self.tables:
            read = partial(read_consistently, tables.folder, read)
        return read()

    # Sessions

    def take_sessions(
        self, order: pl.DataFrame, rows: ShardRows, folder: Path, namespace: UUID
    ) -> pl.DataFrame:
        """Return an order of sessions with their final ``id``, sorted by it.

        Sessions of a database that are not on this disk are added: their rows are written into
        `folder`, which becomes one more shard. Their ids, where those of the database cannot be
        used, are made in `namespace`. Ids stay as they are where those of the index are paths.
        """
        self._namespace = namespace
        nothing = polars_schema(TABLES["sessions"]).to_frame().with_columns(session=pl.lit(""))
        parts = chain([nothing], map(rows.pick_sessions, order.iter_slices(rows.rows_per_group)))
        matches, ids, n_sessions = [], [], 0
        for part in parts:
            sessions = part.select(*_NAME, "session", own="id").with_row_index(_PLACE, n_sessions)
            n_sessions += len(sessions)
            found = self._match(sessions)
            ids.append(self._choose_ids(sessions, found))
            matches.append(found.select("known", *_MATCH))
        chosen = return_repeated(pl.concat(ids), ["id"], self.issues)
        result = order.with_columns(chosen["id"])
        found = pl.concat(matches)
        is_left = pl.repeat(True, len(self._sessions), eager=True).scatter(found["known"], False)
        left = self._sessions.filter(is_left)
        del self._sessions, matches, ids
        found = found.select(_MATCH)
        found = pl.concat([found, self._match_by_id(chosen, left, found)])
        del chosen
        missing = self._find_missing(left, found)
        if len(missing):
            there = pl.col("id").is_in(result["id"].implode())
            sessions = missing.filter(~there).unique("id", keep="first", maintain_order=True)
            more = rows.add_sessions(sessions, folder)
            result = pl.concat([result, more.select(result.columns)])
            # The datasets of an id that stands for several sessions go to the first of them.
            first = missing.unique(["eid", "source"], keep="first", maintain_order=True)
            places = result.select("id").with_row_index(_PLACE)
            found = pl.concat([found, first.join(places, on="id").select(_MATCH)])
        if self.hash_ids:
            result = result.with_row_index(_PLACE).sort("id")
            places = result.select(pl.arg_sort_by(_PLACE).alias(_PLACE))
            found = found.with_columns(places[found[_PLACE]])
            result = result.drop(_PLACE)
        self._matches = [
            found.filter(source=rank)
            .drop("source")
            .drop_nulls("eid")
            .unique(["eid", _PLACE])
            .sort("eid")
            for rank in range(len(self.tables))
        ]
        return result

    def _match(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return which rows of the tables are of some sessions: by name, or else by id."""
        by_name = sessions.join(self._sessions, on=_NAME).drop(_NAME)
        by_id = sessions.drop(_NAME).join(
            self._sessions.drop(_NAME), left_on="own", right_on="eid", coalesce=False
        )
        by_id = by_id.join(by_name, on=["own", "source"], how="anti")
        return pl.concat([by_name, by_id.select(by_name.columns)])

    def _match_by_id(
        self, chosen: pl.DataFrame, left: pl.DataFrame, found: pl.DataFrame
    ) -> pl.DataFrame:
        """Return the rows that have a session's final id, in tables where its name has none.

        They are of those that were `left` when others were `found`.
        """
        known = left.select("source", id="eid", eid="eid").unique()
        by_id = chosen.join(known, on="id").select(_MATCH)
        for key in ([_PLACE, "source"], ["eid", "source"]) if len(by_id) else ():
            by_id = by_id.join(found, on=key, how="anti")
        return by_id

    def _choose_ids(self, sessions: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the ids of sessions, in their order: ``own`` ones, and those known for them."""
        own = sessions.select(_PLACE, "session", "own")
        if not self.hash_ids:
            return own.with_columns(id="own")
        unclear = found.filter(~pl.col("is_clear")).unique("own", maintain_order=True)
        self.issues += report_unclear(unclear.select("session", "eid"))
        usable = found.filter("is_clear", "is_uuid").sort("source", maintain_order=True)
        first = usable.unique("own", keep="first", maintain_order=True).select("own", "eid")
        is_given = pl.col("source").is_in(list_ranks(self.tables, "is_given"))
        self.n_known_sessions += usable.filter(is_given)["own"].n_unique()
        ids = own.join(first, on="own", how="left", maintain_order="left")
        return ids.select(own.columns, id=pl.coalesce("eid", "own"))

    def _find_missing(self, left: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the sessions of a database that are not on this disk, as rows of a shard.

        They are of those that were `left` when others were `found`.
        """
        ranks = list_ranks(self.tables, "keeps_missing")
        missing = left.filter(pl.col("source").is_in(ranks), pl.col("eid").is_not_null())
        if missing.is_empty():
            return missing
        missing = missing.join(found, on=["eid", "source"], how="anti", maintain_order="left")
        name = expr_session_path()
        missing = missing.with_columns(session=name, name=name, key="eid")
        missing = missing.with_columns(
            *(pl.lit("").alias(column) for column in WRITTEN["sessions"]),
            own=expr_uuid3(pl.col("name"), self._namespace),
        )
        chosen = pl.when("is_clear", "is_uuid").then("eid").otherwise("own")
        missing = missing.with_columns(id=chosen.first().over(_NAME))
        self.issues += report_unclear(missing.filter(~pl.col("is_clear")).select("session", "eid"))
        return missing

    def spill_sessions(self, order: pl.DataFrame, n_sessions: int, folder: Path) -> None:
        """Write what the tables say of sessions into a folder, by parts of `n_sessions`."""
        folder.mkdir(parents=True, exist_ok=True)
        part = pl.int_range(pl.len(), dtype=pl.UInt32) // n_sessions
        places = order.select("id", part.alias(BUCKET))
        self._values = [
            self._spill(
                tables.sessions.select(
                    *tables.select_written("sessions", self.columns["sessions"]), known_eid="id"
                ),
                rank,
                places,
                folder,
            )
            for rank, tables in enumerate(self.tables)
        ]

    def complete_sessions(self, number: int, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return SESSIONS of a part with the values that were written, and the columns not ours."""
        columns = self.columns["sessions"]
        known = pl.concat(spill.read(number) for spill in self._values)
        values = take_first(known, ["id"], [*WRITTEN["sessions"], *list_marked(columns)])
        joined = sessions.join(values, on="id", how="left", maintain_order="left", suffix="_")
        self.n_kept_sessions += count_kept(joined, "sessions", columns)
        completed = joined.with_columns(prefer_known(sessions, "sessions"))
        return completed.select(*sessions.columns, *restore_columns(columns))

    # Datasets

    def count_missing(self) -> pl.DataFrame:
        """Return ``place`` of sessions and ``n_known``, the number of their rows in a database."""
        nothing = pl.LazyFrame(schema={_PLACE: pl.UInt32, "n_known": pl.UInt32})
        found = (
            self.tables[rank]
            .datasets.group_by("eid")
            .agg(n_known=pl.len())
            .join(self._matches[rank].lazy(), on="eid")
            .select(_PLACE, "n_known")
            for rank in list_ranks(self.tables, "keeps_missing")
        )
        counts = pl.concat([nothing, *found])
        return self._read(counts.group_by(_PLACE).agg(pl.col("n_known").sum()).collect)

    def spill_datasets(self, groups: pl.DataFrame, folder: Path) -> None:
        """Write the known rows of datasets into a folder, by the ``group`` that needs them."""
        folder.mkdir(parents=True, exist_ok=True)
        del self._values  # which are written, and wait in memory if they are few
        places = groups.select(eid="id", bucket="group")
        spilled = [
            self._spill(
                tables.select_datasets(self.columns["datasets"], without_uuids=self.uuid_filenames),
                rank,
                places,
                folder,
            )
            for rank, tables in enumerate(self.tables)
        ]
        self.datasets = KnownDatasets(
            self.tables,
            self.columns["datasets"],
            spilled,
            self._namespace,
            hash_ids=self.hash_ids,
            uuid_filenames=self.uuid_filenames,
        )

    def _spill(self, rows: pl.LazyFrame, rank: int, places: pl.DataFrame, folder: Path) -> Spill:
        """Spill rows of a table with ``known_eid``, with the columns of the places they are of."""
        known = rows.with_columns(source=pl.lit(rank, pl.UInt32))
        matches = self._matches[rank].rename({"eid": "known_eid"})
        return self._read(partial(spill_joined, known, matches, "known_eid", places, folder))
