"""The folder of a shard: its rows of the tables, sorted, what it saw, and a small summary.

The summary is the last file that is written. It has checksums of the others, as after a loss of
power a name can be there without its content.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import xxhash

from polars_alf.index.changes import DIGESTS
from polars_alf.index.coded_paths import encode_paths
from polars_alf.walk.shards import UNDER_WAY, Shard

_SUMMARY = "summary.json"
_CHECKSUM_BYTES = xxhash.xxh3_64().digest_size
_ROWS = ("sessions", "datasets", "changes", "issues")


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """The figures of a finished shard.

    Parameters
    ----------
    path
        Folder with its rows.
    first_folder
        The first of its dated folders, which gives its place among the shards of the run.
    n_folders
        Number of its dated folders.
    n_other_files
        Files that are not ALF datasets, or lie outside every session.
    n_changes
        Number of datasets by `ChangeKind`, since the last index.
    is_whole
        Whether all of it could be read. If not, a run that goes on after an interruption walks
        the shard again.
    seconds
        How long it took.
    n_moved
        Number of datasets whose digests were not taken over, as they have another inode or device.
    has_revisions
        Whether a dataset lies in the folder of a revision.
    seen
        A checksum of what of its directories was seen, in any order, and of the doubts of its
        files.
    """

    path: str
    first_folder: str
    n_folders: int
    n_other_files: int
    n_changes: dict[str, int]
    is_whole: bool
    seconds: float
    n_moved: int = 0
    has_revisions: bool = False
    seen: str = ""


class ShardWriter:
    """Write the files of a shard, and compute their checksums from what is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checksums: dict[str, str] = {}

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file."""
        (self._folder / name).write_bytes(content)
        self._checksums[name] = xxhash.xxh3_64_hexdigest(content)

    def write_rows(
        self,
        *,
        sessions: pl.DataFrame,
        datasets: pl.DataFrame,
        rel_paths: pl.Series,
        issues: pa.Table,
        changes: pl.DataFrame,
    ) -> None:
        """Write the rows that the merge needs: datasets in the order of the sessions.

        ``path`` of these is the position of the rel_path.
        """
        # Texts one after the other, of which a run of rows can be copied as it is.
        level = pl.CompatLevel.oldest()
        tables = {
            "issues": issues,
            "sessions": sessions.to_arrow(compat_level=level),
            "datasets": _leave_out_empty(datasets)
            .drop("path")
            .to_arrow(compat_level=level)
            .append_column("rel_path", encode_paths(datasets["path"], rel_paths)),
            "changes": changes.to_arrow(compat_level=level),
        }
        for name, table in tables.items():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            self.write(f"{name}.arrow", memoryview(sink.getvalue()))

    def finish(self, shard: Shard, summary: ShardSummary) -> None:
        """Write the summary of a shard, its folders, and the checksums of the other files."""
        values = {
            "summary": asdict(summary),
            "folders": shard.folders,
            "checksums": dict(sorted(self._checksums.items())),
        }
        (self._folder / _SUMMARY).write_text(json.dumps(values), encoding="utf-8")


def _leave_out_empty(datasets: pl.DataFrame) -> pl.DataFrame:
    """Return datasets without columns of digests that no file has; they may be many bytes."""
    return datasets.drop(name for name in DIGESTS if (datasets[name] == "").all())


def remove_rows(shards: Path) -> None:
    """Remove from all shards of a run the rows that only the merge needed."""
    for folder in shards.iterdir():
        if folder.is_dir():
            for name in _ROWS:
                (folder / f"{name}.arrow").unlink(missing_ok=True)


def find_finished(shards: Path, keep: Collection[str] = ()) -> list[tuple[ShardSummary, list[str]]]:
    """Return summaries and dated folders of the shards that an interrupted run has finished.

    Removes the others: shards that were under way, or could not be read in full, unless their
    names are among those to `keep`.
    """
    finished = []
    for folder in sorted(shards.iterdir()):
        found = _read_summary(folder)
        is_wanted = found and (found.summary.is_whole or folder.name in keep)
        if found and is_wanted and _has_all(folder, found.checksums):
            finished.append((found.summary, found.folders))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return finished


def read_finished(folder: Path) -> ShardSummary | None:
    """Return the summary of a shard that is there as it was written, else None."""
    found = _read_summary(folder)
    return found.summary if found and _has_all(folder, found.checksums) else None


def read_folders(shards: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name and dated folders of each shard that has a summary."""
    for folder in sorted(shards.iterdir()):
        if found := _read_summary(folder):
            yield folder.name, found.folders


def read_contents(shards: Path) -> dict[str, tuple[object, ...]]:
    """Return, by name, what tells each shard of a run from one with other rows or directories.

    It is there also where the rows were removed. Shards of older versions have none.
    """
    contents: dict[str, tuple[object, ...]] = {}
    for folder in shards.iterdir():
        if (found := _read_summary(folder)) and found.summary.seen:
            rows = [found.checksums.get(f"{name}.arrow") for name in _ROWS if name != "changes"]
            folders = "\0".join(found.folders).encode("utf-8", "surrogatepass")
            contents[folder.name] = (xxhash.xxh3_128_digest(folders), found.summary.seen, *rows)
    return contents


class ShardReader:
    """Read files of a shard that has a summary; OSError where it has none."""

    def __init__(self, folder: Path) -> None:
        found = _read_summary(folder)
        if found is None:
            raise OSError(errno.EIO, "it has no summary", str(folder))
        self._folder = folder
        self._checksums = found.checksums

    def read(self, name: str) -> bytes:
        """Return the content of a file; OSError where it is not what was written.

        Damage to a file of Arrow can end the process that uses its rows.
        """
        path = self._folder / name
        content = path.read_bytes()
        if xxhash.xxh3_64_hexdigest(content) != self._checksums.get(name):
            raise OSError(errno.EIO, "it is not what was written", str(path))
        return content


def write_checked(path: Path, content: bytes | memoryview) -> None:
    """Write a file that begins with the checksum of its content."""
    with path.open("wb") as file:
        file.write(xxhash.xxh3_64_digest(content))
        file.write(content)


def read_checked(path: Path) -> bytes:
    """Return the content of a file of `write_checked`; OSError where it is not what was written."""
    content = path.read_bytes()
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if xxhash.xxh3_64_digest(content) != checksum:
        raise OSError(errno.EIO, "it is not what was written", str(path))
    return content


def _has_all(folder: Path, checksums: Mapping[str, str]) -> bool:
    try:
        return all(_checksum(folder / name) == digits for name, digits in checksums.items())
    except OSError:
        return False


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, xxhash.xxh3_64).hexdigest()


@dataclass(frozen=True, slots=True)
class _Written:
    summary: ShardSummary
    folders: list[str]
    checksums: dict[str, str]


def _read_summary(folder: Path) -> _Written | None:
    if folder.suffix == UNDER_WAY:
        return None
    try:
        values = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        summary = ShardSummary(**values["summary"] | {"path": str(folder)})
        folders = [str(path) for path in values["folders"]]
        return _Written(summary, folders, dict(values["checksums"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
