"""An index of an inventory: the tables of a walk, without a look at the archive."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import age_files, assert_equal, read_tables
from inventories import list_by_find, list_by_rclone
from trees import ODD, ODD_POSIX, TWO_LABS, Fifo, Link, Tree, make_tree
from tuning import tune

from polars_alf import IndexReport, errors, index_archive, index_part
from polars_alf.parallel.progress import Progress
from polars_alf.walk import inventory_store
from polars_alf.walk.inventory_formats import FIND_FORMAT

pytestmark = [
    pytest.mark.skipif(shutil.which("find") is None or sys.platform != "linux", reason="GNU find"),
    pytest.mark.filterwarnings("ignore::polars_alf.errors.NoSessionsWarning"),
]

BESIDE: Tree = {
    "cortexlab/Subjects/KS001/2020-01-01/003": {},
    "cortexlab/Subjects/KS003": {"weights.a.csv": 3, "2020-13-01/001/a.b.npy": 1},
    "cortexlab/Subjects/KS004/2020-01-01": {},
    ".snapshot/KS001/2020-01-01/001/a.b.npy": 1,
    "my-lab/Subjects/KS001/2020-01-01/1/raw data/a.b.npy": 1,
    "cortexlab/Subjects/KS001/2020-01-01/001/lost+found/x.y.npy": 2,
    "README.md": 5,
}
"""What tables have an issue for, or none."""

LEAST = "S1/2020-01-01/001/a.b.npy"


@pytest.fixture(params=["find", "find relative", "find lines", "rclone"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Path]:
    """Give a function that writes an inventory of an archive in each way."""

    def write_inventory(root: Path) -> Path:
        match request.param:
            case "find":
                content = list_by_find(root)
            case "find relative":
                content = list_by_find(".", cwd=root)
            case "find lines":
                content = list_by_find(root, end="\\n")
            case _:
                content = list_by_rclone(root)
        path = tmp_path / "inventory"
        path.write_bytes(content)
        return path

    return write_inventory


def index_both(
    root: Path, inventory: Path, tmp_path: Path, **options: object
) -> tuple[IndexReport, IndexReport]:
    """Index an archive by its inventory and by a walk; check that the tables are equal."""
    reports = []
    for name, more in (("by_inventory", {"inventory": inventory}), ("by_walk", {})):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        given: dict[str, object] = {"namespace": "test", **options, **more}
        reports.append(index_archive(root, folder, **given))  # type: ignore[arg-type]
    ours, theirs = (read_tables(tmp_path / name) for name in ("by_inventory", "by_walk"))
    for one, two in zip(ours, theirs, strict=True):
        assert one.equals(two)
    return reports[0], reports[1]


def list_issues(report: IndexReport) -> list[tuple[object, ...]]:
    return sorted(report.scan_issues().collect().rows(), key=repr)


@pytest.mark.slow
def test_the_tables_are_those_of_a_walk(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    root = make_tree(tmp_path / "archive", {**TWO_LABS, **BESIDE})
    report, walked = index_both(root, write(root), tmp_path)
    assert (report.n_sessions, report.n_datasets) == (6, 13)
    assert list_issues(report) == list_issues(walked)
    assert report.n_other_files == walked.n_other_files


def test_nothing_of_the_archive_is_looked_at(
    tmp_path: Path, archive: Path, out_dir: Path, write: Callable[[Path], Path]
) -> None:
    inventory = write(archive)
    shutil.rmtree(archive)
    report = index_archive(archive, out_dir, inventory=inventory)
    assert (report.n_sessions, report.n_datasets) == (4, 12)
    assert report.root == archive


@pytest.mark.slow
@pytest.mark.parametrize(("tree", "lists"), [(case[1], case[0]) for case in ODD])
def test_odd_archives(
    tmp_path: Path, write: Callable[[Path], Path], tree: Tree, lists: str
) -> None:
    root = make_tree(tmp_path / "archive", tree)
    report, walked = index_both(root, write(root), tmp_path)
    assert list_issues(report) == list_issues(walked), lists
    assert report.n_other_files == walked.n_other_files


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tree"), [case[:2] for case in ODD_POSIX])
def test_odd_archives_of_a_file_system(tmp_path: Path, name: str, tree: Tree) -> None:
    root = make_tree(tmp_path / "archive", tree)
    (tmp_path / "inventory").write_bytes(list_by_find(root))
    if name == "a link to a session":
        # A walk enters it; find does so with -L, which finds nothing else here.
        content = list_by_find(root).replace(b"ld ", b"dd ")
        assert content != list_by_find(root)
        report = index_archive(root, tmp_path, inventory=tmp_path / "inventory")
        assert [row[:2] for row in list_issues(report)] == [
            ("lab/Subjects/KS001/2020-01-01/002", "linked_directory")
        ]
        return
    report, walked = index_both(root, tmp_path / "inventory", tmp_path)
    found = [row[:3] for row in list_issues(report)]
    # That a link leads back is not told.
    expected = [
        (path, "linked_directory" if kind == "link_loop" else kind, number)
        for path, kind, number, _ in list_issues(walked)
    ]
    assert found == expected
    assert report.n_other_files == walked.n_other_files


def test_links_that_find_followed(tmp_path: Path) -> None:
    tree = {**TWO_LABS, "cortexlab/Subjects/KS001/2020-01-01/005": Link("001")}
    tree |= {"cortexlab/Subjects/KS001/2020-01-01/001/more": Link("../002/alf")}
    root = make_tree(tmp_path / "archive", tree)
    command = ["find", "-L", str(root), "-printf", FIND_FORMAT + "\\0"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    (tmp_path / "inventory").write_bytes(content)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    index_archive(root, ours, inventory=tmp_path / "inventory", namespace="test")
    index_archive(root, theirs, follow_links=True, namespace="test")
    for one, two in zip(read_tables(ours), read_tables(theirs), strict=True):
        assert one.equals(two)
    with pytest.raises(errors.OptionError, match="find -L"):
        index_archive(root, ours, inventory=tmp_path / "inventory", follow_links=True)


NAMES = st.sampled_from(
    ["a.b.npy", "c.d.é.npy", "notes.txt", "x", "alf", "#r#", "001", ".snapshot"]
)
FOLDERS = st.sampled_from(
    ["S1", "lab", "Subjects", "2020-01-01", "2020-02-30", "001", "2", "a.b.c"]
)
LEAVES = st.integers(0, 9) | st.just(Fifo()) | st.just(Link("nowhere")) | st.just(Link("."))
ODD_NAMES = st.sampled_from([b"a\xff.b.npy", b"a\nb.c.npy", b"\xe9"])
TREES = st.recursive(
    st.dictionaries(NAMES | ODD_NAMES, LEAVES, max_size=3),
    lambda below: st.dictionaries(FOLDERS, below | LEAVES, max_size=4),
    max_leaves=12,
)
SUBJECTS = st.dictionaries(
    st.sampled_from(["S1", "S2", "bad subject"]),
    st.dictionaries(
        st.sampled_from(["2020-01-01", "2020-01-02", "2020-02-30", "other"]),
        st.dictionaries(st.sampled_from(["001", "2", "0003", "x"]), TREES, max_size=2),
        max_size=3,
    ),
    max_size=2,
)
ARCHIVES = st.fixed_dictionaries({"lab/Subjects": SUBJECTS, "free": SUBJECTS}) | TREES


@pytest.mark.slow
@given(ARCHIVES, st.randoms(use_true_random=False), st.sampled_from([(), ("*.csv", "S1/"), ("x",)]))
@settings(deadline=None, max_examples=25)
def test_any_tree_in_any_order(
    tree: Tree, shuffle: random.Random, exclude: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        tune(patch, least_folders=1)
        patch.setattr(inventory_store, "ROWS_PER_RUN", 3)
        patch.setattr(inventory_store, "ROWS_PER_BATCH", 1)
        root = make_tree(Path(scratch, "archive"), {**tree, "README.md": 1})
        start, *records = list_by_find(root).split(b"\0")[:-1]
        shuffle.shuffle(records)
        inventory = Path(scratch, "inventory")
        inventory.write_bytes(b"".join(record + b"\0" for record in (start, *records)))
        report, walked = index_both(root, inventory, Path(scratch), exclude=exclude)
        found = [row[:3] for row in list_issues(report)]
        expected = [
            (path, "linked_directory" if kind == "link_loop" else kind, number)
            for path, kind, number, _ in list_issues(walked)
        ]
        assert found == sorted(expected, key=repr)
        assert report.n_other_files == walked.n_other_files


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
@pytest.mark.parametrize("n_rows", [4, 1 << 20])
def test_in_any_order_by_any_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str, n_rows: int
) -> None:
    tune(monkeypatch, least_folders=1)
    monkeypatch.setattr(inventory_store, "ROWS_PER_RUN", n_rows)
    monkeypatch.setattr(inventory_store, "ROWS_PER_BATCH", max(n_rows // 4, 1))
    tree = {
        f"S{n}/2021-0{month}-1{n}/00{month}/{folder}a.b.npy": n
        for n in range(6)
        for month in range(1, 5)
        for folder in ("", "alf/", "alf/probe00/")
    }
    root = make_tree(tmp_path / "archive", tree)
    start, *records = list_by_find(root).split(b"\0")[:-1]
    random.Random(0).shuffle(records)
    (tmp_path / "inventory").write_bytes(b"\0".join((start, *records, b"")))
    report, _ = index_both(root, tmp_path / "inventory", tmp_path, executor=executor, jobs=2)
    assert (report.n_sessions, report.n_datasets) == (24, 72)


@pytest.mark.parametrize("part", ["cortexlab", "cortexlab/Subjects/KS001/2020-01-01/001"])
def test_a_part_of_what_was_listed(tmp_path: Path, archive: Path, part: str) -> None:
    (tmp_path / "inventory").write_bytes(list_by_find(archive))
    report, walked = index_both(archive / part, tmp_path / "inventory", tmp_path)
    assert report.n_datasets == walked.n_datasets > 0


def test_times_and_inodes_are_those_of_the_files(
    tmp_path: Path, archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of an inventory, and one by a walk, take over digests from each other."""
    tune(monkeypatch, clock_ns=-(10**12))
    age_files(archive)
    odd = archive / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy"
    os.utime(odd, ns=(0, -1_750_000_000))  # before 1970
    index_archive(archive, out_dir, hash_files=True, digest="xxh3_128")
    before = read_tables(out_dir)
    (tmp_path / "inventory").write_bytes(list_by_find(archive))
    report = index_archive(archive, out_dir, inventory=tmp_path / "inventory")
    assert report.changes == {
        **{"added": 0, "changed": 0, "removed": 0, "unreadable": 0},
        "unchanged": 12,
    }
    for one, two in zip(read_tables(out_dir), before, strict=True):
        assert one.equals(two)
    walked = index_archive(archive, out_dir, quick=True)
    assert walked.changes == report.changes


def test_files_are_read_for_digests_where_they_are(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "inventory").write_bytes(list_by_find(archive))
    report, _ = index_both(archive, tmp_path / "inventory", tmp_path, hash_files=True)
    datasets = read_tables(report.datasets_path.parent)[1]
    assert (datasets["hash"].str.len_bytes() == 32).all()
    shutil.rmtree(archive)
    with pytest.raises(errors.OptionError, match="leave out what reads them, --hash-files"):
        index_archive(archive, tmp_path, inventory=tmp_path / "inventory", hash_files=True)


@pytest.mark.parametrize("form", ["gzip", "stdin"])
def test_compressed_or_from_a_pipe(
    tmp_path: Path, archive: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = tmp_path / "inventory"
    inventory.write_bytes(list_by_find(archive))
    given: Path | str = inventory
    if form == "gzip":
        given = tmp_path / "inventory.gz"
        given.write_bytes(gzip.compress(inventory.read_bytes()))
    else:
        given = "-"
        opened = inventory.open("rb")
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=opened.fileno))
    report, _ = index_both(archive, given, tmp_path)  # type: ignore[arg-type]
    assert report.n_datasets == 12


def test_malformed_records_are_issues(tmp_path: Path, archive: Path, out_dir: Path) -> None:
    records = list_by_find(archive).split(b"\0")
    records.insert(3, b"ff many 1.5 7 a.b.npy")
    records.insert(5, b"nonsense")
    (tmp_path / "inventory").write_bytes(b"\0".join(records))
    report = index_archive(archive, out_dir, inventory=tmp_path / "inventory")
    assert report.n_datasets == 12
    issues = list_issues(report)
    assert [row[:3] for row in issues] == [(".", "malformed_record", None)] * 2
    assert "'ff many 1.5 7 a.b.npy' in the inventory" in str(issues[0][3])
    lines = list_by_rclone(archive).splitlines(keepends=True)
    lines[4] = b'{"Path":"a.b.npy","Size":\n'
    (tmp_path / "inventory").write_bytes(b"".join(lines))
    report = index_archive(archive, out_dir, inventory=tmp_path / "inventory")
    assert report.issues == {"malformed_record": 1}


def test_many_malformed_records_are_counted(tmp_path: Path, archive: Path, out_dir: Path) -> None:
    content = list_by_find(archive) + b"nonsense\0" * 1500
    (tmp_path / "inventory").write_bytes(content)
    report = index_archive(archive, out_dir, inventory=tmp_path / "inventory")
    assert report.issues == {"malformed_record": 1001}
    assert any("500 more records" in str(row[3]) for row in list_issues(report))


def test_of_two_records_of_a_path_the_first_counts(tmp_path: Path, out_dir: Path) -> None:
    root = make_tree(tmp_path / "archive", {LEAST: 5})
    record = f"ff 7 1577836800.5 9 {root}/{LEAST}\0".encode()
    (tmp_path / "inventory").write_bytes(list_by_find(root) + record)
    index_archive(root, out_dir, inventory=tmp_path / "inventory")
    assert read_tables(out_dir)[1]["file_size"].to_list() == [5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"[\n]\n", "has nothing that lies in the archive"),
        (b"a table, or so\n", "in none of the formats"),
        (
            b"ff 7 1577836800.5 9 /elsewhere/a.b.npy\0",
            "none of the 1 paths .* '/elsewhere/a.b.npy'",
        ),
        (b'[\n{"Name":"a.b.npy","Size":1},\n]', "has objects without Path"),
        (b"-rw-r--r-- me us   1.953 KiB Jan  1 2020 10:00 /data/a.b.npy\n", "without --text"),
        (b"\x1f\x8bnot so", "cannot be read"),
    ],
)
def test_a_listing_that_is_none(
    tmp_path: Path, archive: Path, out_dir: Path, content: bytes, message: str
) -> None:
    (tmp_path / "inventory").write_bytes(content)
    with pytest.raises(errors.InventoryError, match=message):
        index_archive(archive, out_dir, inventory=tmp_path / "inventory")
    assert not list(out_dir.glob("*.pqt"))


def test_a_listing_that_is_not_there_or_of_a_part(
    tmp_path: Path, archive: Path, out_dir: Path
) -> None:
    with pytest.raises(
        errors.InventoryError, match=r"cannot be read: No such file .*; give a file"
    ):
        index_archive(archive, out_dir, inventory=tmp_path / "inventory")
    (tmp_path / "inventory").write_bytes(list_by_find(archive / "cortexlab"))
    with pytest.raises(errors.InventoryError, match=r"begins at .*/cortexlab, and the archive"):
        index_archive(archive, out_dir, inventory=tmp_path / "inventory")


@pytest.mark.parametrize("option", [{"quick": True}, {"changed_from": "x"}])
def test_options_that_contradict_it(
    archive: Path, out_dir: Path, option: dict[str, object]
) -> None:
    with pytest.raises(errors.OptionError, match="an inventory says what all"):
        index_archive(archive, out_dir, inventory="inventory", **option)  # type: ignore[arg-type]


def test_rows_are_counted_while_they_are_read(tmp_path: Path, archive: Path, out_dir: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.write_bytes(list_by_find(archive) + b"ff cut off\0")
    seen: list[Progress] = []
    index_archive(archive, out_dir, inventory=inventory, progress=seen.append)
    *_, last = (progress for progress in seen if progress.stage == "inventory")
    assert last.files == inventory.read_bytes().count(b"\0")
    assert (last.sessions, last.n_shards) == (0, 0)
    assert seen[-1].stage == "write"
    assert seen[-1].files == 16


def test_a_job_array_of_one_inventory(
    tmp_path: Path, archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, least_folders=1)
    make_tree(archive, BESIDE)
    age_files(archive)
    content = list_by_find(archive)
    inventory = tmp_path / "inventory"
    inventory.write_bytes(content + b"ff cut off\0")
    options = {"namespace": "test", "hash_files": True, "inventory": inventory}
    plain = tmp_path / "plain"
    plain.mkdir()
    expected = index_archive(archive, plain, **options)  # type: ignore[arg-type]
    for part in (2, 3):
        assert index_part(archive, out_dir, shard=f"{part}/3", **options).n_shards  # type: ignore[arg-type]
    with pytest.raises(errors.MissingPartsError, match="part 1 has not begun"):
        index_archive(archive, out_dir, assemble=True, **options)  # type: ignore[arg-type]
    index_part(archive, out_dir, shard="1/3", **options)  # type: ignore[arg-type]
    inventory.write_bytes(content)
    with pytest.raises(errors.MissingPartsError, match="no part has begun with these options"):
        index_archive(archive, out_dir, assemble=True, **options)  # type: ignore[arg-type]
    inventory.write_bytes(content + b"ff cut off\0")
    report = index_archive(archive, out_dir, assemble=True, **options)  # type: ignore[arg-type]
    assert (report.n_shards, report.n_resumed) == (expected.n_shards, expected.n_shards)
    assert report.issues == expected.issues
    assert "malformed_record" in report.issues
    assert report.n_other_files == expected.n_other_files
    assert_equal(read_tables(out_dir), read_tables(plain))


def test_an_archive_that_seems_to_be_gone_is_guarded(
    tmp_path: Path, archive: Path, out_dir: Path
) -> None:
    index_archive(archive, out_dir)
    records = list_by_find(archive).split(b"\0")
    (tmp_path / "inventory").write_bytes(b"\0".join(r for r in records if b"Subjects" not in r))
    with pytest.raises(errors.MassRemovalError):
        index_archive(archive, out_dir, inventory=tmp_path / "inventory")


def _pack_dwalk(root: Path, *, users: int = 2) -> bytes:
    """Pack the entries of a tree as `dwalk --output` writes them."""
    paths = [root, *sorted(root.rglob("*"))]
    size = -(-max(len(os.fsencode(path)) + 1 for path in paths) // 8) * 8
    content = struct.pack(">7Q", 4, users, 8, 1, 16, len(paths), size)
    content += struct.pack(">8sQ", b"someone", 1000) * users + struct.pack(">16sQ", b"group", 10)
    for path in paths:
        status = path.lstat()
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        content += os.fsencode(path).ljust(size, b"\0")
        content += struct.pack(
            ">3Q6qQ", status.st_mode, 0, 0, 0, 0, seconds, nanoseconds, 0, 0, status.st_size
        )
    return content


def test_a_file_of_dwalk(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", {**TWO_LABS, **BESIDE, LEAST: 3})
    os.utime(root / LEAST, ns=(0, -1_750_000_000))
    (tmp_path / "inventory").write_bytes(_pack_dwalk(root))
    report, walked = index_both(root, tmp_path / "inventory", tmp_path)
    assert list_issues(report) == list_issues(walked)


@pytest.mark.parametrize("pack", [list_by_find, list_by_rclone, _pack_dwalk])
def test_a_listing_that_was_cut_off(
    tmp_path: Path, archive: Path, out_dir: Path, pack: Callable[[Path], bytes]
) -> None:
    (tmp_path / "inventory").write_bytes(pack(archive)[:-9])
    with pytest.raises(errors.InventoryError, match="ends in the middle of its records"):
        index_archive(archive, out_dir, inventory=tmp_path / "inventory")
