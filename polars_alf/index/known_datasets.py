"""The rows of datasets in earlier tables, by the group of the index that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import polars as pl

from polars_alf.alf.ids import expr_is_uuid, expr_uuid3
from polars_alf.alf.paths import join
from polars_alf.index.known_tables import (
    WRITTEN,
    Issue,
    KnownTables,
    count_kept,
    list_ranks,
    prefer_known,
    report_renamed,
    report_repeated,
    report_unclear,
    return_repeated,
    take_first,
)
from polars_alf.query.spill import Spill
from polars_alf.schema import DIGEST_COLUMNS
from polars_alf.tables.foreign import Columns, list_marked, restore_columns
from polars_alf.tables.named_rows import IS_NAMED


@dataclass(slots=True)
class _Tally:
    """Counts and issues of the known rows of one group."""

    n_known: int = 0
    n_kept: int = 0
    n_missing: int = 0
    issues: list[Issue] = field(default_factory=list)


class KnownDatasets:
    """The rows of datasets in some tables, for an index to complete its own with.

    Parameters
    ----------
    tables
        The tables.
    columns
        Their columns that are not ours.
    spilled
        Their rows, of each of the tables by the group that needs them. ``place`` is the position of
        the session.
    eids
        The final ids of all sessions.
    name_sessions
        Returns the folders of sessions at some positions.
    namespace
        Of ids where those known cannot be used.
    hash_ids
        Whether ids are UUIDs.
    uuid_filenames
        Whether ids in the names of files win over those known.
    """

    def __init__(
        self,
        tables: Sequence[KnownTables],
        columns: Columns,
        spilled: Sequence[Spill],
        eids: pl.Series,
        name_sessions: Callable[[pl.Series], pl.Series],
        namespace: UUID,
        *,
        hash_ids: bool,
        uuid_filenames: bool,
    ) -> None:
        self._tables = tables
        self._columns = columns
        self._spilled = spilled
        self._eids = eids
        self._name_sessions = name_sessions
        self._namespace = namespace
        self._hash_ids = hash_ids
        self._uuid_filenames = uuid_filenames
        self._tallies: dict[int, _Tally] = {}

    @property
    def n_known(self) -> int:
        """Datasets that matched tables that were given, up to now."""
        return sum(tally.n_known for tally in self._tallies.values())

    @property
    def n_kept(self) -> int:
        """Datasets of which something was kept, up to now."""
        return sum(tally.n_kept for tally in self._tallies.values())

    @property
    def n_missing(self) -> int:
        """Rows without a file on this disk, up to now."""
        return sum(tally.n_missing for tally in self._tallies.values())

    def issues(self) -> Iterator[Issue]:
        """Yield rows of ISSUES up to now, group by group."""
        for group in sorted(self._tallies):
            yield from self._tallies[group].issues

    def complete(self, group: int, datasets: pl.DataFrame) -> pl.DataFrame:
        """Return DATASETS of a group with ids and values that are known, and rows without a file.

        In the order of their ids where these are UUIDs, else in the order given. If
        `uuid_filenames`, they come with ``is_named``, as of `tables.named_rows`, and go without.
        Several threads may call this, each for groups of its own.
        """
        foreign = self._columns
        tally = self._tallies[group] = _Tally()
        is_named = datasets[IS_NAMED] if self._uuid_filenames else pl.lit(value=False)
        datasets = datasets.drop(IS_NAMED, strict=False)
        found = [rows for spill in self._spilled if len(rows := spill.read(group))]
        if not found:
            nothing = zip(list_marked(foreign), foreign.values(), strict=True)
            nulls = datasets.with_columns(pl.lit(None, dtype).alias(c) for c, dtype in nothing)
            return nulls.select(*datasets.columns, *restore_columns(foreign))
        known = self._read_known(found, tally)
        key = ["eid", "rel_path"]
        id_of = {name: pl.col(name).filter("is_usable") for name in ("known", "is_given")}
        has_hash = pl.col("hash") != ""
        hash_of = {
            "file_size_known": pl.col("file_size").filter(has_hash),
            "hash_known": pl.col("hash").filter(has_hash),
            "is_database": pl.col("is_database").filter(has_hash),
        }
        columns = [*WRITTEN["datasets"], *list_marked(foreign)]
        values = take_first(known, key, columns, id_of | hash_of)
        joined = datasets.with_columns(is_named.alias(IS_NAMED)).join(
            values, on=key, how="left", maintain_order="left", suffix="_"
        )
        tally.n_known += int(joined["is_given"].fill_null(value=False).sum())
        tally.n_kept += count_kept(joined, "datasets", foreign)
        # The MD5 that a database has is what the content should be, as ONE checks on loading.
        is_database = pl.col("is_database").fill_null(value=False)
        is_alike = pl.col("file_size") == pl.col("file_size_known")
        known_id = pl.coalesce("known", "id") if self._hash_ids else pl.col("id")
        tally.issues += report_renamed(joined)
        completed = joined.with_columns(
            pl.col("id").alias("own"),
            pl.when(IS_NAMED).then("id").otherwise(known_id).alias("id"),
            *prefer_known(datasets, "datasets"),
            pl.when((pl.col("hash") == "") & is_database & is_alike)
            .then("hash_known")
            .otherwise("hash")
            .alias("hash"),
        )
        completed = return_repeated(completed, ["eid", "id"], tally.issues)
        result = completed.select(*datasets.columns, *restore_columns(foreign))
        if known["keeps_missing"].any():
            result = pl.concat([result, self._find_missing(known, values, result, tally)])
        return result.sort("eid", "id") if self._hash_ids else result

    def _read_known(self, found: Sequence[pl.DataFrame], tally: _Tally) -> pl.DataFrame:
        """Return the known rows of a group, those of the first tables first."""
        known = pl.concat(found, how="diagonal_relaxed")
        known = known.with_columns(self._eids.gather(known["place"]).alias("eid"))
        by_path, by_id = ["eid", "rel_path", "source"], ["eid", "known", "source"]
        is_clear = (pl.col("known").n_unique().over(by_path) == 1) & (
            pl.col("rel_path").n_unique().over(by_id) == 1
        )
        known = known.sort("source", maintain_order=True).with_columns(
            is_clear=is_clear,
            is_usable=is_clear & expr_is_uuid(pl.col("known")),
            **{
                name: pl.col("source").is_in(list_ranks(self._tables, name))
                for name in ("is_given", "is_database", "keeps_missing")
            },
        )
        unclear = known.filter(~pl.col("is_clear")).unique(by_path, maintain_order=True)
        unclear = self._add_sessions(unclear)
        paths = [join(*row) for row in unclear.select("session", "rel_path").iter_rows()]
        tally.issues += report_unclear(unclear.select(pl.Series("path", paths, pl.String), "known"))
        return known

    def _add_sessions(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add ``session``, the folder of each row's session."""
        if rows.is_empty():
            return rows.with_columns(session=pl.lit(""))
        places = rows["place"].unique().sort()
        names = self._name_sessions(places)
        return rows.with_columns(names.gather(places.search_sorted(rows["place"])).alias("session"))

    def _find_missing(
        self, known: pl.DataFrame, values: pl.DataFrame, datasets: pl.DataFrame, tally: _Tally
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
        )
        missing = (
            self._add_sessions(missing)
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
        tally.n_missing = len(missing)
        joined = missing.drop(list_marked(self._columns)).join(
            values, on=key, how="left", maintain_order="left", suffix="_"
        )
        tally.n_kept += count_kept(joined, "datasets", self._columns)
        taken = joined.join(datasets, on=["eid", "id"], how="semi")
        if len(taken):
            tally.issues += report_repeated(taken)
            own = pl.col("own").alias("id")
            rest = joined.join(taken, on=key, how="anti", maintain_order="left")
            joined = pl.concat([rest, taken.with_columns(own)])
        return (
            joined.with_columns(prefer_known(datasets, "datasets"))
            .with_columns(restore_columns(self._columns))
            .select(pl.col(column).cast(dtype) for column, dtype in datasets.schema.items())
        )
