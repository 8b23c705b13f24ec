"""The rows of earlier tables: ids, and what people and databases wrote, which no walk can tell.

The disk decides what exists, people decide the rest. `qc`, `projects`, `task_protocol`, ids and
every column that is not ours are taken row by row from the tables that are given, and from those
that are there. Sessions match by lab, subject, date and number, else by id; datasets by their
session and rel_path. Where several tables know a row, the first value that says
something wins: those given come before those that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import polars as pl

from polars_alf.alf.paths import join, printable
from polars_alf.errors import TableError, TableNotFoundError
from polars_alf.index.merge import ShardRows
from polars_alf.query.scan import ORIGIN, scan_datasets, scan_sessions
from polars_alf.schema import DIGEST_COLUMNS, TABLES, IssueKind, polars_schema
from polars_alf.tables.contract import TableHeader, read_headers, storable_type

_NAME = ["lab", "subject", "date", "number"]
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_GROUP = "group"

_WRITTEN = {"sessions": {"task_protocol": "", "projects": ""}, "datasets": {"qc": "NOT_SET"}}
"""Columns of ours that others write, and their value where nobody did."""

_NEVER_NULL = {"default_revision": False}
"""Columns of ONE's that it cannot read with nulls, and their value for new rows."""

_IDS = pl.Schema({"session": pl.String, "own": pl.String, "id": pl.String})

Columns = dict[str, pl.DataType]
"""Columns that are not ours, by name, in the type in which they are stored."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Tables that know rows; `has_missing` if rows without a file on this disk stay."""

    folder: Path
    is_given: bool
    is_database: bool
    has_missing: bool
    sessions: pl.LazyFrame
    datasets: pl.LazyFrame

    def list_columns(self, name: str) -> Columns:
        """Return the columns of a table that are not ours."""
        frame = self.sessions if name == "sessions" else self.datasets
        ours = {*TABLES[name].names, *DIGEST_COLUMNS.values(), ORIGIN}
        found = frame.collect_schema().items()
        return {column: storable_type(dtype) for column, dtype in found if column not in ours}


def is_database(headers: Sequence[TableHeader]) -> bool:
    """Whether tables come from a database: ONE records its name, or address, as an origin."""
    return any(is_database_name(origin) for header in headers for origin in header.origins)


def is_database_name(origin: str) -> bool:
    """Whether an origin is the name or address of a database, and no path."""
    return not (Path(origin).is_absolute() or PureWindowsPath(origin).is_absolute())


def find_known_rows(
    own: Path | None,
    given: Sequence[Path],
    *,
    hash_ids: bool,
    took_ids: bool,
    prune_missing: bool,
) -> KnownRows | None:
    """Open the tables whose rows are to be kept; None where there is nothing to keep.

    Parameters
    ----------
    own
        Folder of the tables that are there; None where nothing of them is to be kept.
    given
        Folders of tables whose ids and values win.
    hash_ids
        Whether the ids of the index are UUIDs.
    took_ids
        Whether ids of the tables that are there came from others.
    prune_missing
        Whether rows of a database without a file on this disk go.

    Raises
    ------
    TableError
        A table cannot be read, or ids that were given are no UUIDs.
    """
    sources = [_open_source(folder, is_given=True) for folder in given]
    if own is not None and own not in given:
        headers = [*read_headers(own).values()]
        source = _open_source(own, is_given=False, has_missing=hash_ids and not prune_missing)
        is_foreign = any(header.generation is None for header in headers)
        if headers and (took_ids or is_foreign or source.is_database or _says_something(source)):
            sources.append(source)
    return KnownRows(sources, hash_ids=hash_ids) if sources else None


def _open_source(folder: Path, *, is_given: bool, has_missing: bool = False) -> _Source:
    frames = []
    for name, scan in (("sessions", scan_sessions), ("datasets", scan_datasets)):
        try:
            frames.append(scan(folder))
        except TableNotFoundError:
            if is_given:
                raise
            frames.append(polars_schema(TABLES[name]).to_frame().lazy())
    from_database = is_database([*read_headers(folder).values()])
    return _Source(folder, is_given, from_database, has_missing and from_database, *frames)


def _says_something(source: _Source) -> bool:
    """Whether tables of ours have columns that are not, or values that others wrote."""
    if source.list_columns("sessions") or source.list_columns("datasets"):
        return True
    written = [
        frame.select(
            pl.any_horizontal(
                pl.col(column).cast(pl.String).is_not_null() & (pl.col(column) != value)
                for column, value in _WRITTEN[name].items()
            ).any()
        )
        for name, frame in (("sessions", source.sessions), ("datasets", source.datasets))
    ]
    return any(bool(found.item()) for found in pl.collect_all(written, engine="streaming"))


@dataclass(slots=True)
class KnownRows:
    """The rows of some tables, for an index to complete its own with.

    `columns` are the columns that are not ours, by table; the counts are those of the rows that
    matched tables that were given (`n_known_…`), of those of which something was kept (`n_kept_…`),
    and of those without a file on this disk (`n_missing`), up to now.
    """

    sources: Sequence[_Source]
    hash_ids: bool
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
    _spilled: list[Path] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.columns = {name: self._merge_columns(name) for name in TABLES}
        wanted = {**_WRITTEN["sessions"], **self.columns["sessions"]}
        frames = [
            source.sessions.select(
                *_NAME[1:],
                pl.col("lab").fill_null(""),
                *_store(source.sessions, wanted, self.columns["sessions"]),
                eid="id",
                source=pl.lit(rank, pl.UInt32),
            )
            for rank, source in enumerate(self.sources)
        ]
        # A name with two ids, or an id of two names, tells nothing of the id.
        is_clear = (pl.col("eid").n_unique().over(*_NAME, "source") == 1) & (
            pl.struct(_NAME).n_unique().over("eid", "source") == 1
        )
        is_uuid = pl.col("eid").str.contains(_UUID).fill_null(value=False)
        self._sessions = (
            pl.concat(frames).with_columns(is_clear=is_clear, is_uuid=is_uuid).collect()
        )
        given = [rank for rank, source in enumerate(self.sources) if source.is_given]
        wrong = self._sessions.filter(~pl.col("is_uuid") & pl.col("source").is_in(given))
        if len(wrong):
            raise TableError(
                f"{wrong['eid'][0]!r} in {', '.join(self.names)} is no UUID; give tables whose ids "
                "are"
            )

    @property
    def names(self) -> list[str]:
        """Paths of the folders that were given."""
        return [str(source.folder) for source in self.sources if source.is_given]

    @property
    def databases(self) -> list[str]:
        """Names of the databases that the tables that are there come from."""
        own = [source.folder for source in self.sources if not source.is_given]
        headers = [header for folder in own for header in read_headers(folder).values()]
        return list(
            dict.fromkeys(filter(is_database_name, (o for h in headers for o in h.origins)))
        )

    def _merge_columns(self, name: str) -> Columns:
        merged: Columns = {}
        for source in self.sources:
            for column, dtype in source.list_columns(name).items():
                same = merged.setdefault(column, dtype) == dtype
                merged[column] = dtype if same else pl.String()
        return merged

    # Sessions

    def take_sessions(self, order: pl.DataFrame, rows: ShardRows, folder: Path) -> pl.DataFrame:
        """Return an order of sessions with their final ``id``, sorted by it.

        Sessions of a database that are not on this disk are added: their rows are written into
        `folder`, which becomes one more shard. Ids stay as they are where those of the index are
        paths.
        """
        nothing = polars_schema(TABLES["sessions"]).to_frame().with_columns(session=pl.lit(""))
        matches = [self._match(nothing)]
        ids = []
        for part in order.iter_slices(rows.rows_per_group):
            sessions = rows.pick_sessions(part)
            matches.append(self._match(sessions))
            ids.append(self._choose_ids(sessions, matches[-1]))
        chosen = pl.concat([_IDS.to_frame(), *ids])
        chosen = _return_repeated(chosen, ["id"], self._report_repeated)
        result = order.with_columns(chosen["id"])
        self._matches = pl.concat(matches).join(chosen.select("own", "id"), on="own")
        missing = self._add_missing(rows, folder)
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

    def _choose_ids(self, sessions: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
        """Return the ids of sessions, in their order: ``own`` ones, and those known for them."""
        own = sessions.select("session", own="id")
        if not self.hash_ids:
            return own.with_columns(id="own").select(_IDS.names())
        unclear = found.filter(~pl.col("is_clear")).unique("own", maintain_order=True)
        for session, eid in unclear.select("session", "eid").iter_rows():
            self._report(session, f"its id {eid!r} stands for several sessions, or it has several")
        usable = found.filter("is_clear", "is_uuid").sort("source", maintain_order=True)
        first = usable.unique("own", keep="first", maintain_order=True).select("own", "eid")
        given = [rank for rank, source in enumerate(self.sources) if source.is_given]
        self.n_known_sessions += usable.filter(pl.col("source").is_in(given))["own"].n_unique()
        ids = own.join(first, on="own", how="left", maintain_order="left")
        return ids.with_columns(id=pl.coalesce("eid", "own")).select(_IDS.names())

    def _add_missing(self, rows: ShardRows, folder: Path) -> pl.DataFrame | None:
        """Add a shard of the sessions that are in a database and not on this disk."""
        ranks = [rank for rank, source in enumerate(self.sources) if source.has_missing]
        known = self._matches.select("eid", "source")
        missing = (
            self._sessions.filter(pl.col("source").is_in(ranks), "is_uuid")
            .join(known, on=["eid", "source"], how="anti")
            .unique("eid", keep="first", maintain_order=True)
            .join(self._matches.select("id"), left_on="eid", right_on="id", how="anti")
        )
        if missing.is_empty():
            return None
        path = pl.concat_str(_NAME[1:3], separator="/")
        sessions = missing.with_columns(id="eid", session=path, name=path, key="eid").with_columns(
            pl.lit("").alias(column) for column in _WRITTEN["sessions"]
        )
        self._matches = pl.concat(
            [
                self._matches,
                sessions.select("eid", "source", "id", "session", own="id"),
            ],
            how="diagonal",
        )
        return rows.add_sessions(sessions, folder)

    def _collect_values(self) -> pl.DataFrame:
        """Return what the tables say of sessions, by their final ``id``."""
        columns = [*_WRITTEN["sessions"], *self.columns["sessions"]]
        rows = self._matches.select("id", "eid", "source").unique()
        known = rows.join(self._sessions.select("eid", "source", *columns), on=["eid", "source"])
        return _take_first(known, ["id"], columns, "sessions")

    def complete_sessions(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return SESSIONS with the values that were written, and the columns that are not ours."""
        joined = sessions.join(self._values, on="id", how="left", maintain_order="left", suffix="_")
        self.n_kept_sessions += _count_kept(joined, "sessions", self.columns["sessions"])
        return joined.select(
            *(pl.col(c) for c in sessions.columns if c not in _WRITTEN["sessions"]),
            *_prefer_known(sessions, "sessions"),
            *_fill(self.columns["sessions"]),
        ).select(*sessions.columns, *self.columns["sessions"])

    # Datasets

    def count_missing(self) -> pl.DataFrame:
        """Return ``id`` of sessions and ``n_known``, the number of their rows in a database."""
        counts = [pl.LazyFrame(schema={"id": pl.String, "n_known": pl.UInt32})]
        for rank, source in enumerate(self.sources):
            if source.has_missing:
                eids = self._matches.lazy().filter(source=rank).select("eid", "id")
                counts.append(
                    source.datasets.group_by("eid")
                    .agg(n_known=pl.len())
                    .join(eids, on="eid")
                    .select("id", "n_known")
                )
        return pl.concat(counts).group_by("id").agg(pl.col("n_known").sum()).collect()

    def spill_datasets(self, order: pl.DataFrame, folder: Path) -> None:
        """Write the known rows of datasets into a new folder, by the ``group`` that needs them."""
        self._spilled = [folder / str(rank) for rank in range(len(self.sources))]
        wanted = {**_WRITTEN["datasets"], **self.columns["datasets"]}
        groups = order.select("id", _GROUP)
        for rank, source in enumerate(self.sources):
            eids = self._matches.filter(source=rank).select("id", "session", known_eid="eid")
            eids = eids.unique(["known_eid", "id"]).join(groups, on="id")
            datasets = source.datasets.drop_nulls("rel_path").select(
                *_store(source.datasets, wanted, self.columns["datasets"]),
                "rel_path",
                "file_size",
                "hash",
                known_eid="eid",
                known="id",
                source=pl.lit(rank, pl.UInt32),
            )
            datasets.join(eids.lazy(), on="known_eid").rename({"id": "eid"}).sink_ipc(
                pl.PartitionBy(self._spilled[rank], key=_GROUP, include_key=False),
                mkdir=True,
                engine="streaming",
            )

    def complete_datasets(self, group: int, datasets: pl.DataFrame) -> pl.DataFrame:
        """Return DATASETS of a group with ids and values that are known, and rows without a file.

        In the order of their ids where these are UUIDs, else in the order given.
        """
        files = [*self._find_files(group)]
        if not files:
            nothing = [pl.lit(None, t).alias(c) for c, t in self.columns["datasets"].items()]
            return datasets.with_columns(nothing).with_columns(_fill(self.columns["datasets"]))
        known = self._read_known(files)
        columns = [*_WRITTEN["datasets"], *self.columns["datasets"]]
        key = ["eid", "rel_path"]
        values = _take_first(known, key, columns, "datasets")
        ids = known.filter("is_usable").unique(key, keep="first", maintain_order=True)
        hashes = known.filter(pl.col("hash") != "").unique(key, keep="first", maintain_order=True)
        joined = (
            datasets.join(values, on=key, how="left", maintain_order="left", suffix="_")
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
        self.n_kept_datasets += _count_kept(joined, "datasets", self.columns["datasets"])
        # The MD5 that a database has is what the content should be, as ONE checks on loading.
        is_database = pl.col("is_database").fill_null(value=False)
        is_alike = pl.col("file_size") == pl.col("file_size_known")
        own = pl.col("id").alias("own")
        final = pl.coalesce("known", "id") if self.hash_ids else pl.col("id")
        completed = joined.with_columns(
            own,
            final.alias("id"),
            *_prefer_known(datasets, "datasets"),
            pl.when((pl.col("hash") == "") & is_database & is_alike)
            .then("hash_known")
            .otherwise("hash")
            .alias("hash"),
        ).with_columns(_fill(self.columns["datasets"]))
        completed = _return_repeated(completed, ["eid", "id"], self._report_repeated)
        result = completed.select(*datasets.columns, *self.columns["datasets"])
        result = pl.concat([result, self._find_missing(known, result)])
        return result.sort("eid", "id") if self.hash_ids else result

    def _read_known(self, files: Sequence[Path]) -> pl.DataFrame:
        """Return the known rows of a group, those of the first source first."""
        known = pl.concat([pl.read_ipc(file) for file in files], how="diagonal_relaxed")
        ranks = {
            name: [rank for rank, source in enumerate(self.sources) if getattr(source, name)]
            for name in ("is_given", "is_database", "has_missing")
        }
        by_path, by_id = ["eid", "rel_path", "source"], ["eid", "known", "source"]
        is_clear = (pl.col("known").n_unique().over(by_path) == 1) & (
            pl.col("rel_path").n_unique().over(by_id) == 1
        )
        known = known.sort("source", maintain_order=True).with_columns(
            is_clear=is_clear,
            is_usable=is_clear & pl.col("known").str.contains(_UUID).fill_null(value=False),
            is_given=pl.col("source").is_in(ranks["is_given"]),
            is_database=pl.col("source").is_in(ranks["is_database"]),
            has_missing=pl.col("source").is_in(ranks["has_missing"]),
        )
        for session, rel_path, known_id in (
            known.filter(~pl.col("is_clear"))
            .unique(by_path, maintain_order=True)
            .select("session", "rel_path", "known")
            .iter_rows()
        ):
            path = join(session, rel_path)
            self._report(path, f"its id {known_id!r} stands for several paths, or it has several")
        return known

    def _find_missing(self, known: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a database that have no file on this disk."""
        missing = (
            known.filter("has_missing", "is_usable")
            .join(datasets, on=["eid", "rel_path"], how="anti")
            .unique(["eid", "rel_path"], keep="first", maintain_order=True)
            .with_columns(id="known", exists=pl.lit(value=False))
            .join(datasets, on=["eid", "id"], how="anti")
        )
        self.n_missing += len(missing)
        columns = dict(datasets.schema)
        qc = pl.col("qc").fill_null("NOT_SET").cast(columns["qc"]).alias("qc")
        digests = [c for c in columns if c in {*DIGEST_COLUMNS.values()} - {"hash"}]
        return missing.with_columns(
            qc,
            pl.col("hash").fill_null(""),
            *(pl.lit("").alias(column) for column in digests),
            *_fill(self.columns["datasets"]),
        ).select(pl.col(column).cast(dtype) for column, dtype in columns.items())

    def _find_files(self, group: int) -> Iterator[Path]:
        for folder in self._spilled:
            yield from sorted((folder / f"{_GROUP}={group}").glob("*"))

    # Issues

    def _report(self, path: str, what: str) -> None:
        message = f"{what}, so it keeps the id that follows from its path; mend the tables it is in"
        kind = IssueKind.AMBIGUOUS_ID.value
        self.issues.append((printable(path) or ".", kind, None, printable(message)))

    def _report_repeated(self, rows: pl.DataFrame) -> None:
        for row in rows.iter_rows(named=True):
            path = row.get("session") or row.get("rel_path", "")
            self._report(path, f"the id {row['id']!r} is also that of another")


def _store(frame: pl.LazyFrame, wanted: Iterable[str], foreign: Columns) -> list[pl.Expr]:
    """Return columns as they are stored, null where a table lacks them."""
    schema = frame.collect_schema()
    stored = []
    for column in wanted:
        if column not in schema:
            stored.append(pl.lit(None, foreign.get(column, pl.String())).alias(column))
        elif column not in foreign:
            stored.append(pl.col(column).cast(pl.String))
        elif isinstance(schema[column], pl.Struct) and foreign[column] == pl.String:
            stored.append(pl.col(column).struct.json_encode())
        else:
            stored.append(pl.col(column).cast(foreign[column], strict=False))
    return stored


def _take_first(
    known: pl.DataFrame, key: list[str], columns: Sequence[str], table: str
) -> pl.DataFrame:
    """Return, for each key, the first value of each column that says something."""
    says = {
        c: pl.when(pl.col(c) != _WRITTEN[table][c]).then(c) if c in _WRITTEN[table] else pl.col(c)
        for c in columns
    }
    first = [expr.drop_nulls().first().alias(column) for column, expr in says.items()]
    return known.sort("source", maintain_order=True).group_by(key, maintain_order=True).agg(first)


def _count_kept(joined: pl.DataFrame, table: str, foreign: Columns) -> int:
    names = [*(f"{column}_" for column in _WRITTEN[table]), *foreign]
    kept = pl.any_horizontal(pl.col(name).is_not_null() for name in names)
    return int(joined.select(kept.sum()).item())


def _prefer_known(own: pl.DataFrame, table: str) -> list[pl.Expr]:
    """Return the columns that others write, as known (with a suffix) or else as they are."""
    return [
        pl.coalesce(pl.col(f"{column}_").cast(own.schema[column]), column).alias(column)
        for column in _WRITTEN[table]
    ]


def _fill(foreign: Columns) -> list[pl.Expr]:
    """Return the columns that are not ours, without nulls where ONE cannot read them."""
    return [
        pl.col(column).fill_null(_NEVER_NULL[column])
        if column in _NEVER_NULL and dtype == pl.Boolean
        else pl.col(column)
        for column, dtype in foreign.items()
    ]


def _return_repeated(
    rows: pl.DataFrame, key: Sequence[str], report: Callable[[pl.DataFrame], None]
) -> pl.DataFrame:
    """Give rows their ``own`` id back where the known one is also that of another row."""
    is_repeated = pl.struct(key).is_duplicated() & (pl.col("id") != pl.col("own"))
    while len(repeated := rows.filter(is_repeated)):
        report(repeated)
        rows = rows.with_columns(id=pl.when(is_repeated).then("own").otherwise("id"))
    return rows
