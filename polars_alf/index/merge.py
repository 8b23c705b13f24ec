"""The merge of all shards: their rows in the order of the tables, deduplicated and checked.

A few numbers of each session are in memory at once: the *order*. The rows themselves are mapped,
and come into memory group by group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from polars_alf.alf.address import make_location, parse_location
from polars_alf.alf.folder_names import is_date, is_number
from polars_alf.alf.ids import format_ids, split_ids
from polars_alf.alf.layout import Base, check_lab, choose_base, count_bases
from polars_alf.alf.path_columns import expr_full
from polars_alf.alf.paths import printable
from polars_alf.alf.root import Root
from polars_alf.arrow import make_table
from polars_alf.errors import ScanError
from polars_alf.index.changes import DIGESTS
from polars_alf.index.coded_paths import CodedPaths, split_paths
from polars_alf.index.mapped_files import MappedFiles, map_file
from polars_alf.schema import ISSUES, LOST, SESSIONS, IssueKind, polars_schema
from polars_alf.tables.named_rows import IS_NAMED
from polars_alf.tables.rows import (
    ROWS_PER_GROUP,
    SESSION_KEY,
    complete_datasets,
    drop_duplicate_sessions,
)

_ORDER = pl.Schema(
    {
        "high": pl.UInt64,
        "low": pl.UInt64,
        "key_hash": pl.UInt64,
        "shard": pl.UInt32,
        "row": pl.UInt32,
        "offset": pl.UInt32,
        "n_datasets": pl.UInt32,
    }
)


_SESSIONS = pl.Schema(
    {**polars_schema(SESSIONS), **dict.fromkeys(("session", "name", "key"), pl.String())}
    | {"n_datasets": pl.UInt64()}
)
_DATASETS = pl.Schema(
    {"file_size": pl.UInt64(), **dict.fromkeys(DIGESTS, pl.String()), "rel_path": pl.String()}
)
_HALVES = pl.Schema({"high": pl.UInt64(), "low": pl.UInt64()})
"""Rows of a shard, as they are written: datasets with the halves of their ids if ids are UUIDs."""


class Group(NamedTuple):
    """Sessions, as a part of an order, whose datasets are in memory at a time."""

    number: int
    sessions: pl.DataFrame


class ShardRows:
    """The rows of all shards.

    Parameters
    ----------
    shards
        Folders of the shards; ``shard`` in an order is an index into them.
    by_id
        Whether sessions are in the order of their ids, or else of their paths.
    with_names
        Whether datasets have ``is_named``, as of `tables.named_rows`.
    rows_per_group
        About how many rows are in memory at a time for each thread.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        *,
        by_id: bool,
        with_names: bool = False,
        rows_per_group: int = ROWS_PER_GROUP,
    ) -> None:
        self._shards = shards
        self._by_id = by_id
        self.rows_per_group = rows_per_group
        self._sessions = MappedFiles([shard / "sessions.arrow" for shard in shards])
        files = [shard / "datasets.arrow" for shard in shards]
        self._datasets = MappedFiles(files, split_paths)
        self._rel_paths = CodedPaths(map_file(file).rows for file in files)
        more = {**(_HALVES if by_id else {}), **({IS_NAMED: pl.Boolean()} if with_names else {})}
        self._schema = pl.Schema({**_DATASETS, **more})

    def read_order(self) -> pl.DataFrame:
        """Return where each session is, in the order of the table.

        Returns
        -------
        polars.DataFrame
            ``high`` and ``low``, halves of the id where that is a UUID; ``key_hash``, which is the
            same where ONE cannot tell sessions apart; ``shard`` and ``row`` of the session;
            ``offset`` and ``n_datasets`` of its datasets in the shard.
        """
        orders = [_ORDER.to_frame()]
        keys = [pl.Series("key", dtype=pl.String)]
        columns = {
            "row": pl.int_range(pl.len(), dtype=pl.UInt32),
            "offset": (pl.col("n_datasets").cum_sum() - pl.col("n_datasets")).cast(pl.UInt32),
            "n_datasets": pl.col("n_datasets").cast(pl.UInt32),
            "key_hash": pl.concat_str(*SESSION_KEY, separator="/").hash(),
        }
        halves = dict.fromkeys(("high", "low"), pl.lit(0, pl.UInt64))
        columns |= split_ids(pl.col("id")) if self._by_id else halves
        for shard in range(len(self._sessions)):
            rows = pl.DataFrame(self._sessions[shard])
            if not self._by_id:
                keys.append(rows["key"])
            own = {**columns, "shard": pl.lit(shard, pl.UInt32)}
            orders.append(rows.select(own[name].alias(name) for name in _ORDER))
            self._sessions.release(shard)
        order = pl.concat(orders)
        return order.sort("high", "low") if self._by_id else order.sort(pl.concat(keys))

    def pick_sessions(self, order: pl.DataFrame) -> pl.DataFrame:
        """Return the sessions of an order, or of a part of one, in that order.

        Returns
        -------
        polars.DataFrame
            As `tables.assemble_sessions` made them, but with the ids of the order where it has
            ``id``.
        """
        placed = order.with_row_index("rank").sort("shard", "row")
        rows = self._take_sessions(placed).with_columns(placed["rank"])
        picked = rows.sort("rank").drop("rank")
        return picked.with_columns(order["id"]) if "id" in order.columns else picked

    def _take_sessions(self, placed: pl.DataFrame, *columns: str) -> pl.DataFrame:
        """Return columns, by default all, of the sessions of an order sorted by shard and row."""
        places = placed.select("shard", offset="row", n=pl.lit(1, pl.UInt32))
        return self._sessions.take(places, columns)

    def add_sessions(self, sessions: pl.DataFrame, folder: Path) -> pl.DataFrame:
        """Add a shard of sessions without datasets, and return its order with their ``id``.

        `sessions` are as `assemble_sessions` makes them; `folder` takes the rows of the shard.
        """
        folder.mkdir(parents=True, exist_ok=True)
        rows = sessions.with_columns(n_datasets=pl.lit(0, pl.UInt64)).select(
            pl.col(name).cast(dtype) for name, dtype in _SESSIONS.items()
        )
        for name, frame in (("sessions", rows), ("datasets", self._schema.to_frame())):
            frame.write_ipc(folder / f"{name}.arrow", compat_level=pl.CompatLevel.oldest())
        self._sessions.append(folder / "sessions.arrow")
        self._datasets.append(folder / "datasets.arrow")
        return sessions.select("id").with_columns(
            shard=pl.lit(len(self._sessions) - 1, pl.UInt32),
            row=pl.int_range(pl.len(), dtype=pl.UInt32),
            offset=pl.lit(0, pl.UInt32),
            n_datasets=pl.lit(0, pl.UInt32),
        )

    def list_folders(self, dropped: pl.DataFrame) -> Iterator[pl.Series]:
        """Yield the ``session`` directories of each shard, without those dropped of an order."""
        gone = dict(dropped.group_by("shard").agg("row").iter_rows())
        for shard in range(len(self._sessions)):
            folders = pl.DataFrame(self._sessions[shard].select(["session"])).to_series()
            if shard in gone:
                folders = folders.filter(~pl.int_range(len(folders), eager=True).is_in(gone[shard]))
            yield folders
            self._sessions.release(shard)

    def merge_datasets(self, part: pl.DataFrame, more: Sequence[str] = ()) -> pl.DataFrame:
        """Return DATASETS of a part of an order, in that order, and the columns `more`.

        Where rel_paths repeat, ``rel_path`` is an Enum.
        """
        return complete_datasets(self._pick_datasets(part).lazy(), more).collect()

    def _pick_datasets(self, part: pl.DataFrame) -> pl.DataFrame:
        """Return the datasets of a part of an order, in that order, with ``id`` and ``eid``."""
        if part.is_empty():
            return self._schema.to_frame().with_columns(id=pl.lit(""), eid=pl.lit(""))
        placed = part.with_row_index("rank").sort("shard", "offset")
        places = placed.select("shard", "offset", n="n_datasets")
        starts = self._rel_paths.find_starts(placed["shard"])
        of_rows = placed.select("rank", "n_datasets", start=starts).select(
            pl.col("rank", "start").repeat_by("n_datasets").explode()
        )
        taken = self._rel_paths.decode(self._datasets.take(places), of_rows["start"])
        datasets = _complete_digests(taken).with_columns(of_rows["rank"])
        ordered = datasets.sort("rank", maintain_order=True)
        ids = placed["id"] if "id" in placed.columns else self._take_sessions(placed, "id")["id"]
        return ordered.with_columns(
            format_ids(ordered) if self._by_id else pl.col("rel_path").cast(pl.String).alias("id"),
            eid=ids.gather(placed["rank"].arg_sort()).gather(ordered["rank"]),
        )

    def read(self, name: str) -> Iterator[pa.Table]:
        """Yield ``issues`` or ``changes`` of each shard in turn."""
        for shard in self._shards:
            with pa.memory_map(str(shard / f"{name}.arrow")) as file:
                yield pa.ipc.open_file(file).read_all()


def group_sessions(
    order: pl.DataFrame, rows_per_group: int, known: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Add ``group``: sessions whose datasets are in memory, and in a row group, together.

    Sessions are in the order of the table; none is divided, however many datasets it has. `known`
    has ``place`` of sessions, their positions, and ``n_known``, the number of datasets that they
    have beside.
    """
    n_datasets = pl.col("n_datasets").cast(pl.UInt64)
    if known is not None:
        placed = order.with_row_index("place")
        order = placed.join(known, on="place", how="left", maintain_order="left").drop("place")
        n_datasets += pl.col("n_known").fill_null(0)
    before = n_datasets.cum_sum() - n_datasets
    grouped = order.with_columns(group=(before // rows_per_group).cast(pl.UInt32))
    return grouped.drop("n_known", strict=False)


def iter_groups(order: pl.DataFrame, *, all_groups: bool = False) -> Iterator[Group]:
    """Yield the groups of `group_sessions`, `all_groups` or those that have datasets."""
    start = 0
    for n_sessions, number in order["group"].rle().struct.unnest().iter_rows():
        sessions = order.slice(start, n_sessions).filter(pl.col("n_datasets") > 0)
        start += n_sessions
        if len(sessions) or all_groups:
            yield Group(number, sessions)


def _complete_digests(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of shards, of which some have no digests, with all columns of these."""
    return rows.with_columns(
        pl.col(name).fill_null("") if name in rows.columns else pl.lit("").alias(name)
        for name in DIGESTS
    )


def check_sessions(
    root: Root, lab: str, survey_issues: pa.Table, rows: ShardRows
) -> tuple[pl.DataFrame, PurePath, pa.Table]:
    """Deduplicate the sessions of all shards, and check that they can be right.

    Returns
    -------
    order : polars.DataFrame
        Order of the sessions, without duplicates.
    base : pathlib.PurePath
        The folder that ONE starts from.
    issues : pyarrow.Table
        ISSUES of the survey, of all shards, and of the sessions.
    """
    order, dropped, duplicates = _drop_duplicates(rows)
    bases = _find_bases(root, rows.list_folders(dropped))
    check_lab(lab, bases)
    base = make_location(choose_base(root.parts, bases))
    misplaced = _find_misplaced(bases, root, base, lab)
    found = (_drop_renamings(table, duplicates) for table in rows.read("issues"))
    issues = pa.concat_tables([survey_issues, misplaced, *found, duplicates])
    _check_found(root, order, issues)
    return order, base, issues


def list_subjects(root: Root, dated: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the components of the subject that each dated folder seems to be of."""
    for folder in dated:
        parts = (*root.parts, *filter(None, folder.split("/")))
        if is_date(parts[-1]):
            yield parts[:-1]
        elif is_number(parts[-1]):
            yield parts[:-2]


def _find_bases(root: Root, folders: Iterable[pl.Series]) -> Counter[Base]:
    subject = expr_full(root.posix, "session").str.replace(r"/[^/]*/[^/]*$", "")
    found = (sessions.to_frame("session").select(subject.unique()) for sessions in folders)
    subjects = {path for frame in found for path in frame.to_series()}
    return count_bases(parse_location(subject).parts for subject in subjects)


def _check_found(root: Root, order: pl.DataFrame, issues: pa.Table) -> None:
    """Raise ScanError where there are no sessions, and some may not have been reached."""
    lost = pl.DataFrame(issues).filter(pl.col("kind").is_in(LOST))
    if order.is_empty() and len(lost):
        raise ScanError(
            f"no session of {root} could be read, and {len(lost)} folders could not be listed, "
            f"{lost['path'][0]} for one ({lost['message'][0]}); tables that were there are as "
            "they were; see to the storage and its permissions"
        )


def _drop_duplicates(rows: ShardRows) -> tuple[pl.DataFrame, pl.DataFrame, pa.Table]:
    """Return the orders of the sessions that are kept and of those that are not, and ISSUES."""
    order = rows.read_order()
    doubles = order.filter(pl.col("key_hash").is_duplicated())
    order = order.drop("high", "low", "key_hash")
    if doubles.is_empty():
        return order, doubles, make_table([], ISSUES)
    sessions = rows.pick_sessions(doubles).with_columns(doubles.select("shard", "row"))
    _, dropped = pl.collect_all(drop_duplicate_sessions(sessions.lazy()))
    issues = [
        (
            printable(row["session"]),
            IssueKind.DUPLICATE_SESSION.value,
            None,
            printable(_describe_duplicate(row["session"], row["kept"], row["name"])),
        )
        for row in dropped.iter_rows(named=True)
    ]
    kept = order.join(dropped, on=["shard", "row"], how="anti", maintain_order="left")
    return kept, dropped, make_table(issues, ISSUES)


def _describe_duplicate(session: str, kept: str, name: str) -> str:
    """Return the message of a session that is not in the tables, with a cure that can be done."""
    if session.rpartition("/")[0] == kept.rpartition("/")[0]:
        return (
            f"ONE takes it for the session in {kept}, which is in the tables; move its files into "
            "that folder, or rename it to a number that this day does not have"
        )
    return (
        f"the session {name} is also in {kept}, which was taken; move one of them away, or index "
        "them apart"
    )


def _drop_renamings(issues: pa.Table, duplicates: pa.Table) -> pa.Table:
    """Drop advice to rename folders of sessions to a number that another one has."""
    paths = duplicates.column("path").to_pylist()
    if not paths:
        return issues
    frame = pl.DataFrame(issues)
    is_renaming = (pl.col("kind") == IssueKind.UNPADDED_NUMBER) & pl.col("path").is_in(paths)
    return frame.filter(~is_renaming).to_arrow().cast(ISSUES)


def _find_misplaced(bases: Iterable[Base], root: Root, base: PurePath, lab: str) -> pa.Table:
    """Return an issue for each folder whose sessions ONE would look for elsewhere."""
    issues = []
    for other in sorted(bases, key=lambda other: other.parts):
        folder = make_location(other.parts)
        if folder != base:
            message = f"ONE opens the sessions in {folder} only with that as its cache_dir; index "
            message += "it by itself, or move its subjects to the others"
        elif lab and other.lab is None:
            message = f"ONE looks for the sessions of the lab {lab!r} in {lab}/Subjects; move "
            message += "the folders of the subjects there"
        else:
            continue
        issues.append(
            (root.relate(folder) or ".", IssueKind.MISPLACED_SESSION.value, None, message)
        )
    return make_table(issues, ISSUES)
