"""An index of changed paths: the directories that a feed names, and the rest as it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from polars_alf.alf.paths import list_folders_above
from polars_alf.alf.root import Root
from polars_alf.index.checkpoint import scratch_folder
from polars_alf.index.snapshot import Snapshot
from polars_alf.walk.entries import Entries
from polars_alf.walk.feed import Feed, find_directories
from polars_alf.walk.known import KnownListings, Suspects
from polars_alf.walk.layout import Layout
from polars_alf.walk.shards import Shard
from polars_alf.walk.walk import Walk


@dataclass(frozen=True, slots=True)
class ShardChanges:
    """Folders and files of a shard that may have changed.

    Parameters
    ----------
    paths
        Paths of the feed, by the dated folder that holds them.
    suspects
        Dated folders that may be others.
    """

    paths: Mapping[str, Sequence[str]]
    suspects: Suspects

    def find_suspects(self, listings: pl.DataFrame, root: Root) -> Suspects:
        """Return the directories that may have changed; `listings` are LISTINGS of the snapshot."""
        known = {*listings["directory"]}
        found = (find_directories(paths, known, root, top) for top, paths in self.paths.items())
        return replace(self.suspects, listed=frozenset().union(*found))


class ChangedPaths:
    """The paths of a feed, by the dated folders of a snapshot that hold them.

    Attributes
    ----------
    survey : Survey
        The dated folders that there are now.
    """

    def __init__(self, feed: Feed, snapshot: Snapshot, walk: Walk) -> None:
        self._by_folder: dict[str, list[str]] = defaultdict(list)
        self._snapshot = snapshot
        outside = self._sort_paths(feed, walk.root)
        listings = snapshot.read_survey()
        known = None
        if listings is not None:
            directories = {*listings["directory"]}
            wanted = find_directories(outside, directories, walk.root, "")
            known = KnownListings(listings, Entries.join([]), suspects=Suspects(listed=wanted))
        self.survey = walk.survey(known)
        # Without listings of a survey every dated folder may be another one.
        self._listed = known.listed if known else None
        self._linked = known.linked if known else set()

    def select(self, shard: Shard) -> ShardChanges | None:
        """Return what may have changed in a shard, None where all of it is as it was."""
        paths = {f: self._by_folder[f] for f in shard.folders if f in self._by_folder}
        above = {folder: folder.rpartition("/")[0] for folder in shard.folders}
        linked = {f for f, parent in above.items() if {f, parent} & self._linked}
        doubted = {f for f, p in above.items() if self._listed is None or p in self._listed}
        if not (paths or doubted or linked):
            return None
        return ShardChanges(paths, Suspects(doubted=frozenset(doubted), linked=frozenset(linked)))

    def find_unchanged(self, walk: Walk, folder: Path) -> frozenset[str]:
        """Return the names of the snapshot's shards, if every directory is as it was."""
        checks = self._snapshot.list_checks(is_trusted=True)
        if not self._snapshot.has_folders(self.survey.folders):
            return frozenset()
        if any(self.select(shard) for shard, _ in checks):
            return frozenset()
        with scratch_folder(folder) as scratch:
            return frozenset(name for name in walk.visit(checks, scratch) if name)

    def _sort_paths(self, feed: Feed, root: Root) -> list[str]:
        """Sort paths into dated folders of the snapshot; return those that lie in none."""
        layout = Layout(root)
        folders = {*self._snapshot.folders["folder"]}
        is_there: dict[str, bool] = {}
        others = []
        for path in feed.paths:
            above = list_folders_above(path)
            dated = next((folder for folder in above if layout.is_dated(folder)), "")
            if dated in folders and dated not in is_there:
                is_there[dated] = Path(root.locate(dated)).is_dir()
            if is_there.get(dated):
                self._by_folder[dated].append(path)
            else:
                others.append(path)
        return others
