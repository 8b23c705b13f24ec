"""Names of files under locales that are not UTF-8: what they are on disk, or a refusal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import polars as pl
import pytest
from amount import count_examples
from hypothesis import example, given, settings
from locales import ASCII, make_locale, run_command, run_python
from polars.testing import assert_frame_equal
from removals import files_of
from trees import Tree, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.alf.encoding import check_encoding
from polars_alf.display import describe_size
from polars_alf.tables.files import scan_issues

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names are UTF-8 there")

NAMESPACE = uuid.UUID("12345678-1234-5678-1234-567812345678")
SESSION = "lab/Subjects/{}/2021-01-01/001"

ODD_NAMES: Tree = {
    SESSION.format("t"): {
        "spikes.times.npy": "plain",
        "é/spikes.times.npy": "not ASCII",
        "日本—語/spikes.times.npy": "of three bytes",
        "ümlaut/spikes.times.npy": "excluded",
        b"caf\xe9/spikes.times.npy": "not UTF-8",
        b"spikes.\xff.npy": "not UTF-8 either",
    },
    SESSION.format("sé"): {"spikes.times.npy": "a subject"},
    os.fsdecode(SESSION.encode().replace(b"{}", b"s\xe9")): {"spikes.times.npy": "another"},
}


@pytest.fixture(scope="module", params=["ascii", "iso8859-1"])
def locale(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Give the variables of a locale."""
    variables = make_locale(request.param, tmp_path_factory.mktemp("locales"))
    seen = run_python(variables, "-c", "import sys; print(sys.getfilesystemencoding())")
    assert seen.stdout.decode().strip() == request.param
    return variables


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make an archive of odd names, in a folder with one."""
    return make_tree(tmp_path / "archivé", ODD_NAMES)


def check_equal(folder: Path, expected: Path) -> None:
    """Check that tables and issues are equal."""
    for name in ("sessions", "datasets"):
        assert_frame_equal(*(pl.read_parquet(path / f"{name}.pqt") for path in (folder, expected)))
    issues = (scan_issues(path).collect() for path in (folder, expected))
    assert_frame_equal(*issues, check_row_order=False)


@pytest.mark.slow
def test_commands_see_the_names_that_are_there(
    root: Path, out_dir: Path, locale: dict[str, str]
) -> None:
    expected = out_dir.with_name("expected")
    expected.mkdir()
    index_archive(root, expected, namespace=NAMESPACE, exclude=["ümlaut/"])
    arguments = ("--namespace", NAMESPACE, "--exclude", "ümlaut/", "--quiet")
    indexed = run_command(locale, "index", root, "--out", out_dir, *arguments)
    assert (indexed.returncode, indexed.stderr) == (0, b"")
    check_equal(out_dir, expected)
    assert pl.read_parquet(out_dir / "sessions.pqt")["subject"].sort().to_list() == ["sé", "t"]
    assert set(pl.read_parquet(out_dir / "datasets.pqt")["rel_path"]) == {
        "spikes.times.npy",
        "é/spikes.times.npy",
        "日本—語/spikes.times.npy",
    }


RUN_ALL = """
import itertools, sys
from polars_alf.alf.encoding import restart_in_utf8
restart_in_utf8()
from polars_alf.cli.app import app
for is_end, command in itertools.groupby(sys.argv[1:], ";".__eq__):
    assert is_end or not app([*command], standalone_mode=False)
"""


@pytest.mark.slow
def test_commands_that_read_and_write_names(
    root: Path, tmp_path: Path, locale: dict[str, str]
) -> None:
    index_archive(root, exclude=["ümlaut/"])
    before = files_of(root)
    answer = tmp_path / "réponse—.csv"
    query = "SELECT rel_path FROM datasets WHERE rel_path LIKE 'é%'"
    commands = (
        ("issues", root, "--json"),
        ("sql", root, query, "--format", "csv"),
        ("sql", root, query, "--out", answer),
        ("verify", root, "--exclude", "ümlaut/", "--quiet"),
        ("prune", root, "--exclude", "ümlaut/", "--apply", "--yes", "--quiet"),
    )
    ran = run_python(locale, "-c", RUN_ALL, *(part for parts in commands for part in (*parts, ";")))
    size = describe_size(answer.stat().st_size)
    told = f"the answer is in {answer} ({size})\n"
    assert (ran.returncode, ran.stderr.decode()) == (0, told)
    lines = ran.stdout.decode().splitlines()
    paths = {json.loads(line)["path"] for line in lines if line.startswith("{")}
    assert {f"{SESSION.format('t')}/caf\\xe9", "lab/Subjects/s\\xe9"} <= paths
    assert lines[-2:] == ["rel_path", "é/spikes.times.npy"]
    assert answer.read_text(encoding="utf-8").splitlines() == lines[-2:]
    assert files_of(root) == before


@pytest.mark.slow
def test_calls_in_a_process_that_decodes_otherwise_are_refused(
    root: Path, tmp_path: Path, locale: dict[str, str]
) -> None:
    index_archive(root)
    before = files_of(root), (root / "datasets.pqt").read_bytes()
    code = """
import sys
import polars_alf
from polars_alf import cache
from polars_alf.errors import EncodingError
root, = sys.argv[1:]
for call in (
    lambda: polars_alf.index_archive(root),
    lambda: polars_alf.scan_archive(root),
    lambda: polars_alf.verify_archive(root),
    lambda: polars_alf.verify_archive(root, op_timeout=10),
    lambda: polars_alf.plan_removals(root),
    lambda: polars_alf.apply_removals(root, None),
    lambda: polars_alf.merge_tables([root], root),
    lambda: polars_alf.scan_datasets(root),
    lambda: polars_alf.bench_storage(root),
    lambda: polars_alf.bench_storage(root, read_only=True),
    lambda: cache.make_parquet_db(root),
    lambda: cache._make_datasets_df(root),
    lambda: cache.remove_missing_datasets(root, dry=False),
):
    try:
        call()
    except EncodingError as error:
        assert isinstance(error, UnicodeError)
        print(error)
"""
    refused = run_python(locale, "-c", code, root)
    assert refused.returncode == 0, refused.stderr.decode()
    lines = refused.stdout.decode().splitlines()
    assert len(lines) == 13
    (line,) = set(lines)
    assert "tables hold UTF-8" in line
    assert line.endswith("start it with PYTHONUTF8=1 or -X utf8, or under LC_ALL=C.UTF-8")
    assert (files_of(root), (root / "datasets.pqt").read_bytes()) == before


@pytest.mark.parametrize(
    ("variables", "options"),
    [({"PYTHONUTF8": "1"}, []), ({}, ["-X", "utf8"]), ({"LC_ALL": "C.UTF-8"}, [])],
    ids=["PYTHONUTF8", "-X", "LC_ALL"],
)
def test_each_cure_works(
    locale: dict[str, str], variables: dict[str, str], options: list[str]
) -> None:
    code = "from polars_alf.alf.encoding import check_encoding; check_encoding()"
    assert run_python(locale | variables, *options, "-c", code).returncode == 0
    assert run_python(locale, "-c", code).returncode == 1


def test_this_process_decodes_utf8() -> None:
    check_encoding()


RESTARTED = (
    "import os, sys; from polars_alf.alf.encoding import restart_in_utf8; restart_in_utf8(); "
    "print(sys.getfilesystemencoding(), os.getpid(), os.environ['PYTHONUTF8'], "
    "[os.fsencode(argument) for argument in sys.argv[1:]], sys.flags.optimize)"
)


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "euc_jp"])
def test_a_restart_keeps_the_process_and_its_arguments(tmp_path: Path, encoding: str) -> None:
    locale = make_locale(encoding, tmp_path)
    # Some are no text to Python's codec of EUC-JP, but to the C library's.
    arguments = ["é日本語—".encode(), b"\xff\x92", b"--caf\xe9", b"", b"a b", b"\xa1\xc0"]
    with subprocess.Popen(
        [os.fsencode(sys.executable), b"-O", b"-c", RESTARTED.encode(), *arguments],
        env=os.environ | locale,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode().strip()
    assert said == f"utf-8 {process.pid} 1 {arguments} 1"


def test_workers_decode_names_as_their_caller_does() -> None:
    code = """
from polars_alf.alf.encoding import decodes_utf8
from polars_alf.parallel.executors import open_processes
assert decodes_utf8()
with open_processes(1, "polars_alf.alf.encoding") as pool:
    assert pool.submit(decodes_utf8).result()
"""
    assert run_python(ASCII, "-X", "utf8", "-c", code).returncode == 0


def test_what_cannot_be_restarted_is_refused(root: Path) -> None:
    code = "from polars_alf.__main__ import main; main()"
    from_stdin = run_python(ASCII, "-", "index", root, stdin=code)
    without_file = run_python(
        ASCII, "-c", f"import sys; sys.executable = ''; {code}", "index", root
    )
    for refused in (from_stdin, without_file):
        assert (refused.returncode, refused.stdout) == (1, b"")
        assert refused.stderr.startswith(b"error: this Python decodes the names of files as ")
        assert b"PYTHONUTF8=1" in refused.stderr
    assert not list(root.glob("*.pqt"))


def test_an_option_that_hides_the_variable(root: Path, tmp_path: Path) -> None:
    latin1 = make_locale("iso8859-1", tmp_path)
    command = ("-E", "-m", "polars_alf", "index", root, "--quiet")
    refused = run_python(latin1 | {"PYTHONUTF8": "1"}, *command)
    assert refused.returncode == 1
    assert b"iso8859-1" in refused.stderr
    assert run_python(latin1, *command).returncode == 0


def test_an_interrupt_reaches_a_restarted_command(root: Path) -> None:
    with (root / SESSION.format("t") / "huge.file.npy").open("wb") as file:
        file.truncate(1 << 36)
    with subprocess.Popen(
        [sys.executable, "-m", "polars_alf", "index", str(root), "--hash-files"],
        env=os.environ | ASCII,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "Scanning" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


names = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.text("aé日ÿ—", min_size=1, max_size=2).map(str.encode),
    st.sampled_from([b"\xe9", b"\xc3", b"\xff", "é".encode("euc_jp", "replace"), b"a\n"]),
).filter(lambda name: not {b"/", b"\0"} & {bytes([byte]) for byte in name} and name.strip(b"."))

files = st.lists(
    st.tuples(st.sampled_from([b"t", "sé".encode(), b"s\xe9"]), names, names), max_size=20
)


def make_archive(folder: Path, paths: list[tuple[bytes, bytes, bytes]]) -> Path:
    tree: Tree = {b"lab/Subjects/%s/2021-01-01/001/%s/%s.times.npy" % parts: "x" for parts in paths}
    return make_tree(folder / "archive", tree)


def index_quietly(root: Path, folder: Path) -> None:
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        index_archive(root, folder, namespace=NAMESPACE)


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(files)
@example([(b"t", bytes([byte]), bytes([byte])) for byte in range(1, 256) if byte not in b"./"])
def test_any_names_are_indexed_alike(paths: list[tuple[bytes, bytes, bytes]]) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = make_archive(folder, paths)
        index_quietly(root, folder / "expected")
        (folder / "tables").mkdir()
        arguments = ("--out", folder / "tables", "--namespace", NAMESPACE, "--quiet")
        assert run_command(ASCII, "index", root, *arguments).returncode == 0
        check_equal(folder / "tables", folder / "expected")


@settings(max_examples=count_examples(25), deadline=None)
@given(files)
def test_what_was_indexed_is_never_pruned_whatever_its_name(
    paths: list[tuple[bytes, bytes, bytes]],
) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # One session that is in the tables: prune refuses tables of nothing.
        root = make_archive(folder, [(b"t", b"alf", b"spikes"), *paths])
        index_quietly(root, folder / "tables")
        before = files_of(root)
        plan = plan_removals(root, folder / "tables")
        assert plan.is_empty()
        apply_removals(root, plan, folder / "tables")
        assert files_of(root) == before
