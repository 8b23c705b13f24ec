"""Checks of the files that commands write for people: over no table, archive or other file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from polars_alf.alf.grammar import parse_session_path
from polars_alf.errors import OverwriteError, TableError
from polars_alf.schema import TABLES
from polars_alf.tables.contract import read_header
from polars_alf.tables.files import STATE_DIR, table_path

_TABLE_SUFFIX = ".pqt"


def check_output(
    path: Path, tables: Iterable[Path] = (), *, force: bool = False, option: str = "--out"
) -> None:
    """Raise OverwriteError where a file must not be written.

    Parameters
    ----------
    path
        The file.
    tables
        Folders of tables whose archives are to stay as they are, beside those above the file.
    force
        Whether to replace a file that is there; tables and archives stay as they are even so.
    option
        Option that gives another place, for the message.
    """
    try:
        # A link in its place is replaced, and not what it leads to.
        place = Path(path).parent.resolve() / Path(path).name
    except (OSError, RuntimeError) as error:
        raise OverwriteError(f"{path} cannot be found: {error}; give another {option}") from error
    advice = f"give another {option}, outside of it"
    if STATE_DIR in place.parts:
        raise OverwriteError(f"{path} would lie in the state of tables, {STATE_DIR}; {advice}")
    above = [folder for folder in place.parents if _has_tables(folder)]
    if place.suffix.lower() == _TABLE_SUFFIX and place.parent in above:
        raise OverwriteError(
            f"{path} would lie beside tables, and ONE would load it as one of them; give another "
            f"{option}, in another folder or with another suffix, such as .parquet"
        )
    for archive in _list_archives([*above, *tables]):
        if place.is_relative_to(archive):
            raise OverwriteError(f"{path} would lie in the archive {archive}; {advice}")
    if above and _is_in_session(place):
        raise OverwriteError(f"{path} would lie in a session; {advice}")
    if not os.path.lexists(place):
        return
    if not place.is_symlink() and not place.is_file():
        raise OverwriteError(f"{path} is there, and no file; give another {option}")
    if not force:
        raise OverwriteError(f"{path} is there already; add --force, or give another {option}")


def _has_tables(folder: Path) -> bool:
    return (folder / STATE_DIR).is_dir() or any(table_path(folder, n).exists() for n in TABLES)


def _list_archives(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the roots of archives that the tables of some folders are of."""
    for folder in folders:
        for name in TABLES:
            try:
                origins = read_header(table_path(folder, name)).origins
            except TableError:
                continue
            for origin in map(Path, filter(os.path.isabs, origins)):
                # One that has moved is most likely where its tables are.
                yield origin if origin.exists() else folder.resolve()
                yield origin.resolve()


def _is_in_session(place: Path) -> bool:
    """Whether a folder above has the path of a session, as where an archive has moved."""
    return any(parse_session_path(folder.as_posix()) is not None for folder in place.parents)
