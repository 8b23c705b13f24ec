"""Ids that other tables have for the same sessions and datasets, and that win over our own.

Sessions match by lab, subject, date and number, datasets by their session and rel_path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from polars_alf.errors import TableError
from polars_alf.index.merge import ShardRows
from polars_alf.query.scan import ORIGIN, scan_datasets, scan_sessions
from polars_alf.tables.rows import ROWS_PER_GROUP

_NAME = ["lab", "subject", "date", "number"]

_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

_GROUP = "group"


class KnownIds:
    """The ids of some folders of tables.

    Parameters
    ----------
    given
        Folders. Where several know the same session or dataset, the first wins.
    own
        Folder of tables with ids that an earlier index took from others; it comes last.

    Attributes
    ----------
    n_sessions, n_datasets
        How many matched those given, up to now.

    Raises
    ------
    TableError
        A table cannot be read, or its ids are no UUIDs.
    """

    def __init__(self, given: Sequence[Path], own: Path | None = None) -> None:
        self._folders = list(dict.fromkeys([*given, own] if own else given))
        self._given = {str(folder) for folder in given}
        self.n_sessions = 0
        self.n_datasets = 0
        sessions = scan_sessions(self._folders).select(
            pl.col("lab").fill_null(""), "subject", "date", "number", ORIGIN, known="id"
        )
        # A name with two ids, or an id of two names, tells nothing.
        is_clear = (pl.col("known").n_unique().over(*_NAME, ORIGIN) == 1) & (
            pl.struct(_NAME).n_unique().over("known") == 1
        )
        self._sessions = (
            sessions.filter(is_clear)
            .unique(_NAME, keep="first", maintain_order=True)
            .with_columns(is_given=pl.col(ORIGIN).is_in(list(self._given)))
            .drop(ORIGIN)
            .collect()
        )
        self._check_uuids(self._sessions["known"])

    def take_sessions(self, order: pl.DataFrame, rows: ShardRows) -> pl.DataFrame:
        """Return an order with ``id``, known ids in the place of others, and sorted by it.

        Parameters
        ----------
        order
            As `Rows.read_order` gives it.
        rows
            That it is an order of.

        Raises
        ------
        TableError
            Two sessions would have the same id.
        """
        new = {"id": pl.lit(None, pl.String), "is_known": pl.lit(value=False)}
        taken = [order.head(0).with_columns(**new)]
        self.n_sessions = 0
        for part in order.iter_slices(ROWS_PER_GROUP):
            sessions = rows.pick_sessions(part).select("id", *_NAME)
            known = sessions.join(self._sessions, on=_NAME, how="left", maintain_order="left")
            self.n_sessions += int(known["is_given"].sum())
            is_known = known["known"].is_not_null()
            ids = known["known"].zip_with(is_known, known["id"])
            taken.append(part.with_columns(id=ids, is_known=is_known))
        result = pl.concat(taken).sort("id")
        twice = result.filter(pl.col("id").is_duplicated())
        if len(twice):
            raise TableError(
                f"{len(twice)} sessions would have the same ids, {twice['id'][0]} for one; the ids "
                f"in {', '.join(self.names)} are of another archive; leave them out"
            )
        return result

    def spill_datasets(self, order: pl.DataFrame, folder: Path) -> None:
        """Write the known ids of datasets into a folder, by the group that will need them.

        Parameters
        ----------
        order
            What `take_sessions` gave, with ``group`` of `rows.group_sessions`.
        folder
            Does not exist yet.
        """
        self._spilled = [folder / str(position) for position in range(len(self._folders))]
        groups = order.lazy().filter("is_known").select(_GROUP, eid="id")
        for source, target in zip(self._folders, self._spilled, strict=True):
            is_given = pl.lit(str(source) in self._given)
            datasets = scan_datasets(source).select(
                "eid", "rel_path", known="id", is_given=is_given
            )
            datasets.join(groups, on="eid").sink_ipc(
                pl.PartitionBy(target, key=_GROUP, include_key=False),
                mkdir=True,
                engine="streaming",
            )

    def take_datasets(self, group: int, datasets: pl.DataFrame) -> pl.DataFrame:
        """Return the datasets of a group, sorted, with known ids in the place of others.

        Parameters
        ----------
        group
            The group.
        datasets
            DATASETS.

        Raises
        ------
        TableError
            Two datasets of a session would have the same id.
        """
        files = list(self._find_files(group))
        if not files:
            return datasets
        key = ["eid", "rel_path"]
        known = pl.concat([pl.read_ipc(file) for file in files])
        self._check_uuids(known["known"])
        known = known.unique(key, keep="first", maintain_order=True)
        joined = datasets.join(known, on=key, how="left", maintain_order="left")
        self.n_datasets += int(joined["is_given"].sum())
        ids = pl.coalesce("known", "id")
        result = joined.with_columns(id=ids).select(datasets.columns).sort("eid", "id")
        twice = result.filter(pl.struct("eid", "id").is_duplicated())
        if len(twice):
            raise TableError(
                f"two datasets of the session {twice['eid'][0]} would have the id "
                f"{twice['id'][0]}, {twice['rel_path'][0]} for one; mend the tables in "
                f"{', '.join(self.names)}, or leave them out"
            )
        return result

    def _find_files(self, group: int) -> Iterator[Path]:
        for folder in self._spilled:
            yield from sorted((folder / f"{_GROUP}={group}").glob("*"))

    def _check_uuids(self, ids: pl.Series) -> None:
        wrong = ids.filter(~ids.str.contains(_UUID).fill_null(value=False))
        if len(wrong):
            raise TableError(
                f"{wrong[0]!r} in {', '.join(self.names)} is no UUID; give tables whose ids are"
            )

    @property
    def names(self) -> list[str]:
        """Paths of the folders."""
        return [str(folder) for folder in self._folders]
