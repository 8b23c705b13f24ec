"""Digests of contents: right, read once, kept, and in columns of their own."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pyarrow.parquet as pq
import pytest
import xxhash
from trees import make_tree
from typer.testing import CliRunner

from polars_alf import errors, index_archive, merge_tables, native, scan_datasets
from polars_alf.cli import app
from polars_alf.walk import digests
from polars_alf.walk.digests import digest_files

LONG_AGO = 1_600_000_000
CONTENTS = {f"alf/spikes.part{n}.npy": os.urandom(n * 700_001) for n in range(6)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = make_tree(tmp_path / "archive", {"S/2020-01-01/001": {**CONTENTS}})
    for path in root.rglob("*.npy"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def _xxh3(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def _digests(folder: Path) -> dict[str, tuple[str, ...]]:
    datasets = pl.read_parquet(folder / "datasets.pqt")
    columns = ["hash", *(c for c in datasets.columns if c == "xxh3_128")]
    return {row[0]: row[1:] for row in datasets.select("rel_path", *columns).iter_rows()}


def test_xxh3_has_a_column_of_its_own(data: Path) -> None:
    index_archive(data, digest="xxh3_128")
    assert _digests(data) == {path: ("", _xxh3(content)) for path, content in CONTENTS.items()}
    schema = pq.read_schema(data / "datasets.pqt")
    # The index of pandas comes last, as ONE writes it.
    assert schema.names[-3:] == ["xxh3_128", "eid", "id"]
    assert index_archive(data, digest="md5").n_datasets == 6
    assert _digests(data) == {
        path: (_md5(content), _xxh3(content)) for path, content in CONTENTS.items()
    }


@pytest.mark.parametrize("options", [{"digest": ("md5", "xxh3_128")}, {"hash_files": True}])
def test_both_are_of_one_reading(data: Path, options: dict[str, object]) -> None:
    read: list[int] = []
    given = {"digest": ["xxh3_128"], **options}
    index_archive(data, **given, progress=lambda progress: read.append(progress.n_bytes))
    assert _digests(data) == {
        path: (_md5(content), _xxh3(content)) for path, content in CONTENTS.items()
    }
    assert read[-1] == sum(map(len, CONTENTS.values()))


def test_a_column_stays_and_its_digests_as_long_as_they_hold(data: Path) -> None:
    index_archive(data, digest="xxh3_128")
    first = _digests(data)
    changed = "alf/spikes.part1.npy"
    (data / "S/2020-01-01/001" / changed).write_bytes(b"x")
    index_archive(data)
    assert _digests(data) == first | {changed: ("", "")}
    read: list[int] = []
    index_archive(data, digest="xxh3_128", progress=lambda p: read.append(p.n_bytes))
    assert read[-1] == 1
    assert _digests(data) == first | {changed: ("", _xxh3(b"x"))}


def test_tables_without_it_have_no_such_column(data: Path) -> None:
    index_archive(data, hash_files=True)
    assert "xxh3_128" not in pq.read_schema(data / "datasets.pqt").names


def test_quick_reads_what_a_new_digest_needs(data: Path) -> None:
    for path in [data, *data.rglob("*")]:
        os.utime(path, (LONG_AGO, LONG_AGO))
    index_archive(data)
    index_archive(data, digest="xxh3_128", quick=True)
    assert _digests(data) == {path: ("", _xxh3(content)) for path, content in CONTENTS.items()}


def test_other_functions_take_such_tables(data: Path, tmp_path: Path) -> None:
    index_archive(data, digest="xxh3_128", hash_files=True)
    found = scan_datasets(data).filter(pl.col("xxh3_128") == _xxh3(b"")).collect()
    assert found["rel_path"].to_list() == ["alf/spikes.part0.npy"]
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    assert merge_tables([data], out_dir).n_datasets == 6
    merged = scan_datasets(out_dir).filter(pl.col("xxh3_128") == _xxh3(b"")).collect()
    assert merged["rel_path"].to_list() == ["alf/spikes.part0.npy"]


def test_one_opens_such_tables(data: Path) -> None:
    api = pytest.importorskip("one.api")
    index_archive(data, digest="xxh3_128")
    client = api.One(cache_dir=data, mode="local")
    assert client.list_datasets(client.search()[0]) == sorted(CONTENTS)


def test_from_the_command_line(data: Path) -> None:
    runner = CliRunner()
    options = ["--digest", "xxh3_128", "--digest", "md5", "--quiet"]
    assert runner.invoke(app.app, ["index", str(data), *options]).exit_code == 0
    assert _digests(data) == {
        path: (_md5(content), _xxh3(content)) for path, content in CONTENTS.items()
    }


@pytest.mark.parametrize("digest", ["sha1", "", ["md5", "crc"]])
def test_a_digest_that_there_is_none_of(data: Path, digest: str) -> None:
    with pytest.raises(errors.OptionError, match=r"there is no digest .*; give one of md5, xxh3"):
        index_archive(data, digest=digest)
    assert not list(data.glob("*.pqt"))


@pytest.mark.parametrize("jobs", [1, 3])
def test_tables_are_the_same_with_any_number_of_workers(
    data: Path, tmp_path: Path, jobs: int
) -> None:
    index_archive(data, tmp_path, digest="xxh3_128", jobs=jobs)
    assert _digests(tmp_path) == {path: ("", _xxh3(c)) for path, c in CONTENTS.items()}


@pytest.fixture(params=["native", "python"])
def implementation(request: pytest.FixtureRequest) -> None:
    """Digest by what was built, then by the twins."""
    if request.param == "python":
        request.getfixturevalue("twins")


@pytest.fixture(params=["fast", "slow"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the time of reading be nothing, or ten times that of digesting."""
    steps = {"fast": [1, 0, 1], "slow": [1, 10, 1]}[request.param]
    clock = itertools.accumulate(itertools.cycle(steps))
    monkeypatch.setattr(digests, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    return str(request.param)


def _make_files(folder: Path, lengths: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Return paths of files that differ, and the digests of each."""
    paths, expected = [], []
    for n, length in enumerate(lengths):
        content = n.to_bytes(4, "little") * (length // 4 + 1)
        path = folder / f"spikes.n{n}.npy"
        path.write_bytes(content[:length])
        paths.append(str(path))
        expected.append([_md5(content[:length]), _xxh3(content[:length])])
    return paths, expected


def _count_open(folder: Path) -> int:
    """Return how many files of a folder this process has open."""
    inodes = {(status.st_dev, status.st_ino) for status in map(os.lstat, folder.iterdir())}
    n_open = 0
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # that of the list itself
            status = os.fstat(descriptor)
            n_open += (status.st_dev, status.st_ino) in inodes
    return n_open


PIECE = 1 << 18

MIXED = [5 * PIECE, 3 * PIECE + 1, PIECE, PIECE - 1, 100_000, 4097, 64, 56, 55, 1, 0] * 8


@pytest.mark.usefixtures("implementation", "storage")
@pytest.mark.parametrize("threads", [1, 3])
def test_files_of_all_sizes(tmp_path: Path, threads: int) -> None:
    paths, expected = _make_files(tmp_path, MIXED)
    n_bytes: list[int] = []
    n_files: list[int] = []
    both = ("md5", "xxh3_128")
    found = digest_files(paths, both, n_bytes.append, n_files.append, threads=threads)
    assert found == expected
    assert (sum(n_bytes), sum(n_files)) == (sum(MIXED), len(MIXED))
    for i, algorithm in enumerate(both):
        found = digest_files(paths, [algorithm], lambda _: None, threads=threads)
        assert found == [[each[i]] for each in expected]


@pytest.mark.skipif(native.IMPLEMENTATION != "native", reason="Python has no lanes")
def test_files_are_read_together_unless_the_storage_is_slow(tmp_path: Path, storage: str) -> None:
    paths, expected = _make_files(tmp_path, [4 << 20] * 12)
    pieces: list[int] = []
    found = digest_files(paths, ["md5"], pieces.append)
    assert found == [[md5] for md5, _ in expected]
    if storage == "slow":
        assert max(pieces) <= 1 << 20
    else:
        assert max(pieces) > 2 << 20


@pytest.mark.slow
@pytest.mark.usefixtures("implementation")
def test_files_that_change_while_they_are_read(tmp_path: Path) -> None:
    lengths = [4 << 20] * 40
    paths, expected = _make_files(tmp_path, lengths)
    changes = {
        0: lambda path: os.truncate(path, 0),
        7: lambda path: os.truncate(path, 8 << 20),
        20: os.unlink,
    }

    def change(_: int) -> None:
        for n in [*changes]:
            changes.pop(n)(paths[n])

    found = digest_files(paths, ["md5"], change)
    for n, (outcome, before) in enumerate(zip(found, expected, strict=True)):
        # What is gone or longer before it was opened is so in the outcome too.
        if n not in (0, 7, 20):
            assert outcome == before[:1]
    assert found[0] != expected[0][:1]
    assert found[7] == [_md5(Path(paths[7]).read_bytes())]


@pytest.mark.usefixtures("implementation")
@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no list of descriptors there")
def test_what_is_no_file_any_more(tmp_path: Path) -> None:
    paths, expected = _make_files(tmp_path, [1000] * 9)
    os.unlink(paths[3])
    os.mkfifo(paths[3])
    os.unlink(paths[4])
    os.mkdir(paths[4])
    found = digest_files(paths, ["md5"], lambda _: None)
    assert _count_open(tmp_path) == 0
    messages = [outcome.strerror for outcome in found[3:5] if isinstance(outcome, OSError)]
    assert messages == ["it is no file any more"] * 2
    assert found[:3] + found[5:] == [[md5] for md5, _ in expected[:3] + expected[5:]]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no list of descriptors there")
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_file_stays_open_after_an_error(tmp_path: Path, threads: int) -> None:
    paths, _ = _make_files(tmp_path, [3 << 20] * 40)
    read = most_open = 0

    def fail(n_bytes: int) -> None:
        nonlocal read, most_open
        read += n_bytes
        most_open = max(most_open, _count_open(tmp_path))
        if read > 20 << 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        digest_files(paths, ["md5"], fail, threads=threads)
    assert most_open > _count_open(tmp_path) == 0
    assert read < 60 << 20


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("threads", [1, 4])
def test_files_that_cannot_be_read_do_not_keep_others(data: Path, threads: int) -> None:
    paths = sorted(map(str, data.rglob("*.npy")))
    paths.insert(2, str(data / "missing"))
    outcomes = digest_files(paths, ["md5"], lambda _: None, threads=threads)
    assert isinstance(outcomes.pop(2), FileNotFoundError)
    assert outcomes == [[_md5(content)] for content in CONTENTS.values()]


@pytest.mark.usefixtures("implementation")
def test_an_interrupt_ends_the_reading(data: Path) -> None:
    paths = [str(data / "S/2020-01-01/001/alf/spikes.part5.npy")] * 200
    before = threading.active_count()
    read = 0

    def interrupt(n_bytes: int) -> None:
        nonlocal read
        read += n_bytes
        if read > 20_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digest_files(paths, ["md5"], interrupt, threads=2)
    assert read < 100_000_000
    assert threading.active_count() == before
