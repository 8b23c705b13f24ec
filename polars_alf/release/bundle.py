"""Bundles of tables, as a server hands them to ONE's remote clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from polars_alf.alf.root import check_folder
from polars_alf.display import Shown, describe_size
from polars_alf.errors import OptionError, TableError, TableNotFoundError
from polars_alf.schema import SCHEMAS, TABLES
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import (
    BUNDLE,
    replace_file,
    reporting_write_errors,
    table_path,
    write_durably,
)
from polars_alf.tables.transaction import locked_state

INFO = "cache_info.json"
"""Name of the file that ONE asks a server for first."""

_LEAST_ONE = "2.7.0"
"""The first version of ONE that knows the column ``qc``."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, repr=False)
class Bundle(Shown):
    """Files for a web server.

    Parameters
    ----------
    zip_path, info_path
        ``cache.zip``, with the tables, and ``cache_info.json``, which tells ONE whether to load it.
    info
        What the latter has.
    n_bytes
        Size of the former, in bytes.
    """

    zip_path: Path
    info_path: Path
    info: dict[str, object]
    n_bytes: int

    def _list_figures(self) -> dict[str, object]:
        return {
            "size": describe_size(self.n_bytes),
            "bundle": self.zip_path,
            "info": self.info_path,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the bundle in values that JSON has."""
        return {
            "zip_path": str(self.zip_path),
            "info_path": str(self.info_path),
            "info": self.info,
            "n_bytes": self.n_bytes,
        }


def publish_tables(folder: str | os.PathLike[str], *, url: str | None = None) -> Bundle:
    """Write the tables of a folder as a bundle for ONE's remote clients, beside them.

    A server that answers ``/cache/info`` (or ``/cache/info/TAG``) with ``cache_info.json``, as Alyx
    does, has ONE load ``cache.zip`` where its tables are older, or of another origin or tag.

    Parameters
    ----------
    folder
        Folder of tables, such as a release.
    url
        Address of the folder that ``cache.zip`` will be in. By default ONE asks the server that it
        has the info from.

    Returns
    -------
    Bundle
        The two files. The same tables make the same files.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the folder.
    OptionError
        The address is none.
    TableError
        A table is missing, cannot be read, or says neither when it was made nor of what.
    ArchiveBusyError
        Another run is writing the tables.
    OutputError
        The files cannot be written.
    """
    if url is not None and not re.match(r"https?://[^/\s]+", url):
        raise OptionError(f"{url!r} is no address; give one such as https://data.lab.org/release")
    where = check_folder(check_folder(folder, to_write=False))
    with reporting_write_errors(where, "the bundle"), locked_state(where):
        info = _describe_tables(where, url)
        with (
            replace_file(where / BUNDLE) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle,
        ):
            for name in SCHEMAS:
                path = table_path(where, name)
                if not path.exists():  # not every folder has insertions
                    continue
                entry = zipfile.ZipInfo(path.name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, bundle.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        # Last, so that it never tells of a bundle that is not there yet.
        write_durably(where / INFO, json.dumps(info, indent=1) + "\n")
    size = (where / BUNDLE).stat().st_size
    return Bundle(where / BUNDLE, where / INFO, info, size)


def _describe_tables(folder: Path, url: str | None) -> dict[str, object]:
    headers = read_headers(folder)
    for name in TABLES:
        if name not in headers:
            raise TableNotFoundError(
                f"{folder} has no {table_path(folder, name).name}; give a folder of both tables"
            )
    created = [header.created for header in headers.values()]
    origins = [origin for header in headers.values() for origin in header.origins]
    if None in created or not origins:
        raise TableError(
            f"the tables in {folder} do not say when they were made and of what, so that ONE would "
            "not load them; make them with index, merge or subset"
        )
    tags = [tag for header in headers.values() for tag in header.tags]
    info: dict[str, object] = {
        "date_created": min(made for made in created if made).isoformat(" ", "minutes"),
        "origin": origins[0],
        "min_api_version": _LEAST_ONE,
        "database_tags": list(dict.fromkeys(tags)),
    }
    if url is not None:
        info["location"] = f"{url.rstrip('/')}/{BUNDLE}"
    return info
