"""Tables whose paths climb out of the archive lead no command out of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from trees import TWO_LABS, make_tree

from polars_alf import full_path, index_archive, join_sessions, scan_datasets, scan_sessions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace and audit as on Linux")

WATCHED = Path(__file__).with_name("watched.py")
SECRET = "victim/secret.a.npy"
PYTHON = "from polars_alf import *; from polars_alf import cache; import polars as pl; "

BENCH = ("--out", "{out}", "--files", "20", "--threads", "1", "--duration", "0.01")
COMMANDS = (
    ("index", "{archive}", "--hash-files", "--jobs", "1"),
    ("index", "{archive}", "--quick", "--jobs", "1"),
    ("index", "{archive}", "--out", "{out}", "--ids-from", "{archive}", "--jobs", "1"),
    ("verify", "{archive}", "--digest", "--jobs", "1"),
    ("verify", "{archive}", "--digest", "--sample", "100%", "--follow-links", "--jobs", "1"),
    ("prune", "{archive}", "--jobs", "1"),
    ("prune", "{archive}", "--apply", "--yes", "--jobs", "1"),
    ("prune", "{archive}", "--apply", "--yes", "--force", "--jobs", "1"),
    ("merge", "{archive}", "--out", "{out}"),
    ("diff", "{archive}", "{clean}"),
    ("diff", "{clean}", "{archive}"),
    ("info", "{archive}"),
    ("bench", "{archive}", "--read-only", *BENCH),
    ("bench", "{archive}", *BENCH),
    ("sql", "{archive}", "SELECT * FROM datasets"),
    ("issues", "{archive}"),
    ("changes", "{archive}"),
    ("-c", PYTHON + "cache.load_tables('{archive}')"),
    ("-c", PYTHON + "cache.remove_missing_datasets('{archive}', dry=False)"),
    ("-c", PYTHON + "with_alf_parts(scan_datasets('{archive}')).collect()"),
)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Make an archive with hostile tables, clean ones, and what must stay untouched."""
    archive = make_tree(tmp_path / "archive", TWO_LABS)
    make_tree(tmp_path, {SECRET: "secret", "victim/Subjects/KS001/2020-01-01/001/a.b.npy": 1})
    (tmp_path / "out").mkdir()
    index_archive(archive, hash_files=True)
    clean = shutil.copytree(archive, tmp_path / "clean")
    victim = tmp_path / "victim"
    digest = hashlib.md5(b"secret").hexdigest()
    datasets = pl.read_parquet(archive / "datasets.pqt")
    evil = [
        "../" * 6 + SECRET,
        f"{tmp_path}/{SECRET}",
        f"alf/../../../../../../../{SECRET}",
        f"alf/./../../../../../../../{SECRET}",
        f"{tmp_path}/{SECRET}\0.a.b",
        f"\0{tmp_path}/{SECRET}",
    ]
    rows = datasets.head(len(evil)).with_columns(
        id=pl.Series([f"00000000-0000-3000-8000-00000000000{n}" for n in range(len(evil))]),
        rel_path=pl.Series(evil),
        hash=pl.lit(digest),
        file_size=pl.lit(6, pl.UInt64),
    )
    sessions = pl.read_parquet(archive / "sessions.pqt")
    more = sessions.head(3).with_columns(
        id=pl.Series([f"00000000-0000-3000-8000-0000000000a{n}" for n in range(3)]),
        lab=pl.Series(["../victim", str(victim), ".."]),
        subject=pl.Series(["KS001", "../../victim/Subjects/KS001", ".."]),
    )
    pl.concat([datasets, rows]).write_parquet(archive / "datasets.pqt")
    pl.concat([sessions, more]).write_parquet(archive / "sessions.pqt")
    return {"archive": archive, "clean": clean, "out": tmp_path / "out", "victim": victim}


def fill_in(command: tuple[str, ...], places: dict[str, Path]) -> list[str]:
    return [
        argument.format(**{name: str(path) for name, path in places.items()})
        for argument in command
    ]


def all_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


@pytest.mark.thorough
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2])[-40:])
def test_no_command_is_led_out(places: dict[str, Path], command: tuple[str, ...]) -> None:
    check_command(places, command)


@pytest.mark.slow
@pytest.mark.parametrize("command", [COMMANDS[3], COMMANDS[6]], ids=["verify", "prune"])
def test_the_dangerous_commands_are_not_led_out(
    places: dict[str, Path], command: tuple[str, ...]
) -> None:
    check_command(places, command)


def check_command(places: dict[str, Path], command: tuple[str, ...]) -> None:
    log, trace = (places["out"].with_name(name) for name in ("log", "trace"))
    before = all_files(places["victim"])
    arguments = [sys.executable, str(WATCHED), str(log), *fill_in(command, places)]
    if shutil.which("strace"):
        arguments = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file", "-o", str(trace),
                     *arguments]  # fmt: skip
    ended = subprocess.run(arguments, capture_output=True, text=True)
    assert ended.returncode in (0, 1, 3), ended.stderr
    assert "Traceback" not in ended.stderr
    assert log.stat().st_size > 0
    assert not list(deeds(log, "victim"))
    assert not list(deeds(trace, "victim"))
    assert all_files(places["victim"]) == before


def deeds(log: Path, word: str) -> Iterator[str]:
    """Yield the lines of a log that have a word, but for the command itself."""
    if log.exists():
        for line in log.read_text(errors="replace").splitlines():
            if word in line and " execve(" not in line:
                yield line


@pytest.mark.slow
def test_the_watch_sees_what_it_should(places: dict[str, Path]) -> None:
    log = places["out"].with_name("log")
    script = f"open({str(places['victim'] / 'secret.a.npy')!r}).read()"
    subprocess.run([sys.executable, str(WATCHED), str(log), "-c", script], check=True)
    assert list(deeds(log, "victim"))


def test_a_full_path_lies_in_its_session(places: dict[str, Path]) -> None:
    archive = places["archive"]
    datasets = join_sessions(scan_datasets(archive), scan_sessions(archive))
    paths = datasets.select("rel_path", full_path(archive)).collect()
    assert len(paths) == 18
    assert paths["full_path"].null_count() == 6
    for path in paths["full_path"].drop_nulls():
        assert os.path.normpath(path) == path
        assert path.startswith(f"{archive}/")


@pytest.mark.parametrize("part", ["../x", "/x", "a/b", "..", ".", "a\0b"])
@pytest.mark.parametrize("column", ["lab", "subject"])
def test_a_full_path_takes_names_only(places: dict[str, Path], column: str, part: str) -> None:
    archive = places["clean"]
    sessions = scan_sessions(archive).with_columns(pl.lit(part).alias(column))
    paths = join_sessions(scan_datasets(archive), sessions).select(full_path(archive)).collect()
    assert paths["full_path"].null_count() == len(paths) == 12
