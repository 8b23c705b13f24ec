"""The changes of an archive since its last index. Pure: frames in, frames out."""

from __future__ import annotations

from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.alf.path_columns import expr_join
from polars_alf.alf.paths import find_folder_above
from polars_alf.schema import DIGEST_COLUMNS, HIDING, _field, polars_schema
from polars_alf.walk.entries import CODED, Entries, find_codes

DIGESTS = [*DIGEST_COLUMNS.values()]
"""Columns of digests beside those of ENTRIES."""

DOUBTS = {"is_young": pl.Boolean(), "is_moved": pl.Boolean()}
"""Why the digests of a file prove nothing: it was modified just before it was read, or has another
inode or device than when it was read."""

KNOWN = pl.Schema({**CODED, **dict.fromkeys(DIGESTS, pl.String()), **DOUBTS})
"""Files of a snapshot: those of `Entries`, with their digests or '', and doubts of these."""

_KEY = ["directory", "name"]
_FINGERPRINT = ["file_size", "mtime_ns", "inode"]

CHANGES = pa.schema(
    [
        _field("path", pa.string(), "file, relative to the root"),
        _field("change", pa.string(), "a ChangeKind"),
        _field("file_size", pa.uint64(), "size now, null where it is not there", unit="bytes"),
        _field("previous_size", pa.uint64(), "size at the last index, null if new", unit="bytes"),
    ]
)
"""One row per dataset that is not as the last index of the same archive found it."""


class ChangeKind(StrEnum):
    """Kind of change of a dataset since the last index."""

    ADDED = "added"
    CHANGED = "changed"
    """Another size, time of modification or inode."""
    REMOVED = "removed"
    UNREADABLE = "unreadable"
    """It may be there, but could not be read; see the issues. It is not in the tables."""


def compare_entries(
    known: Entries,
    entries: Entries,
    *,
    same_device: bool = True,
    ignore_inode: bool = False,
) -> Entries:
    """Compare the files of a shard with those of a snapshot.

    Parameters
    ----------
    known
        Files of the snapshot, with the columns KNOWN.
    entries
        ENTRIES as they are now.
    same_device
        Whether they are on the device of the snapshot, so that equal inodes mean the same file.
    ignore_inode
        Whether a file of the same size and time of modification is the same file.

    Returns
    -------
    Entries
        The entries in their order, with ``change`` (null where there is none), ``previous_size``,
        and the digests, '' where they do not hold any more. Where size and time are the same, the
        digests of the snapshot are in ``was_…`` with their doubts, null elsewhere.
    """
    joined = _join_known(known, entries)
    compared = _FINGERPRINT[:-1] if ignore_inode else _FINGERPRINT
    is_same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_known") for name in compared)
    is_alike = pl.all_horizontal(
        pl.col(name) == pl.col(f"{name}_known") for name in _FINGERPRINT[:-1]
    )
    has_moved = ~is_same | (pl.lit(not (same_device or ignore_inode)))
    if not ignore_inode:
        has_moved |= pl.col("is_moved")
    is_proven = is_alike & ~has_moved & ~pl.col("is_young")
    is_known = pl.col("hash").is_not_null()
    has_digest = is_alike & pl.any_horizontal(pl.col(DIGESTS) != "")
    files = joined.select(
        *entries.files.columns,
        change=pl.when(~is_known)
        .then(pl.lit(str(ChangeKind.ADDED)))
        .when(~is_same)
        .then(pl.lit(str(ChangeKind.CHANGED))),
        previous_size="file_size_known",
        **{name: pl.when(is_proven).then(name).otherwise(pl.lit("")) for name in DIGESTS},
        **{f"was_{name}": pl.when(has_digest).then(name) for name in DIGESTS},
        is_young=has_digest.fill_null(value=False) & pl.col("is_young"),
        is_moved=has_digest.fill_null(value=False) & has_moved,
    )
    return entries._replace(files=files)


def _join_known(known: Entries, entries: Entries) -> pl.DataFrame:
    """Return the files of entries with what is known of each, null where nothing is."""
    columns = {name: f"{name}_known" for name in _FINGERPRINT}
    files = _recode(known, entries).rename(columns)
    # A walk lists what has not changed in the order in which the last one did.
    if files.select(_KEY).equals(entries.files.select(_KEY)):
        return entries.files.hstack(files.drop(_KEY))
    return entries.files.join(files, on=_KEY, how="left", maintain_order="left")


def _recode(known: Entries, entries: Entries) -> pl.DataFrame:
    """Return the known files with the codes that entries have; null where those lack a text."""
    files = known.files
    for name, own, other in (
        ("directory", known.directories, entries.directories),
        ("name", known.names, entries.names),
    ):
        if not own.equals(other):
            codes = find_codes(own, other).gather(files[name])
            files = files.with_columns(codes.alias(name))
    return files


def mark_unknown(entries: Entries) -> Entries:
    """Return what `compare_entries` makes of files where there is no snapshot."""
    files = entries.files.with_columns(
        change=pl.lit(str(ChangeKind.ADDED)),
        previous_size=pl.lit(None, pl.UInt64),
        **dict.fromkeys(DIGESTS, pl.lit("")),
        **{f"was_{name}": pl.lit(None, pl.String) for name in DIGESTS},
        **dict.fromkeys(DOUBTS, pl.lit(value=False)),
    )
    return entries._replace(files=files)


def list_changes(known: Entries, compared: Entries, issues: pa.Table) -> pl.DataFrame:
    """Return CHANGES: what of a shard is not as a snapshot has it.

    Parameters
    ----------
    known
        Files of the snapshot.
    compared
        What `compare_entries` made of them.
    issues
        ISSUES of the walk: what could not be read is not known to be gone.
    """
    is_same = compared.files["change"].null_count() == len(compared.files)
    if is_same and len(known.files) == len(compared.files):
        return polars_schema(CHANGES).to_frame()
    path = expr_join("directory", "name").alias("path")
    changed = compared.files.filter(pl.col("change").is_not_null())
    there = compared.decode(changed).select(path, "change", "file_size", "previous_size")
    files = _recode(known, compared).select(_KEY).with_row_index("row")
    rows = files.join(compared.files, on=_KEY, how="anti", maintain_order="left")["row"]
    missing = known.decode(known.files.gather(rows))
    hidden = _find_hidden(missing, issues)
    gone = missing.select(
        path,
        change=pl.when(pl.col("directory").is_in(hidden) | path.is_in(hidden))
        .then(pl.lit(str(ChangeKind.UNREADABLE)))
        .otherwise(pl.lit(str(ChangeKind.REMOVED))),
        file_size=pl.lit(None, pl.UInt64),
        previous_size="file_size",
    )
    return pl.concat([there, gone]).cast(polars_schema(CHANGES))


def _find_hidden(missing: pl.DataFrame, issues: pa.Table) -> list[str]:
    """Return the missing directories, and the files, that lie in what cannot be read."""
    kinds = [str(kind) for kind in HIDING]
    unreadable = set(pl.DataFrame(issues).filter(pl.col("kind").is_in(kinds))["path"])
    if not unreadable:
        return []
    folders = unreadable if "." not in unreadable else {*unreadable, ""}
    directories = missing["directory"].unique()
    return [*(d for d in directories if find_folder_above(d, folders) is not None), *unreadable]
