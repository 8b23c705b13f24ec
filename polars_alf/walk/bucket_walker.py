"""Walk a bucket: keys to ENTRIES, and what else there is to say of them, as `Walker` does on disk.

A bucket has keys and no folders. Those that the keys imply are judged one by one, as directories
are; the keys themselves stay columns.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

import polars as pl
import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.address import Address
from polars_alf.alf.path_columns import expr_join
from polars_alf.alf.paths import BENCH_FOLDER, STATE_DIR, find_subdirectories, join
from polars_alf.alf.root import Root
from polars_alf.arrow import make_table, to_arrow_array
from polars_alf.bucket.content import digest_objects
from polars_alf.bucket.etags import expr_md5, expr_number
from polars_alf.bucket.keys import Listed, list_below, list_level
from polars_alf.bucket.loop import run_requests
from polars_alf.bucket.raw_keys import KEYS, Level, is_plain
from polars_alf.native.twin import CONTROL, Odd, has_copies
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.progress import Counter
from polars_alf.schema import ENTRIES, ISSUES, IssueKind, polars_schema
from polars_alf.walk.batches import Directories
from polars_alf.walk.concurrency import visits
from polars_alf.walk.digests import Algorithm, Outcome
from polars_alf.walk.entries import find_codes
from polars_alf.walk.known import Known, KnownListings
from polars_alf.walk.layout import Layout
from polars_alf.walk.lister import LEFT_OUT
from polars_alf.walk.options import WalkOptions

REQUESTS = 64
"""Requests that are under way at once, in all visits together: enough for services that take a
tenth of a second for each to keep a processor busy."""

_FILES = pl.Schema(
    dict.fromkeys(("directory", "name"), pl.String())
    | {name: polars_schema(ENTRIES)[name] for name in ("file_size", "mtime_ns", "inode")}
    | {"hash": pl.String()}
)
"""Files of ENTRIES with texts, and the MD5 that their ETags may be."""

_Folder = tuple[str, str | None]
"""A folder relative to the root, and the session that it lies in or is."""


class BucketWalker:
    """Walk one archive in a bucket, or some dated folders of it.

    Parameters
    ----------
    root
        The archive.
    options
        What to walk, and how.
    counter
        Counts files and sessions as they are found.
    pacer
        Gives requests their turns.

    Attributes
    ----------
    begun_ns : int
        As of `Walker`.
    md5s : polars.Series
        The ETag of each of the ENTRIES of the last walk where it looks like an MD5, else ''.
    """

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        counter: Counter | None = None,
        pacer: Pacer = NO_PACER,
    ) -> None:
        assert isinstance(root.path, Address)
        self.root = root
        self.options = options
        self.counter = counter or Counter()
        self.pacer = pacer
        self.begun_ns = time.time_ns()
        self.md5s = pl.Series("hash", dtype=pl.String)
        self._service = options.find_service(root.path)
        self._n_before = len(root.path.folder) + 1 if root.path.folder else 0
        self._layout = Layout(root)
        self._exclusion = options.exclusion
        self._walked = Directories()

    @property
    def _n_requests(self) -> int:
        """Requests that this walk may have under way."""
        return self.options.threads or max(REQUESTS // max(visits.number, 1), 1)

    def survey(self, known: KnownListings | None = None) -> list[str]:
        """List everything above the dates; return the dated folders, in no particular order.

        What an earlier survey listed helps nothing here, as folders have no times.
        """
        if self._layout.is_dated(""):
            return [""]
        return run_requests(self._survey(), self.counter.add)

    async def _survey(self) -> list[str]:
        dated: list[str] = []
        free = asyncio.Semaphore(self._n_requests)

        async def read(folder: str) -> Level:
            async with free:
                return await self._list_level(folder)

        # Level by level: so the issues come in the same order every time.
        folders = [""]
        while folders:
            levels = await asyncio.gather(*map(read, folders))
            below: list[str] = []
            for folder, level in zip(folders, levels, strict=True):
                keys, markers = self._read_keys([level.keys], is_level=True)
                names = self._select(folder, {*level.folders, *markers}, None)
                self._layout.check_lab(folder)
                self._take([(folder, None)], [names], keys)
                self._report_odd(level.odd)
                dates, others = self._layout.divide(folder, names)
                dated += (join(folder, name) for name in dates)
                below += (join(folder, name) for name in others)
            folders = below
        return dated

    async def _list_level(self, folder: str) -> Level:
        return await list_level(self._service, folder, self.pacer)

    def _list_below(self, folders: Sequence[str]) -> Listed:
        requests = list_below(self._service, folders, self._n_requests, self.pacer)
        return run_requests(requests, self.counter.add)

    def walk(self, folders: Sequence[str], known: Known | None = None) -> Iterator[pa.RecordBatch]:
        """Walk some dated folders.

        Parameters
        ----------
        folders
            Paths relative to the root, as `survey` gave them.
        known
            Ignored: a bucket has no times of folders, so each is listed.

        Yields
        ------
        pyarrow.RecordBatch
            ENTRIES, all in one batch; none where there are none.
        """
        listed = self._list_below(folders)
        self._report_odd(listed.odd)
        for folder, message in sorted(listed.unread.items()):
            self._layout.report(folder, IssueKind.UNREADABLE_DIRECTORY, message)
        keys, markers = self._read_keys(listed.frames, may_repeat=listed.may_repeat)
        del listed.frames[:]
        entered, names = self._enter(folders, {*keys["directory"].unique(), *markers})
        files = self._take(entered, names, keys, self._judge_folder)
        self.md5s = files["hash"]
        if len(files):
            yield _make_batch(files, [folder for folder, _ in entered])

    def digest(
        self,
        paths: Sequence[str],
        algorithms: Sequence[Algorithm],
        on_files: Callable[[int], None],
    ) -> list[Outcome]:
        """Return the digests of files, whose paths are relative to the root, in their order."""
        names = [*map(self._service.locate, paths)]
        requests = digest_objects(
            self._service,
            names,
            algorithms,
            lambda n: self.counter.add(n_bytes=n),
            on_files,
            self.pacer,
        )
        return run_requests(requests, self.counter.add)

    def directories(self) -> pa.Table:
        """Return DIRECTORIES: those inside sessions, each before what lies below it."""
        return self._walked.in_sessions()

    def listings(self) -> pa.Table:
        """Return LISTINGS of all folders, without times, which they do not have."""
        return self._walked.listings()

    @property
    def n_other_files(self) -> int:
        """Files that are not ALF datasets, or lie outside every session."""
        return sum(self._walked.n_others)

    def issues(self) -> pa.Table:
        """Return ISSUES up to now."""
        return make_table(self._layout.issues, ISSUES)

    # Folders, of which there are few

    def _enter(
        self, folders: Sequence[str], directories: Iterable[str]
    ) -> tuple[list[_Folder], list[list[str]]]:
        """Return the folders to take, each before those in it, and the names of those in each."""
        children = find_subdirectories(directories)
        entered: list[_Folder] = []
        names: list[list[str]] = []
        stack = [(folder, self._layout.find_session(folder)) for folder in reversed(folders)]
        while stack:
            folder, session = stack.pop()
            entered.append((folder, session))
            names.append(self._select(folder, children[folder], session))
            stack += reversed(self._layout.list_below(folder, session, names[-1]))
        return entered, names

    def _select(self, folder: str, names: Iterable[str], session: str | None) -> list[str]:
        """Return the names of folders in a folder that are not left out; report those that are."""
        selected = []
        for name in sorted(names):
            path = join(folder, name)
            if CONTROL.search(name):
                self._layout.report(path, IssueKind.INVALID_NAME, LEFT_OUT[Odd.INVALID_NAME])
                continue
            if session is None and (name == STATE_DIR or BENCH_FOLDER.fullmatch(name)):
                continue
            if self._exclusion.leaves_out(folder, f"{name}/"):
                continue
            is_asked_for = self.options.include_snapshots or self._exclusion.takes_back(f"{path}/")
            if has_copies(name) and not is_asked_for:
                self._layout.report(path, IssueKind.SNAPSHOT, LEFT_OUT[Odd.COPIES])
                continue
            selected.append(name)
        return selected

    def _judge_folder(self, folder: str, session: str | None, names: Sequence[str]) -> None:
        if session is None:
            self._layout.report_no_session(folder)
        else:
            self._layout.check_in_session(folder, session, names)
            self.counter.add(sessions=folder == session)

    def _report_odd(self, keys: Iterable[str]) -> None:
        """Report keys that are no paths, those that begin with the same odd name together."""
        found: Counts[str] = Counts()
        for key in keys:
            names = key[self._n_before :].split("/")
            found[next(filter(_is_odd, accumulate(names, "{}/{}".format)), key)] += 1
        for start, n_keys in sorted(found.items()):
            which = "a key begins" if n_keys == 1 else f"{n_keys:,} keys begin"
            self._layout.report(
                start if start and not start.endswith("/") else f"{start}/",
                IssueKind.INVALID_NAME,
                f"{which} so, with a name that is empty, . or .., or has control characters; "
                "rename the objects",
            )

    # Keys, of which there are many

    def _read_keys(
        self, frames: Sequence[pl.DataFrame], *, is_level: bool = False, may_repeat: bool = False
    ) -> tuple[pl.DataFrame, list[str]]:
        """Return the keys of objects, and the paths of those that only mark a folder.

        Of a level, these are names.
        """
        keys = pl.concat([KEYS.to_frame(), *frames])
        if keys.is_empty():  # as most folders above the dates are
            return _FILES.to_frame(), []
        if may_repeat:
            keys = keys.unique("path", keep="first", maintain_order=True)
        path, name = pl.col("path"), pl.col("name")
        keys = (
            keys.lazy()
            .with_columns(path.str.slice(self._n_before))
            .with_columns(name=path.str.split("/").list.last())
            .select(
                path.str.strip_suffix(name).str.strip_suffix("/").alias("directory"),
                name,
                file_size="size",
                mtime_ns=(pl.col("last_modified").dt.epoch("us") * 1000).fill_null(0),
                inode=expr_number(),
                hash=expr_md5(),
            )
            .collect()
        )
        # No dataset's name, nor many of others, are without a full stop: such an object without
        # content marks a folder. So does one with the name of a folder.
        empty = keys.filter(pl.col("file_size") == 0).select(
            "directory", "name", path=expr_join("directory", "name")
        )
        is_marker = ~pl.col("name").str.contains(".", literal=True)
        is_marker |= pl.col("path").is_in(keys["directory"].unique().implode())
        markers = empty.filter(is_marker)
        if len(markers):
            keys = keys.join(markers, on=["directory", "name"], how="anti", maintain_order="left")
        return keys, markers["name" if is_level else "path"].to_list()

    def _take(
        self,
        entered: Sequence[_Folder],
        names: Sequence[Sequence[str]],
        keys: pl.DataFrame,
        judge: Callable[[str, str | None, Sequence[str]], None] = lambda *_: None,
    ) -> pl.DataFrame:
        """Take folders with the keys in them; return the datasets, with ``code``, their folder's.

        `judge` is called with each folder, its session, and the names of the folders in it.
        """
        if keys.is_empty():
            for (folder, session), below in zip(entered, names, strict=True):
                self._walked.add(folder, session, None, 0, "/".join(below))
                judge(folder, session, below)
            return keys.with_columns(code=pl.lit(None, pl.UInt32))
        folders = pl.Series([folder for folder, _ in entered], dtype=pl.String)
        in_session = pl.Series([session is not None for _, session in entered], dtype=pl.Boolean)
        code = find_codes(keys["directory"], folders)
        keys = self._drop_left_out(keys.with_columns(code.alias("code")).drop_nulls("code"))
        distinct = keys["name"].unique()
        is_named = distinct.to_frame().select(grammar.expr_is_dataset_name(pl.col("name")))
        datasets = distinct.filter(is_named.to_series())
        is_named_so = pl.col("name").is_in(datasets.implode())
        keys = keys.with_columns(in_session.gather(keys["code"]).alias("in_session"))
        n = keys.group_by("code").agg(
            is_named_so.sum().alias("n_named"), pl.len().alias("n_files"), pl.first("in_session")
        )
        counts = {row[0]: row[1:3] for row in n.iter_rows()}
        for position, ((folder, session), below) in enumerate(zip(entered, names, strict=True)):
            n_named, n_files = counts.get(position, (0, 0))
            if session is None and n_named:
                self._layout.report_strays(folder, n_named)
            elif n_named and session is not None:
                self._layout.check_collection(folder, session)
            n_others = n_files if session is None else n_files - n_named
            self._walked.add(folder, session, None, n_others, "/".join(below))
            self.counter.add(n_files)
            judge(folder, session, below)
        # The order of the folders, and in each that of its keys.
        return keys.filter(is_named_so & pl.col("in_session")).sort("code", maintain_order=True)

    def _drop_left_out(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Drop files of invalid names, which are reported, and what patterns exclude."""
        is_odd = pl.col("name").str.contains(CONTROL.pattern)
        for directory, name in keys.filter(is_odd).select("directory", "name").iter_rows():
            path = join(directory, name)
            self._layout.report(path, IssueKind.INVALID_NAME, LEFT_OUT[Odd.INVALID_NAME])
        keys = keys.filter(~is_odd)
        if self._exclusion.is_empty:
            return keys
        rows = keys.select("directory", "name").iter_rows()
        is_kept = [not self._exclusion.leaves_out(*row) for row in rows]
        return keys.filter(pl.Series(is_kept, dtype=pl.Boolean))


def _is_odd(start: str) -> bool:
    """Whether the last name of the beginning of a key is no name of a folder or a file."""
    return not is_plain(start.rpartition("/")[2])


def _make_batch(files: pl.DataFrame, folders: Sequence[str]) -> pa.RecordBatch:
    """Return files in the order of their codes as ENTRIES."""
    codes = files["code"].unique(maintain_order=True)
    names = files["name"].unique(maintain_order=True)
    texts = {
        "directory": (files["code"].rle_id(), pl.Series(folders, dtype=pl.String).gather(codes)),
        "name": (find_codes(files["name"], names), names),
    }
    columns = [
        pa.DictionaryArray.from_arrays(
            to_arrow_array(code.cast(pl.Int32), pa.int32()), to_arrow_array(text, pa.string())
        )
        for code, text in texts.values()
    ]
    numbers = ENTRIES.names[2:]
    columns += [to_arrow_array(files[name], ENTRIES.field(name).type) for name in numbers]
    return pa.RecordBatch.from_arrays(columns, schema=ENTRIES)
