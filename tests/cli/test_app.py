"""The command line as a whole: help, exit codes, interrupts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run
from trees import SESSION, make_tree

import polars_alf
from polars_alf.native import IMPLEMENTATION


def test_help_and_version() -> None:
    assert "index" in run("--help").stdout
    assert "--hash-files" in run("index", "--help").stdout
    core = {"native": "native core", "python": "Python core"}[IMPLEMENTATION]
    assert run("--version").stdout == f"polars-alf {polars_alf.__version__} ({core})\n"


def test_the_list_of_commands_has_whole_sentences() -> None:
    command = [sys.executable, "-m", "polars_alf", "--help"]
    narrow = os.environ | {"COLUMNS": "80"}
    text = subprocess.run(command, capture_output=True, text=True, env=narrow).stdout
    lines = text.partition("Commands:\n")[2].splitlines()
    assert len(lines) == 21
    for line in lines:
        assert re.fullmatch(r"  [a-z]+ +[A-Z].*[^.]\.", line), line


def test_help_loads_no_feature() -> None:
    code = (
        "import sys\n"
        "from polars_alf.cli.app import app\n"
        "app(['index', '--help'], standalone_mode=False)\n"
        "rooms = ('index', 'prune', 'verify', 'merge', 'bench', 'query', 'cache', 'one')\n"
        "heavy = ['pandas', 'joblib', 'loky', 'dask', 'distributed', 'altair', 'scipy']\n"
        "heavy += ['rich.console', 'pyarrow.compute', *(f'polars_alf.{room}' for room in rooms)]\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_an_index_loads_nothing_that_it_has_no_use_for(archive: Path) -> None:
    code = (
        "import sys\n"
        "from polars_alf.cli.app import app\n"
        f"app(['index', {str(archive)!r}, '--quiet'], standalone_mode=False)\n"
        "heavy = ['numpy', 'pandas', 'pydantic', 'joblib', 'loky', 'dask', 'altair']\n"
        "heavy += ['rich.progress', 'pyarrow.compute', 'polars_alf.query.sql']\n"
        "heavy += ['polars_alf.merge.api']\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "import numpy"  # which others may need later
    )
    for _ in range(2):  # a first index, and one that compares
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="no such name there")
def test_names_reach_a_terminal_that_lacks_them(tmp_path: Path) -> None:
    sessions = {"S/2020-01-01/001": SESSION, "S/2021-13-45/001": SESSION}
    root = make_tree(tmp_path / "dé [x] :cat: 日", sessions)
    result = run("index", root)
    assert f"Archive      {root}\n" in result.stdout
    narrow = os.environ | {"PYTHONIOENCODING": "cp1252"}
    for command in ("index", "issues"):
        result = subprocess.run(
            [sys.executable, "-m", "polars_alf", command, str(root)],
            capture_output=True,
            env=narrow,
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such name there")
def test_json_is_json_on_a_terminal_that_lacks_names(tmp_path: Path) -> None:
    name = "dé 日 \N{GRINNING FACE}"
    root = make_tree(tmp_path / name, {f"{name}/2020-01-01/001": SESSION})
    assert run("index", root, "--quiet").returncode == 0
    for command in (["issues", "--json"], ["info", "--json"]):
        result = subprocess.run(
            [sys.executable, "-m", "polars_alf", *command, str(root)],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )
        values = [json.loads(line) for line in result.stdout.decode("ascii").splitlines()]
        assert command[0] != "issues" or values[0]["path"].startswith(name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_the_old_tables(archive: Path, stop: signal.Signals) -> None:
    run("index", archive)
    before = (archive / "datasets.pqt").read_bytes()
    big = archive / "cortexlab/Subjects/KS001/2020-01-01/001/huge.file.npy"
    with big.open("wb") as file:
        file.truncate(1 << 36)
    process = subprocess.Popen(
        [sys.executable, "-m", "polars_alf", "index", str(archive), "--hash-files"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "Scanning" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(stop)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert (archive / "datasets.pqt").read_bytes() == before


def test_an_interrupt_while_loading_is_told_in_a_line() -> None:
    code = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "polars": os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from polars_alf.__main__ import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "interrupted; nothing was begun\n"
