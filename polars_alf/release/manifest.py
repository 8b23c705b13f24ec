"""Manifests: what tables have, with checksums of what they say and of their files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf._version import __version__
from polars_alf.display import Shown
from polars_alf.errors import NamedFileNotFoundError, TableError, TableNotFoundError
from polars_alf.insertions.api import has_insertions, scan_insertions
from polars_alf.query.revisions import DEFAULT_REVISION
from polars_alf.query.scan import scan_pair
from polars_alf.schema import INDEX, SCHEMAS, TABLES
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import MANIFEST, table_path, write_durably

_VERSION = 1

_NULL = "\\N"


@dataclass(frozen=True, slots=True, repr=False)
class ManifestCheck(Shown):
    """The comparison of tables with a manifest.

    Parameters
    ----------
    path
        The manifest.
    checksum
        Checksum of what the manifest is about: what is cited.
    problems
        What differs, in sentences; none where the tables say what the manifest does.
    """

    path: Path
    checksum: str
    problems: tuple[str, ...]

    def _list_figures(self) -> dict[str, object]:
        return {
            "problems": len(self.problems),
            "checksum": self.checksum,
            "manifest": self.path,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the comparison in values that JSON has."""
        return {
            "path": str(self.path),
            "checksum": self.checksum,
            "problems": [*self.problems],
        }


def write_manifest(
    folder: Path, selection: Mapping[str, object], name: str | None
) -> dict[str, Any]:
    """Write the manifest of the tables in a folder, and return it."""
    frames = _scan(folder)
    headers = read_headers(folder)
    datasets = frames["datasets"].select(
        n_bytes=pl.col("file_size").cast(pl.Int128).sum(),
        n_with_hash=(pl.col("hash") != "").sum(),
    )
    figures = datasets.collect(engine="streaming").row(0, named=True)
    tables = {
        table_path(folder, table).name: _describe_table(folder, table, frame)
        for table, frame in frames.items()
    }
    manifest = {
        "manifest_version": _VERSION,
        "name": name,
        "checksum": _join_checksums(tables),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": f"polars_alf {__version__}",
        "origins": list(dict.fromkeys(o for header in headers.values() for o in header.origins)),
        "selection": dict(selection),
        "n_sessions": tables["sessions.pqt"]["rows"],
        "n_datasets": tables["datasets.pqt"]["rows"],
        **{key: int(value or 0) for key, value in figures.items()},
        "tables": tables,
    }
    write_durably(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def verify_manifest(
    path: str | os.PathLike[str], tables_dir: str | os.PathLike[str] | None = None
) -> ManifestCheck:
    """Compare tables with a manifest.

    Parameters
    ----------
    path
        The manifest of a release, or the folder that it is in.
    tables_dir
        Folder of the tables; by default that of the manifest.

    Returns
    -------
    ManifestCheck
        What differs. Tables whose files are others, as after they were merged or indexed again, do
        not differ as long as their rows say the same.

    Raises
    ------
    NamedFileNotFoundError
        There is no such file; this is an OptionError and an ArchiveNotFoundError, too.
    TableError
        It is no manifest, or a table cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        file /= MANIFEST
    manifest = read_manifest(file)
    folder = file.parent if tables_dir is None else Path(tables_dir)
    problems: list[str] = []
    for name, wanted in manifest["tables"].items():
        table = name.removesuffix(".pqt")
        try:
            if _digest_file(folder / name) == wanted["sha256"]:
                continue
            found = _describe_rows(table, _scan(folder)[table])
        except (FileNotFoundError, TableNotFoundError, KeyError):
            problems.append(f"{folder / name} is not there")
            continue
        if found["rows"] != wanted["rows"]:
            problems.append(f"{name} has {found['rows']:,} rows instead of {wanted['rows']:,}")
        elif found["content_sha256"] != wanted["content_sha256"]:
            problems.append(f"{name} has the right number of rows, but says something else")
    if _join_checksums(manifest["tables"]) != manifest["checksum"]:
        problems.append("the checksum of the manifest is not that of its tables: it was edited")
    return ManifestCheck(file, manifest["checksum"], tuple(problems))


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; TableError where the file is none that we know."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        tables = manifest["tables"].values()
        known = {table_path(path, table).name for table in SCHEMAS}
        missing = {table_path(path, table).name for table in TABLES} - {*manifest["tables"]}
        is_known = manifest["manifest_version"] == _VERSION and isinstance(
            manifest["checksum"], str
        )
        is_known &= {*manifest["tables"]} <= known and not missing
        for table in tables:
            is_known &= isinstance(table["rows"], int)
            is_known &= all(isinstance(table[key], str) for key in ("sha256", "content_sha256"))
    except FileNotFoundError as error:
        raise NamedFileNotFoundError(
            f"there is no manifest {path}; give that of a release, or make one with subset"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TableError(
            f"{path} is no manifest: {error!r}; give the {MANIFEST} of a release"
        ) from error
    if not is_known:
        raise TableError(f"{path} is no manifest that this version knows; give another, or update")
    return dict(manifest)


def _scan(folder: Path) -> dict[str, pl.LazyFrame]:
    frames = dict(zip(TABLES, scan_pair(folder), strict=True))
    return frames | ({"insertions": scan_insertions(folder)} if has_insertions(folder) else {})


def _describe_table(folder: Path, table: str, frame: pl.LazyFrame) -> dict[str, Any]:
    path = table_path(folder, table)
    return {
        **_describe_rows(table, frame),
        "bytes": path.stat().st_size,
        "sha256": _digest_file(path),
    }


def _describe_rows(table: str, frame: pl.LazyFrame) -> dict[str, Any]:
    """Count and digest the rows of a table, in the order of their ids.

    Columns that a lab has added are not part of it. It is the same however the table is written.
    """
    columns = [name for name in SCHEMAS[table].names if name != "exists"]
    if DEFAULT_REVISION in frame.collect_schema():
        columns.append(DEFAULT_REVISION)
    # Each value ends in a character that no name on disk has.
    values = [pl.col(name).cast(pl.String).fill_null(_NULL) for name in columns]
    line = pl.concat_str(values, separator="\x1f") + "\x1e"
    digest, n_rows = hashlib.sha256("\x1f".join(columns).encode()), 0
    lines = frame.sort(*INDEX[table]).select(line=line)
    for batch in _collect(lines):
        digest.update("".join(batch["line"].to_list()).encode())
        n_rows += len(batch)
    return {"rows": n_rows, "content_sha256": digest.hexdigest()}


def _collect(lines: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    try:
        yield from lines.collect_batches(maintain_order=True)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error


def _join_checksums(tables: Mapping[str, Mapping[str, Any]]) -> str:
    texts = [f"{name} {table['content_sha256']}\n" for name, table in sorted(tables.items())]
    return "sha256:" + hashlib.sha256("".join(texts).encode()).hexdigest()


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
