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
from polars_alf.query.spill import BUCKET, spill_joined
from polars_alf.schema import TABLES, polars_schema
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.foreign import Columns, list_marked, merge_columns, restore_columns

_NAME = ["lab", "subject", "date", "number"]
_GROUP = "group"

Result = TypeVar("Result")

_IDS = pl.Schema({"session": pl.String, "own": pl.String, "id": pl.String})


@dataclass(slots=True)
class KnownRows:
    """The rows of some tables, for an index to complete its own with.

    Ids in the names of files win over those known, if `uuid_filenames`. `columns` are the columns
    that are not ours, by table. The counts are those of the sessions that matched tables that were
    given (`n_known_sessions`), and of those of which something was kept (`n_kept_sessions`), up to
    now. `datasets` are there once `spill_datasets` has been called.
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
    _matches: pl.DataFrame = field(init=False)
    _values: pl.DataFrame = field(init=False)
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
                *tables.select_written("sessions", self.columns["sessions"]),
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
        marked = pl.concat(frames).with_columns(is_clear=is_clear, is_uuid=is_uuid)
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
        matches = [self._match(nothing)]
        ids = [_IDS.to_frame()]
        for part in order.iter_slices(rows.rows_per_group):
            sessions = rows.pick_sessions(part)
            matches.append(self._match(sessions))
            ids.append(self._choose_ids(sessions, matches[-1]))
        chosen = return_repeated(pl.concat(ids), ["id"], self.issues)
        result = order.with_columns(chosen["id"])
        found = pl.concat(matches).join(chosen.select("own", "id"), on="own")
        found = found.select("session", "id", "eid", "source")
        self._matches = pl.concat([found, self._match_by_id(chosen, found)])
        missing = self._add_missing(rows, folder, result["id"])
        if missing is not None:
            result = pl.concat([result, missing.select(result.columns)])
        self._values = self._collect_values()
        return result.sort("id") if self.hash_ids else result

    def _match(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return which rows of the tables are of some sessions: by name, or else by id."""
        own = sessions.select(*_NAME, "session", own="id")
        known = self._sessions.select(*_NAME, "eid", "source", "is_clear", "is_uuid")
        by_name = own.join(known, on=_NAME)
        by_id = own.join(known.drop(_NAME), left_on="own", right_on="eid", coalesce=False)
        by_id = by_id.join(by_name, on=["own", "source"], how="anti")
        return pl.concat([by_name, by_id.select(by_name.columns)])

    def _match_by_id(self, chosen: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that have a session's final id, in tables where its name has none."""
        known = self._sessions.select(id="eid", eid="eid", source="source").unique()
        by_id = chosen.select("session", "id").join(known, on="id", how="inner")
        return (
            by_id.join(found, on=["id", "source"], how="anti")
            .join(found, on=["eid", "source"], how="anti")
            .select(found.columns)
        )

    def _choose_ids(self, sessions: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the ids of sessions, in their order: ``own`` ones, and those known for them."""
        own = sessions.select("session", own="id")
        if not self.hash_ids:
            return own.with_columns(id="own").select(_IDS.names())
        unclear = found.filter(~pl.col("is_clear")).unique("own", maintain_order=True)
        self.issues += report_unclear(unclear.select("session", "eid"))
        usable = found.filter("is_clear", "is_uuid").sort("source", maintain_order=True)
        first = usable.unique("own", keep="first", maintain_order=True).select("own", "eid")
        is_given = pl.col("source").is_in(list_ranks(self.tables, "is_given"))
        self.n_known_sessions += usable.filter(is_given)["own"].n_unique()
        ids = own.join(first, on="own", how="left", maintain_order="left")
        return ids.with_columns(id=pl.coalesce("eid", "own")).select(_IDS.names())

    def _add_missing(self, rows: ShardRows, folder: Path, there: pl.Series) -> pl.DataFrame | None:
        """Add a shard of the sessions that are in a database, and not `there`: on this disk."""
        known = self._matches.select("eid", "source")
        ranks = list_ranks(self.tables, "keeps_missing")
        missing = self._sessions.filter(
            pl.col("source").is_in(ranks), pl.col("eid").is_not_null()
        ).join(known, on=["eid", "source"], how="anti", maintain_order="left")
        if missing.is_empty():
            return None
        name = expr_session_path()
        missing = missing.with_columns(session=name, name=name, key="eid")
        missing = missing.with_columns(
            *(pl.lit("").alias(column) for column in WRITTEN["sessions"]),
            own=expr_uuid3(pl.col("name"), self._namespace),
        )
        chosen = pl.when("is_clear", "is_uuid").then("eid").otherwise("own")
        missing = missing.with_columns(id=chosen.first().over(_NAME))
        self.issues += report_unclear(missing.filter(~pl.col("is_clear")).select("session", "eid"))
        # The datasets of an id that stands for several sessions go to the first of them.
        matches = missing.unique(["eid", "source"], keep="first", maintain_order=True)
        matches = matches.select(self._matches.columns)
        sessions = missing.filter(~pl.col("id").is_in(there.implode()))
        self._matches = pl.concat([self._matches, matches])
        return rows.add_sessions(sessions.unique("id", keep="first", maintain_order=True), folder)

    def _collect_values(self) -> pl.DataFrame:
        """Return what the tables say of sessions, by their final ``id``."""
        columns = [*WRITTEN["sessions"], *list_marked(self.columns["sessions"])]
        rows = self._matches.select("id", "eid", "source").unique()
        known = self._sessions.select("eid", "source", *columns)
        known = known.join(rows, on=["eid", "source"], maintain_order="left")
        return take_first(known, ["id"], columns)

    def complete_sessions(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return SESSIONS with the values that were written, and the columns that are not ours."""
        joined = sessions.join(self._values, on="id", how="left", maintain_order="left", suffix="_")
        columns = self.columns["sessions"]
        self.n_kept_sessions += count_kept(joined, "sessions", columns)
        completed = joined.with_columns(prefer_known(sessions, "sessions"))
        return completed.select(*sessions.columns, *restore_columns(columns))

    # Datasets

    def count_missing(self) -> pl.DataFrame:
        """Return ``id`` of sessions and ``n_known``, the number of their rows in a database."""
        counts = [pl.LazyFrame(schema={"id": pl.String, "n_known": pl.UInt32})]
        for rank in list_ranks(self.tables, "keeps_missing"):
            eids = self._matches.lazy().filter(source=rank).select("eid", "id").unique()
            counts.append(
                self.tables[rank]
                .datasets.group_by("eid")
                .agg(n_known=pl.len())
                .join(eids, on="eid")
                .select("id", "n_known")
            )
        return self._read(pl.concat(counts).group_by("id").agg(pl.col("n_known").sum()).collect)

    def spill_datasets(self, order: pl.DataFrame, folder: Path) -> None:
        """Write the known rows of datasets into a folder, by the ``group`` that needs them."""
        folder.mkdir(exist_ok=True)
        spilled = []
        groups = order.select("id", _GROUP).rename({_GROUP: BUCKET})
        for rank, tables in enumerate(self.tables):
            eids = self._matches.filter(source=rank).select("id", "session", known_eid="eid")
            eids = eids.unique(["known_eid", "id"]).join(groups, on="id")
            eids = eids.rename({"id": "eid"}).drop_nulls("known_eid").sort("known_eid")
            datasets = tables.select_datasets(
                self.columns["datasets"], without_uuids=self.uuid_filenames
            ).with_columns(source=pl.lit(rank, pl.UInt32))
            spill = partial(spill_joined, datasets, eids, "known_eid", folder)
            spilled.append(self._read(spill))
        self.datasets = KnownDatasets(
            self.tables,
            self.columns["datasets"],
            spilled,
            self._namespace,
            hash_ids=self.hash_ids,
            uuid_filenames=self.uuid_filenames,
        )
