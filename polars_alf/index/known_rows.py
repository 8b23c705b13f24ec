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

from polars_alf.alf.ids import expr_is_uuid, expr_uuid3, format_numbers, identify
from polars_alf.errors import TableError
from polars_alf.index.known_datasets import KnownDatasets
from polars_alf.index.known_tables import (
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
from polars_alf.query.spill import Spill, spill_placed
from polars_alf.schema import TABLES, polars_schema
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.foreign import Columns, list_marked, merge_columns, restore_columns

_NAME = ["lab", "subject", "date", "number"]
_PLACE = "place"
"""Position of a session in the order of the table."""

_MATCH = [_PLACE, "key", "source"]

_ROW = ["source", "key", "name"]
"""Columns that find a row again: the table, and the numbers of its id and of its name."""

Result = TypeVar("Result")


@dataclass(slots=True)
class KnownRows:
    """The rows of some tables, for an index to complete its own with.

    Ids in the names of files win over those known, if `uuid_filenames`. `columns` are the columns
    that are not ours, by table. The counts are those of the sessions that matched tables that were
    given (`n_known_sessions`), and of those of which something was kept (`n_kept_sessions`), up to
    now. `datasets` are there once `spill_datasets` has been called.

    Of a session only numbers are in memory that find its rows again, some 40 bytes.
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
    _n_sessions: int = field(init=False)
    _matches: list[pl.DataFrame] = field(init=False)
    _values: list[Spill] = field(init=False)
    _namespace: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.columns = {
            name: merge_columns(tables.list_columns(name) for tables in self.tables)
            for name in TABLES
        }
        frames = []
        for rank, tables in enumerate(self.tables):
            rows = tables.sessions.select(
                name=_expr_name(),
                key=identify(pl.col("id")),
                is_uuid=expr_is_uuid(pl.col("id")),
                source=pl.lit(rank, pl.UInt32),
            )
            # A name with two ids, or an id of two names, tells nothing of the id.
            is_clear = (pl.col("key").n_unique().over("name") == 1) & (
                pl.col("name").n_unique().over("key") == 1
            )
            frames.append(rows.with_columns(is_clear=is_clear))
        self._sessions = self._read(pl.concat(frames).with_row_index("known").collect)
        is_given = pl.col("source").is_in(list_ranks(self.tables, "is_given"))
        wrong = self._sessions.filter(~pl.col("is_uuid") & is_given).head(1)
        if len(wrong):
            raise TableError(
                f"{self._read_sessions(wrong)['eid'][0]!r} in {', '.join(self.names)} is no UUID; "
                "give tables whose ids are"
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
        matches, ids, paths, n_sessions = [], [], [], 0
        for part in parts:
            sessions = part.select(*_NAME, "session", own="id").with_row_index(_PLACE, n_sessions)
            n_sessions += len(sessions)
            found = self._match(sessions)
            ids.append(self._choose_ids(sessions, found))
            matches.append(found.select("known", *_MATCH))
            if not self.hash_ids:
                paths.append(part["id"])

        def describe(repeated: pl.DataFrame) -> pl.DataFrame:
            sessions = rows.pick_sessions(order[repeated[_PLACE]])
            return sessions.select("session", format_numbers(repeated["id"]))

        chosen = return_repeated(pl.concat(ids), ["id"], self.issues, describe)
        result = order.with_columns(
            format_numbers(chosen["id"]) if self.hash_ids else pl.concat(paths)
        )
        found = pl.concat(matches)
        is_left = pl.repeat(True, len(self._sessions), eager=True).scatter(found["known"], False)
        left = self._sessions.filter(is_left)
        del self._sessions, matches, ids, paths
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
            placed = first.with_columns(key=identify(pl.col("eid"))).join(places, on="id")
            found = pl.concat([found, placed.select(_MATCH)])
        if self.hash_ids:
            result = result.with_row_index(_PLACE).sort("id")
            places = result.select(pl.arg_sort_by(_PLACE).alias(_PLACE))
            found = found.with_columns(places[found[_PLACE]])
            result = result.drop(_PLACE)
        self._matches = [
            found.filter(source=rank)
            .select("key", _PLACE)
            .drop_nulls()
            .unique()
            .sort("key", _PLACE)
            for rank in range(len(self.tables))
        ]
        return result

    def _match(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return which rows of the tables are of some sessions: by name, or else by id."""
        keyed = sessions.select(_PLACE, name=_expr_name(), own=identify(pl.col("own")))
        by_name = keyed.join(self._sessions, on="name")
        by_id = keyed.drop("name").join(
            self._sessions, left_on="own", right_on="key", coalesce=False
        )
        by_id = by_id.join(by_name, on=[_PLACE, "source"], how="anti")
        return pl.concat([by_name, by_id.select(by_name.columns)])

    def _match_by_id(
        self, chosen: pl.DataFrame, left: pl.DataFrame, found: pl.DataFrame
    ) -> pl.DataFrame:
        """Return the rows that have a session's final id, in tables where its name has none.

        They are of those that were `left` when others were `found`.
        """
        known = left.select("source", "key", id="key").unique()
        by_id = chosen.join(known, on="id").select(_MATCH)
        for key in ([_PLACE, "source"], ["key", "source"]) if len(by_id) else ():
            by_id = by_id.join(found, on=key, how="anti")
        return by_id

    def _choose_ids(self, sessions: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the ids of sessions, in their order: ``own`` ones, and those known for them.

        They are numbers, as of `identify`.
        """
        own = sessions.select(_PLACE, own=identify(pl.col("own")))
        if not self.hash_ids:
            return own.with_columns(id="own")
        unclear = found.filter(~pl.col("is_clear")).unique(_PLACE, maintain_order=True)
        if len(unclear):
            known = self._read_sessions(unclear)
            described = known.join(sessions, on=_PLACE, maintain_order="left")
            self.issues += report_unclear(described.select("session", "eid"))
        usable = found.filter("is_clear", "is_uuid").sort("source", maintain_order=True)
        first = usable.unique(_PLACE, keep="first", maintain_order=True).select(_PLACE, "key")
        is_given = pl.col("source").is_in(list_ranks(self.tables, "is_given"))
        self.n_known_sessions += usable.filter(is_given)[_PLACE].n_unique()
        ids = own.join(first, on=_PLACE, how="left", maintain_order="left")
        return ids.select(_PLACE, "own", id=pl.coalesce("key", "own"))

    def _find_missing(self, left: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the sessions of a database that are not on this disk, as rows of a shard.

        They are of those that were `left` when others were `found`.
        """
        ranks = list_ranks(self.tables, "keeps_missing")
        missing = left.filter(pl.col("source").is_in(ranks), pl.col("key").is_not_null())
        missing = missing.join(found, on=["key", "source"], how="anti", maintain_order="left")
        if missing.is_empty():
            return missing
        missing = self._read_sessions(missing)
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

    def _read_sessions(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the names, and ``eid``, to some rows of the tables.

        They are found by what they say, as others may have written the tables since, in another
        order. Raises TableError where one is gone.
        """
        frames = [
            tables.sessions.select(
                *_NAME[1:],
                pl.col("lab").fill_null(""),
                eid="id",
                source=pl.lit(rank, pl.UInt32),
                key=identify(pl.col("id")),
                name=_expr_name(),
            )
            for rank, tables in enumerate(self.tables)
        ]
        wanted = rows.lazy().select(_ROW).unique()
        there = pl.concat(frames).join(wanted, on=_ROW, how="semi", nulls_equal=True)
        known = self._read(there.unique(_ROW, keep="first", maintain_order=True).collect)
        found = rows.join(known, on=_ROW, nulls_equal=True, maintain_order="left")
        if len(found) < len(rows):
            folders = ", ".join(str(tables.folder) for tables in self.tables)
            raise TableError(
                f"a session in the tables in {folders} is not there any more, as another program "
                "has written them during the index; index again"
            )
        return found

    def spill_sessions(self, order: pl.DataFrame, n_sessions: int, folder: Path) -> None:
        """Write what the tables say of sessions into a folder, by parts of `n_sessions`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._n_sessions = n_sessions
        parts = pl.int_range(len(order), dtype=pl.UInt32, eager=True) // n_sessions
        self._values = [
            self._spill(
                tables.sessions.select(
                    *tables.select_written("sessions", self.columns["sessions"]), known_eid="id"
                ),
                rank,
                parts,
                folder,
            )
            for rank, tables in enumerate(self.tables)
        ]

    def complete_sessions(self, number: int, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return SESSIONS of a part with the values that were written, and the columns not ours.

        It is the part of that `number` of those that `spill_sessions` made.
        """
        columns = self.columns["sessions"]
        known = pl.concat(spill.read(number) for spill in self._values)
        values = take_first(known, [_PLACE], [*WRITTEN["sessions"], *list_marked(columns)])
        placed = sessions.with_row_index(_PLACE, number * self._n_sessions)
        joined = placed.join(values, on=_PLACE, how="left", maintain_order="left", suffix="_")
        self.n_kept_sessions += count_kept(joined, "sessions", columns)
        completed = joined.with_columns(prefer_known(sessions, "sessions"))
        return completed.select(*sessions.columns, *restore_columns(columns))

    # Datasets

    def count_missing(self) -> pl.DataFrame:
        """Return ``place`` of sessions and ``n_known``, the number of their rows in a database."""
        nothing = pl.LazyFrame(schema={_PLACE: pl.UInt32, "n_known": pl.UInt32})
        found = (
            self.tables[rank]
            .datasets.group_by(key=identify(pl.col("eid")))
            .agg(n_known=pl.len())
            .join(self._matches[rank].lazy(), on="key")
            .select(_PLACE, "n_known")
            for rank in list_ranks(self.tables, "keeps_missing")
        )
        counts = pl.concat([nothing, *found])
        return self._read(counts.group_by(_PLACE).agg(pl.col("n_known").sum()).collect)

    def spill_datasets(self, groups: pl.DataFrame, rows: ShardRows, folder: Path) -> None:
        """Write the known rows of datasets into a folder, by the ``group`` that needs them."""
        folder.mkdir(parents=True, exist_ok=True)
        del self._values  # which are written, and wait in memory if they are few
        spilled = [
            self._spill(
                tables.select_datasets(self.columns["datasets"], without_uuids=self.uuid_filenames),
                rank,
                groups["group"],
                folder,
            )
            for rank, tables in enumerate(self.tables)
        ]
        self.datasets = KnownDatasets(
            self.tables,
            self.columns["datasets"],
            spilled,
            groups["id"],
            lambda places: rows.pick_sessions(groups[places])["session"],
            self._namespace,
            hash_ids=self.hash_ids,
            uuid_filenames=self.uuid_filenames,
        )

    def _spill(self, rows: pl.LazyFrame, rank: int, parts: pl.Series, folder: Path) -> Spill:
        """Spill rows of a table with ``known_eid``, by the part that their session is in."""
        known = rows.with_columns(source=pl.lit(rank, pl.UInt32))
        matches = self._matches[rank]
        return self._read(partial(spill_placed, known, "known_eid", matches, parts, folder))


def _expr_name() -> pl.Expr:
    """Return numbers of the names of sessions, as of `identify`; null is like an empty text."""
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in _NAME]
    return identify(pl.concat_str(parts, separator="\0"))
