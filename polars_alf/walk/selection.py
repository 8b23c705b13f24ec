"""Selection of the entries that a walk takes: those that are neither our own nor excluded."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence

from polars_alf.native.twin import Odd
from polars_alf.walk.columns import Columns, OddEntry
from polars_alf.walk.exclusion import Exclusion


class Selection:
    """The choice of entries to take.

    Parameters
    ----------
    own_files
        Names to pass over without a word, by the directory that they lie in.
    exclusion
        Patterns that leave out more.
    """

    def __init__(self, own_files: Mapping[str, Collection[str]], exclusion: Exclusion) -> None:
        self.own_files = own_files
        self.exclusion = exclusion

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out but what is our own."""
        return self.exclusion.is_empty

    def tells_others(self, directories: Sequence[str]) -> bool:
        """Whether some of the other files in directories may be left out, and so not counted."""
        return not self.takes_all or not self.own_files.keys().isdisjoint(directories)

    def leaves_out(self, directory: str, name: str, ending: str = "") -> bool:
        """Whether an entry is left out; directories end with a slash."""
        if name in self.own_files.get(directory, ()):
            return True
        return self.exclusion.leaves_out(directory, name + ending)

    def apply(self, columns: Columns) -> None:
        """Leave out of the columns of directories, none listed with what lies below it."""
        own = self.own_files.keys() & columns.paths
        if self.takes_all and not own:
            return
        for position, (directory, below) in enumerate(
            zip(columns.paths, columns.subdirectories, strict=True)
        ):
            names = below.split("/") if below else []
            kept = [name for name in names if not self.leaves_out(directory, name, "/")]
            if len(kept) < len(names):
                columns.subdirectories[position] = "/".join(kept)
        columns.odd = [row for row in columns.odd if not self._leaves_out_odd(columns, row)]
        is_out = [*map(self.exclusion.judge_name, columns.names)]
        if own or None in is_out:
            self._select_files(columns)
            return
        columns.count_others([not is_out[code] for code in columns.others[1]])
        if any(is_out):
            columns.keep([not is_out[code] for code in columns.codes])
            columns.unexamined = array("i", [c for c in columns.unexamined if not is_out[c]])

    def _select_files(self, columns: Columns) -> None:
        """Leave out files where their names do not tell which."""
        paths, names = columns.paths, columns.names

        def is_kept(directory: str, code: int) -> bool:
            return not self.leaves_out(directory, names[code])

        kept: list[bool] = []
        for directory, start, end in zip(paths, (0, *columns.ends), columns.ends, strict=False):
            kept += [is_kept(directory, code) for code in columns.codes[start:end]]
        columns.keep(kept)
        rows = zip(*columns.others, strict=True)
        columns.count_others([is_kept(paths[position], code) for position, code in rows])
        columns.unexamined = array("i", [c for c in columns.unexamined if is_kept(paths[-1], c)])

    def _leaves_out_odd(self, columns: Columns, row: OddEntry) -> bool:
        ending = "/" if row.kind == Odd.COPIES else ""
        return self.leaves_out(columns.paths[row.directory], columns.names[row.code], ending)
