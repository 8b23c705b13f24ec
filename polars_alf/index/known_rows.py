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
from polars_alf.alf.paths import join, printable
from polars_alf.errors import TableError
from polars_alf.index.known_tables import (
    WRITTEN,
    KnownTables,
    count_kept,
    prefer_known,
    report_renamed,
    return_repeated,
    take_first,
)
from polars_alf.index.merge import ShardRows
from polars_alf.query.columns import expr_session_path
from polars_alf.query.revisions import DEFAULT_REVISION
from polars_alf.query.spill import BUCKET, Spill, spill_joined
from polars_alf.schema import DIGEST_COLUMNS, TABLES, IssueKind, polars_schema
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.foreign import Columns, list_marked, merge_columns, restore_columns
from polars_alf.tables.named_rows import IS_NAMED

_NAME = ["lab", "subject", "date", "number"]
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_GROUP = "group"

Result = TypeVar("Result")

_IDS = pl.Schema({"session": pl.String, "own": pl.String, "id": pl.String})


@dataclass(slots=True)
class KnownRows:
    """The rows of some tables, for an index to complete its own with.

    Ids in the names of files win over those known, if `uuid_filenames`. `columns` are the columns
    that are not ours, by table; the counts are those of the rows that
    matched tables that were given (`n_known_…`), of those of which something was kept (`n_kept_…`),
    and of those without a file on this disk (`n_missing`), up to now.
    """

    tables: Sequence[KnownTables]
    hash_ids: bool
    uuid_filenames: bool = False
    columns: dict[str, Columns] = field(init=False)
    n_known_sessions: int = field(init=False, default=0)
    n_known_datasets: int = field(init=False, default=0)
    n_kept_sessions: int = field(init=False, default=0)
    n_kept_datasets: int = field(init=False, default=0)
    n_missing: int = field(init=False, default=0)
    issues: list[tuple[object, ...]] = field(init=False, default_factory=list)
    _sessions: pl.DataFrame = field(init=False)
    _matches: pl.DataFrame = field(init=False)
    _values: pl.DataFrame = field(init=False)
    _namespace: UUID = field(init=False)
    _spilled: list[Spill] = field(init=False, default_factory=list)

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
        is_uuid = pl.col("eid").str.contains(_UUID).fill_null(value=False)
        marked = pl.concat(frames).with_columns(is_clear=is_clear, is_uuid=is_uuid)
        self._sessions = self._read(marked.collect)
        is_given = pl.col("source").is_in(self._list_ranks("is_given"))
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

    def _list_ranks(self, quality: str) -> list[int]:
        return [rank for rank, tables in enumerate(self.tables) if getattr(tables, quality)]

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
        chosen = return_repeated(pl.concat(ids), ["id"], self._report_repeated)
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
        self._report_unclear(unclear.select("session", "eid"))
        usable = found.filter("is_clear", "is_uuid").sort("source", maintain_order=True)
        first = usable.unique("own", keep="first", maintain_order=True).select("own", "eid")
        is_given = pl.col("source").is_in(self._list_ranks("is_given"))
        self.n_known_sessions += usable.filter(is_given)["own"].n_unique()
        ids = own.join(first, on="own", how="left", maintain_order="left")
        return ids.with_columns(id=pl.coalesce("eid", "own")).select(_IDS.names())

    def _add_missing(self, rows: ShardRows, folder: Path, there: pl.Series) -> pl.DataFrame | None:
        """Add a shard of the sessions that are in a database, and not `there`: on this disk."""
        known = self._matches.select("eid", "source")
        ranks = self._list_ranks("keeps_missing")
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
        self._report_unclear(missing.filter(~pl.col("is_clear")).select("session", "eid"))
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
        for rank in self._list_ranks("keeps_missing"):
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
        groups = order.select("id", _GROUP).rename({_GROUP: BUCKET})
        for rank, tables in enumerate(self.tables):
            eids = self._matches.filter(source=rank).select("id", "session", known_eid="eid")
            eids = eids.unique(["known_eid", "id"]).join(groups, on="id")
            eids = eids.rename({"id": "eid"}).drop_nulls("known_eid").sort("known_eid")
            datasets = tables.select_datasets(
                self.columns["datasets"], without_uuids=self.uuid_filenames
            ).with_columns(source=pl.lit(rank, pl.UInt32))
            spill = partial(spill_joined, datasets, eids, "known_eid", folder)
            self._spilled.append(self._read(spill))

    def complete_datasets(self, group: int, datasets: pl.DataFrame) -> pl.DataFrame:
        """Return DATASETS of a group with ids and values that are known, and rows without a file.

        In the order of their ids where these are UUIDs, else in the order given. If
        `uuid_filenames`, they come with ``is_named``, as of `tables.named_rows`, and go without.
        """
        foreign = self.columns["datasets"]
        is_named = datasets[IS_NAMED] if self.uuid_filenames else pl.lit(value=False)
        datasets = datasets.drop(IS_NAMED, strict=False)
        found = [rows for spill in self._spilled if len(rows := spill.read(group))]
        if not found:
            nothing = zip(list_marked(foreign), foreign.values(), strict=True)
            nulls = datasets.with_columns(pl.lit(None, dtype).alias(c) for c, dtype in nothing)
            return nulls.select(*datasets.columns, *restore_columns(foreign))
        known = self._read_known(found)
        key = ["eid", "rel_path"]
        values = take_first(known, key, [*WRITTEN["datasets"], *list_marked(foreign)])
        ids = known.filter("is_usable").unique(key, keep="first", maintain_order=True)
        hashes = known.filter(pl.col("hash") != "").unique(key, keep="first", maintain_order=True)
        joined = (
            datasets.with_columns(is_named.alias(IS_NAMED))
            .join(values, on=key, how="left", maintain_order="left", suffix="_")
            .join(ids.select(*key, "known", "is_given"), on=key, how="left", maintain_order="left")
            .join(
                hashes.select(*key, "file_size", "hash", "is_database"),
                on=key,
                how="left",
                maintain_order="left",
                suffix="_known",
            )
        )
        self.n_known_datasets += int(joined["is_given"].fill_null(value=False).sum())
        self.n_kept_datasets += count_kept(joined, "datasets", foreign)
        # The MD5 that a database has is what the content should be, as ONE checks on loading.
        is_database = pl.col("is_database").fill_null(value=False)
        is_alike = pl.col("file_size") == pl.col("file_size_known")
        known_id = pl.coalesce("known", "id") if self.hash_ids else pl.col("id")
        self.issues += report_renamed(joined)
        completed = joined.with_columns(
            pl.col("id").alias("own"),
            pl.when(IS_NAMED).then("id").otherwise(known_id).alias("id"),
            *prefer_known(datasets, "datasets"),
            pl.when((pl.col("hash") == "") & is_database & is_alike)
            .then("hash_known")
            .otherwise("hash")
            .alias("hash"),
        )
        completed = return_repeated(completed, ["eid", "id"], self._report_repeated)
        result = completed.select(*datasets.columns, *restore_columns(foreign))
        result = pl.concat([result, self._find_missing(known, values, result)])
        return result.sort("eid", "id") if self.hash_ids else result

    def _read_known(self, found: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Return the known rows of a group, those of the first tables first."""
        known = pl.concat(found, how="diagonal_relaxed")
        by_path, by_id = ["eid", "rel_path", "source"], ["eid", "known", "source"]
        is_clear = (pl.col("known").n_unique().over(by_path) == 1) & (
            pl.col("rel_path").n_unique().over(by_id) == 1
        )
        known = known.sort("source", maintain_order=True).with_columns(
            is_clear=is_clear,
            is_usable=is_clear & pl.col("known").str.contains(_UUID).fill_null(value=False),
            **{
                name: pl.col("source").is_in(self._list_ranks(name))
                for name in ("is_given", "is_database", "keeps_missing")
            },
        )
        unclear = known.filter(~pl.col("is_clear")).unique(by_path, maintain_order=True)
        paths = [join(*row) for row in unclear.select("session", "rel_path").iter_rows()]
        self._report_unclear(unclear.select(pl.Series("path", paths, pl.String), "known"))
        return known

    def _find_missing(
        self, known: pl.DataFrame, values: pl.DataFrame, datasets: pl.DataFrame
    ) -> pl.DataFrame:
        """Return the rows of a database that have no file on this disk."""
        key = ["eid", "rel_path"]
        path = pl.concat_str("session", "rel_path", separator="/")
        # A file that has the id under another path was renamed by the tables that come first.
        there = known.join(datasets, left_on=[*key, "known"], right_on=[*key, "id"], how="semi")
        missing = (
            known.filter("keeps_missing")
            .join(datasets, on=key, how="anti", maintain_order="left")
            .join(there, on=["eid", "known"], how="anti", maintain_order="left")
            .unique(key, keep="first", maintain_order=True)
            .with_columns(
                own=expr_uuid3(path, self._namespace),
                exists=pl.lit(value=False),
                qc=pl.lit("NOT_SET", datasets.schema["qc"]),
                hash=pl.col("hash").fill_null(""),
                **{name: pl.lit("") for name in {*DIGEST_COLUMNS.values()} - {"hash"}},
            )
            .with_columns(id=pl.when("is_usable").then("known").otherwise("own"))
            .unique(["eid", "id"], keep="first", maintain_order=True)
        )
        self.n_missing += len(missing)
        joined = missing.drop(list_marked(self.columns["datasets"])).join(
            values, on=key, how="left", maintain_order="left", suffix="_"
        )
        self.n_kept_datasets += count_kept(joined, "datasets", self.columns["datasets"])
        taken = joined.join(datasets, on=["eid", "id"], how="semi")
        if len(taken):
            self._report_repeated(taken)
            own = pl.col("own").alias("id")
            rest = joined.join(taken, on=key, how="anti", maintain_order="left")
            joined = pl.concat([rest, taken.with_columns(own)])
        return (
            joined.with_columns(prefer_known(datasets, "datasets"))
            .with_columns(restore_columns(self.columns["datasets"]))
            .select(pl.col(column).cast(dtype) for column, dtype in datasets.schema.items())
        )

    # Issues

    def _report_unclear(self, rows: pl.DataFrame) -> None:
        for path, known in rows.iter_rows():  # of which one has several of the other
            self._report(path, f"its id {known!r} stands for several paths, or it has several")

    def _report_repeated(self, rows: pl.DataFrame) -> None:
        for row in rows.iter_rows(named=True):
            path = row.get("session") or row.get("rel_path", "")
            self._report(path, f"the id {row['id']!r} is also that of another")

    def _report(self, path: str, what: str) -> None:
        message = f"{what}, so it keeps the id that follows from its path; mend the tables it is in"
        kind = IssueKind.AMBIGUOUS_ID.value
        self.issues.append((printable(path) or ".", kind, None, printable(message)))
