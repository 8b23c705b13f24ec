"""Trees that nobody would make on purpose, and some that somebody would."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from amount import IS_FULL
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Expected, expect
from test_paths_out import WATCHED, deeds
from trees import Fifo, Link, Tree, make_tree

from polars_alf import (
    IndexReport,
    compare_tables,
    full_path,
    index_archive,
    join_sessions,
    merge_tables,
    plan_removals,
    query_tables,
    scan_archive,
    scan_datasets,
    scan_sessions,
    summarize_tables,
    verify_archive,
)
from polars_alf.cache import load_tables
from polars_alf.prune.apply import apply_removals
from polars_alf.walk.digests import digest_file

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, as on Linux"),
    pytest.mark.filterwarnings("ignore::polars_alf.errors.NoSessionsWarning"),
]

SESSION = "lab/Subjects/KS001/2020-01-01/001"

# Names in bytes, so that nothing on the way can mend them.
NAMES = [
    *(b"spikes.times.npy", b"alf", b"probe00", b"#2020-01-01#", b"notes.txt", b"a.b.c"),
    *(b"a\n.b.npy", b"a.b.npy\n", b"\x1b[2Ja.b.npy", b"\x7f.b.c", b"a\rb", b"\t", b" ", b"  .a.b"),
    *("a\x9b.b.npy".encode(), "\x85".encode(), "\u202ea.b.npy".encode(), "\u200f".encode()),
    *("\u2028.b.c".encode(), "\ufeffa.b.npy".encode(), "a\u0301.b.npy".encode()),
    *("\xe1.b.npy".encode(), "\u212b.b.c".encode(), "\U0001f9e0.a.b".encode(), "ﬁ.b.c".encode()),
    *(b"\xff.b.npy", b"caf\xe9", b"\xed\xa0\x80.a.b", b"\xc0\xaf", b"\xf4\x90\x80\x80.a.b"),
    *(b"-rf", b"--help", b"-.a.npy", b"--.a.b", b"...", b"..a.b", b".a.b.c", b"~", b"~root.a.b"),
    *(b"%2e%2e", b"..\\..\\x.a.npy", b"c:", b"con.a.b", b"a.b.npy.", b"$(id).a.b", b"`id`.a.b"),
    *(b"*.a.b", b"?.a.b", b"[a].b.c", b"{a}.b.c", b"!a.b.c", b"#.a.b", b"'.a.b", b'".a.b', b";.a"),
    *(b"x" * 249 + b".b.npy", "é".encode() * 124 + b".b.npy"[:7], b"y" * 255, b"\n" * 255),
    *(b"sessions.pqt", b"datasets.pqt", b"commit.json", b"run-" + b"0" * 32, b"NULL", b"nan.a.b"),
]
FOLDERS = [*NAMES, b"Subjects", b"001", b"2020-01-01", b"KS001", b"lab"]
# Some differ in case, in normal form, or only where both are ignored.
SUBJECTS = [
    *(b"KS001", b"ks001", "\u00c5".encode(), "\u212b".encode(), "A\u030a".encode()),
    *("\u00e5".encode(), "stra\u00dfe".encode(), b"STRASSE", "\ufb01".encode(), b"fi"),
    *(b"..KS", b"-"),
]
DATES = [
    *(b"2020-01-01", b"0001-01-01", b"9999-12-31", b"0000-01-01", b"0000-12-31", b"10000-01-01"),
    *(b"2000-02-29", b"1900-02-29", b"2020-02-29", b"2021-02-29", b"2020-02-30", b"2020-04-31"),
    *(b"2020-00-10", b"2020-13-01", b"2020-01-00", b"2020-01-32", b"1582-10-10", b"1970-01-01"),
    *(b"2020-1-01", b"20200101", b"2020-W01-1", b"-001-01-01", b"2020-01-01\n", b"2020-01-01 "),
    "\uff12\uff10\uff12\uff10-01-01".encode(),
]
NUMBERS = [
    *(b"001", b"1", b"000", b"999", b"1000", b"-01", b"00a", b"01 ", b"+1", b"1_0", b"\xb2"),
    *("\u0660\u0660\u0661".encode(), "\u00b2".encode(), "\u2460".encode()),
]


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


leaves = st.integers(0, 3) | st.just(Fifo()) | st.just(Link("nowhere")) | st.just(2**40)
# Any bytes that a file system takes, bare or at the end of what could be a dataset.
anything = (st.binary(min_size=1, max_size=40) | st.text(min_size=1, max_size=20).map(encode)).map(
    lambda name: name.translate(None, b"/\0")[:240]
)
odd = (
    st.sampled_from(NAMES) | anything | anything.map(lambda name: b"a." + name + b".npy")
).filter(lambda name: name not in (b"", b".", b".."))
inner = st.recursive(
    st.dictionaries(odd, leaves, max_size=4),
    lambda tree: st.dictionaries(st.sampled_from(FOLDERS) | odd, tree | leaves, max_size=4),
    max_leaves=6,
)


def level(
    names: st.SearchStrategy[bytes], below: st.SearchStrategy[object]
) -> st.SearchStrategy[object]:
    return st.dictionaries(names | odd, below | leaves, max_size=3)


dates = st.dates().map(lambda date: date.isoformat().encode())
numbers = st.integers(0, 1200).map(lambda number: b"%03d" % number)
sessions = level(st.sampled_from(NUMBERS) | numbers, inner)
subjects = level(st.sampled_from(SUBJECTS), level(st.sampled_from(DATES) | dates, sessions))
archives = st.fixed_dictionaries(
    {b"lab": st.fixed_dictionaries({b"Subjects": subjects})}, optional={b"free": subjects}
)


def index(root: Path) -> tuple[IndexReport, pl.DataFrame, pl.DataFrame]:
    """Index an archive, and return the report, what is in the tables and the issues."""
    tables = Path(tempfile.mkdtemp(dir=root.parent))
    report = index_archive(root, tables)
    datasets = join_sessions(scan_datasets(tables), scan_sessions(tables)).collect()
    return report, datasets, report.scan_issues().collect()


def check(root: Path) -> Expected:
    """Check that an index finds what is there, and names what it leaves out."""
    expected = expect(root)
    report, datasets, issues = index(root)
    twins = expected.twins
    assert report.n_sessions == len(expected.sessions - twins)
    assert {*issues.filter(kind="duplicate_session")["path"]} == twins
    files = scan_archive(root).collect()
    paths = files.select(
        path=pl.concat_str("directory", "name", separator="/"), file_size="file_size"
    )
    assert dict(paths.rows()) == expected.datasets
    rows = ["lab", "subject", "date", "number", "rel_path", "file_size"]
    key = [pl.col("lab").fill_null(""), *rows[1:]]
    is_twin = pl.any_horizontal(
        False, *(pl.col("directory").str.contains(f"^{re.escape(twin)}(/|$)") for twin in twins)
    )
    indexed = files.filter(~is_twin)
    assert sorted(datasets.select(key).rows()) == sorted(indexed.select(key).rows())
    assert not datasets.select(pl.struct("eid", "id").is_duplicated().any()).item()
    assert report.n_other_files == expected.others
    named = {
        kind: set(issues.filter(kind=kind)["path"])
        for kind in ("invalid_name", "special_file", "broken_link", "outside_session")
    }
    assert named["invalid_name"] == expected.invalid
    assert named["special_file"] == expected.special
    assert named["broken_link"] == expected.broken
    assert named["outside_session"] == expected.strays
    tables = report.sessions_path.parent
    assert verify_archive(root, tables).findings.filter(pl.col("kind") != "unreadable").is_empty()
    if expected.datasets:
        planned = plan_removals(root, tables).filter(kind="dataset")["path"]
        assert not {*planned} & {*expected.datasets}
    loaded = load_tables(tables)
    assert len(loaded["datasets"]) == len(indexed)
    assert len(loaded["sessions"]) == len(expected.sessions - twins)
    return expected


@pytest.mark.slow
@given(archives)
@settings(max_examples=10, deadline=None)
def test_any_tree(tree: Tree) -> None:
    check_tree(tree)


@pytest.mark.thorough
@given(archives)
@settings(max_examples=150, deadline=None)
def test_many_trees(tree: Tree) -> None:
    check_tree(tree)


def check_tree(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(make_tree(Path(folder, "archive"), tree))


@pytest.mark.slow
@pytest.mark.parametrize(
    "subjects",
    [("KS001", "ks001", "Ks001"), ("\u00c5", "\u212b", "\u00e5"), ("\ufb01", "fi", "FI")],
    ids=ascii,
)
def test_subjects_that_some_systems_take_for_the_same(
    tmp_path: Path, subjects: tuple[str, ...]
) -> None:
    tree: Tree = {f"lab/Subjects/{subject}/2020-01-01/001/a.b.npy": 1 for subject in subjects}
    root = make_tree(tmp_path / "archive", tree)
    if len(os.listdir(root / "lab/Subjects")) < len(subjects):
        pytest.skip("this file system is one of them")
    assert len(check(root).sessions) == len(subjects)
    copy = make_tree(tmp_path / "copy", {})
    for tables in (root, copy):
        index_archive(root, tables, namespace="test")
    assert set(scan_sessions(root).collect()["subject"]) == set(subjects)
    merged = merge_tables([root, copy])
    assert (merged.n_sessions, merged.n_conflicts) == (len(subjects), 0)
    assert compare_tables(root, copy).differences.is_empty()
    shutil.rmtree(root / "lab/Subjects" / subjects[0])
    changes = index_archive(root).scan_changes().collect()
    assert changes["path"].to_list() == [f"lab/Subjects/{subjects[0]}/2020-01-01/001/a.b.npy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("date", "is_one"),
    [
        *((text, True) for text in ("0001-01-01", "9999-12-31", "2000-02-29", "1969-12-31")),
        *((text, True) for text in ("1582-10-10", "1677-09-20", "2262-04-12", "2038-01-20")),
        *((text, False) for text in ("0000-01-01", "1900-02-29", "2100-02-29", "10000-01-01")),
    ],
)
def test_dates_at_the_edges_of_the_calendar(tmp_path: Path, date: str, is_one: bool) -> None:
    tree: Tree = {f"lab/Subjects/S/{date}/001/a.b.npy": 1, f"{SESSION}/a.b.npy": 1}
    root = make_tree(tmp_path / "archive", tree)
    assert len(check(root).sessions) == 1 + is_one
    index_archive(root)
    sessions = scan_sessions(root).filter(subject="S").collect()
    assert [found.isoformat() for found in sessions["date"]] == [date] * is_one
    # Nanoseconds do not reach so far, which pandas once took for granted.
    loaded = load_tables(root)["sessions"]
    assert [str(found) for found in loaded[loaded["subject"] == "S"]["date"]] == [date] * is_one
    query = f"SELECT id FROM sessions WHERE date = DATE '{date}'"
    if is_one:
        assert len(query_tables(root, query).collect()) == 1
    summary = summarize_tables(root)
    assert summary.n_sessions == 1 + is_one
    assert merge_tables([root]).sessions.collect()["date"].n_unique() == 1 + is_one


@pytest.mark.slow
def test_every_name_in_every_place(tmp_path: Path) -> None:
    tree: Tree = {b"free": 1}
    for name in NAMES:
        for place in (
            b"lab/Subjects/KS001/2020-01-01/001/",
            b"lab/Subjects/KS001/2020-01-01/001/f/",
        ):
            tree[place + name] = 1
        tree[b"lab/Subjects/KS001/2020-01-01/002/" + name] = {b"a.b.npy": 2}
        tree[b"lab/Subjects/" + name] = {b"2020-01-01/001/a.b.npy": 3}
        tree[b"labs/" + name] = {b"Subjects/S/2020-01-01/001/a.b.npy": 4}
    for subject in SUBJECTS:
        for date in DATES:
            for number in NUMBERS:
                tree[b"free subjects/" + b"/".join((subject, date, number))] = {b"a.b.npy": 5}
    expected = check(make_tree(tmp_path / "archive", tree))
    assert len(expected.sessions) > 100
    assert len(expected.invalid) > 50
    assert len(expected.datasets) > 150


@pytest.mark.thorough
def test_no_name_speaks_to_the_terminal(tmp_path: Path) -> None:
    tree: Tree = {f"{SESSION}/a.b.npy": 1}
    for name in NAMES:
        tree[SESSION.encode() + b"/f/" + name] = 1
        tree[SESSION.encode() + b"/" + name] = {b"x.y.npy": 2}
        tree[b"lab/Subjects/" + name] = {b"2020-01-01/001/a.b.npy": 3}
    root = make_tree(tmp_path / "archive", tree)
    index_archive(root)
    shutil.rmtree(root / SESSION / "alf")
    make_tree(root, {f"{SESSION}/strange \u202e folder/new.x.npy": 1})
    for command in (["index"], ["issues"], ["changes"], ["info"], ["verify"], ["prune"]):
        ended = subprocess.run(
            [sys.executable, "-m", "polars_alf", *command, str(root)], capture_output=True
        )
        assert ended.returncode in (0, 3), ended.stderr
        output = (ended.stdout + ended.stderr).decode()
        assert output
        spoken = {letter for letter in output if unicodedata.category(letter) == "Cc"}
        assert spoken <= {"\n", "\t", "\r"}


# Links, and what is no file


def test_links_lead_to_nothing_that_is_not_said(tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"secret.a.npy": 5, f"{SESSION}/s.a.npy": 5})
    root = make_tree(
        tmp_path / "archive",
        {
            SESSION: {
                "a.b.npy": 1,
                "self.x.npy": Link("self.x.npy"),
                "first.x.npy": Link("second.x.npy"),
                "second.x.npy": Link("first.x.npy"),
                "up": Link(".."),
                "root": Link("/"),
                "out": Link(str(outside)),
                "secret.x.npy": Link(str(outside / "secret.a.npy")),
                "device.x.npy": Link("/dev/zero"),
                "memory.x.npy": Link("/proc/self/mem"),
                "long.x.npy": Link("x/" * 2000),
            },
            "lab/Subjects/KS002": Link(str(outside / "lab/Subjects/KS001")),
            "lab/loop": Link("../lab"),
        },
    )
    for follow in (False, True):
        tables = make_tree(tmp_path / f"tables{follow}", {})
        exclude = ["root"] if follow else []  # it leads through the whole machine
        report = index_archive(root, tables, hash_files=True, follow_links=follow, exclude=exclude)
        sizes = dict(scan_datasets(tables).select("rel_path", "file_size").collect().rows())
        # The system says that /proc/self/mem is a file.
        expected = {"a.b.npy": 1, "secret.x.npy": 5, "memory.x.npy": 0}
        if follow:
            expected |= {"s.a.npy": 5, "out/secret.a.npy": 5, f"out/{SESSION}/s.a.npy": 5}
        assert sizes == expected
        issues = dict(report.scan_issues().select("path", "kind").collect().rows())
        for name in ("self.x.npy", "first.x.npy", "second.x.npy", "long.x.npy"):
            assert issues[f"{SESSION}/{name}"] in ("broken_link", "unreadable_file")
        assert issues[f"{SESSION}/up"] == "link_loop"
        assert issues[f"{SESSION}/device.x.npy"] == "special_file"
        assert issues["lab/loop"] == "link_loop"
        if not follow:
            for name in (f"{SESSION}/out", f"{SESSION}/root", "lab/Subjects/KS002"):
                assert issues[name] == "linked_directory"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--hash-files",),
        pytest.param((), marks=pytest.mark.thorough),
        pytest.param(("--hash-files", "--follow-links"), marks=pytest.mark.thorough),
    ],
)
def test_nothing_but_files_is_opened(tmp_path: Path, options: tuple[str, ...]) -> None:
    tree: Tree = {SESSION: {"a.b.npy": 1, "fifo.x.npy": Fifo(), "null.x.npy": Link("/dev/null")}}
    root = make_tree(tmp_path / "archive", tree)
    if os.geteuid() == 0:
        os.mknod(root / SESSION / "zero.x.npy", 0o20666, os.makedev(1, 5))
    log = tmp_path / "log"
    command = ["index", str(root), "--jobs", "1", *options]
    if shutil.which("strace"):
        opens = ("-e", "trace=open,openat,openat2,creat")
        # -y: what is opened beside a directory is told by its whole path.
        watch = ["strace", "-f", "-A", "-y", "-qq", "-s", "4096", *opens, "-o", str(log)]
        command = [*watch, sys.executable, "-m", "polars_alf", *command]
    else:
        # An audit hook sees what Python opens.
        command = ["env", "POLARS_ALF_NATIVE=0", sys.executable, str(WATCHED), str(log), *command]
    for _ in range(2):
        subprocess.run(command, check=True, timeout=60)
    assert list(deeds(log, SESSION))
    for name in ("fifo.x.npy", "null.x.npy", "zero.x.npy"):
        assert not list(deeds(log, name))
    assert scan_datasets(root).collect()["rel_path"].to_list() == ["a.b.npy"]


@pytest.mark.parametrize("device", ["/dev/zero", "fifo"])
def test_what_took_the_place_of_a_file_is_not_read(tmp_path: Path, device: str) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no file any more"):
        digest_file(str(tmp_path / device), ["md5"])


# Sizes


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a folder on a file system that takes files of petabytes."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs /dev/shm")
    folder = tempfile.mkdtemp(dir="/dev/shm")
    yield Path(folder)
    subprocess.run(["rm", "-rf", folder], check=True)


def test_files_of_petabytes_are_measured(memory: Path) -> None:
    sizes = {"a.b.npy": 2**50, "b.c.npy": 0, "c.d.npy": 9 * 10**15, "d.e.npy": 2**63 - 1}
    root = make_tree(memory / "archive", {SESSION: dict(sizes)})
    report = index_archive(root)
    assert report.n_bytes == sum(sizes.values())
    found = scan_datasets(root).select("rel_path", "file_size").collect()
    assert dict(found.rows()) == sizes
    assert verify_archive(root).findings.is_empty()
    assert load_tables(root)["datasets"]["file_size"].sum() == sum(sizes.values())


def test_sums_of_sizes_do_not_start_again_from_0(memory: Path) -> None:
    sizes = dict.fromkeys(("a.b.npy", "b.c.npy", "c.d.npy"), 2**63 - 1)
    root = make_tree(memory / "archive", {SESSION: dict(sizes)})
    total = 3 * (2**63 - 1)
    assert index_archive(root).n_bytes == total
    assert index_archive(root, reset=True).n_bytes == total
    assert summarize_tables(root).n_bytes == total
    for kind, sums in (("INT128", total), ("HUGEINT", total), ("UINT64", total - 2**64)):
        query = f"SELECT sum(CAST(file_size AS {kind})) FROM datasets"
        assert query_tables(root, query).collect().item() == sums


@pytest.mark.thorough
def test_a_digest_of_a_petabyte_can_be_interrupted(memory: Path) -> None:
    root = make_tree(memory / "archive", {SESSION: {"a.b.npy": 7}})
    index_archive(root)
    before = (root / "datasets.pqt").read_bytes()
    make_tree(root, {SESSION: {"huge.x.npy": 2**50}})
    command = [
        sys.executable,
        "-m",
        "polars_alf",
        "index",
        str(root),
        "--hash-files",
        "--jobs",
        "1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        time.sleep(4)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "interrupted; the tables are whole" in said
    assert (root / "datasets.pqt").read_bytes() == before
    report = index_archive(root, hash_files=True, exclude="huge.x.npy")
    (digest,) = scan_datasets(root).collect()["hash"]
    assert (report.n_datasets, digest) == (1, hashlib.md5(bytes(7)).hexdigest())


# Numbers


def descend(root: Path, names: list[str], n_deep: int) -> int:
    """Make folders in one another, whatever the length of their path, and return the last."""
    descriptor = os.open(root, os.O_RDONLY)
    for depth in range(n_deep):
        name = names[depth % len(names)]
        os.mkdir(name, dir_fd=descriptor)
        above, descriptor = descriptor, os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(above)
    return descriptor


def put(descriptor: int, name: str, content: bytes = b"x") -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, content)
    os.close(file)
    os.close(descriptor)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Give an archive that is removed without recursion."""
    root = tmp_path / "archive"
    yield make_tree(root, {f"{SESSION}/a.b.npy": 1})
    subprocess.run(["rm", "-rf", str(root)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("hash_files", [False, True])
def test_a_thousand_folders_deep(deep: Path, hash_files: bool) -> None:
    put(descend(deep / SESSION, ["d"], 1000), "deep.x.npy")
    report = index_archive(deep, hash_files=hash_files)
    assert (report.n_datasets, report.issues) == (2, {})
    found = scan_datasets(deep).filter(pl.col("file_size") == 1).collect()["rel_path"]
    assert f"{'d/' * 1000}deep.x.npy" in found.to_list()
    assert verify_archive(deep, digest=hash_files).findings.is_empty()
    paths = join_sessions(scan_datasets(deep), scan_sessions(deep)).select(full_path(deep))
    assert all(map(os.path.exists, paths.collect()["full_path"]))
    assert load_tables(deep)["datasets"]["rel_path"].str.len().max() == 2010


@pytest.mark.thorough
def test_an_empty_session_a_thousand_folders_deep_can_go(deep: Path) -> None:
    index_archive(deep)
    (deep / "lab/Subjects/KS001/2020-01-01/002").mkdir()
    os.close(descend(deep / "lab/Subjects/KS001/2020-01-01/002", ["d"], 1100))
    plan = plan_removals(deep)
    assert len(plan) == 1101
    assert apply_removals(deep, plan)["result"].unique().to_list() == ["removed"]
    assert not (deep / "lab/Subjects/KS001/2020-01-01/002").exists()


def test_paths_that_the_system_does_not_take_are_named(deep: Path) -> None:
    name = "n" * 200
    put(descend(deep / SESSION, [name], 60), "deep.x.npy")
    for threads in (None, 4):
        report = index_archive(deep, threads=threads)
        assert report.n_datasets == 1
        (issue,) = report.scan_issues().filter(kind="unreadable_directory").collect().to_dicts()
        assert issue["path"].startswith(f"{SESSION}/{name}/")
        assert "File name too long" in issue["message"]
    assert verify_archive(deep).findings["kind"].to_list() == ["unreadable"]
    assert plan_removals(deep).is_empty()


@pytest.mark.thorough
def test_many_files_in_one_folder(tmp_path: Path) -> None:
    n_files = 1_000_000 if IS_FULL else 200_000
    root = make_tree(tmp_path / "archive", {f"{SESSION}/alf": {}})
    folder = os.open(root / SESSION / "alf", os.O_RDONLY)
    for number in range(n_files):
        os.close(os.open(f"o{number}.x.npy", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        report = index_archive(root)
        assert (report.n_datasets, report.issues) == (n_files, {})
        assert scan_datasets(root).select(pl.col("id").n_unique()).collect().item() == n_files
        assert verify_archive(root).findings.is_empty()
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)
