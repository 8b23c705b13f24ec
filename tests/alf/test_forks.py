"""Processes that are forked before and after Polars has run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks as on Linux")

FORKING = """
import multiprocessing, sys, warnings
import polars_alf as alf
from polars_alf.errors import ForkError
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forks beside threads

root, begun, how = sys.argv[1:]

def act(name):
    try:
        if name == "index":
            return alf.index_archive(root).n_datasets
        if name == "scan":
            return alf.scan_archive(root).collect().height
        return alf.scan_datasets(root).collect().height
    except ForkError as error:
        return f"refused: {error}"

if __name__ == "__main__":
    if begun == "used":
        act("index")
    with multiprocessing.get_context(how).Pool(1) as pool:
        print(*pool.map_async(act, ["index", "scan", "tables"]).get(60), sep="\\n")
    if begun == "used":
        print(act("scan"), "in the first process")
"""


def fork(archive: Path, tmp_path: Path, begun: str, how: str) -> list[str]:
    """Run three calls in a new process, and return what each gave."""
    script = tmp_path / "forking.py"
    script.write_text(FORKING)
    command = [sys.executable, str(script), str(archive), begun, how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_a_process_that_is_forked_after_polars_has_run_is_refused(
    archive: Path, tmp_path: Path
) -> None:
    *forked, first = fork(archive, tmp_path, "used", "fork")
    assert len(forked) == 3
    for outcome in forked:
        assert outcome.startswith("refused: the process ")
        assert "get_context('spawn')" in outcome
    assert first == "12 in the first process", "nothing changes for that"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begun", "how"), [("loaded", "fork"), ("used", "spawn"), ("used", "forkserver")]
)
def test_other_processes_work(archive: Path, tmp_path: Path, begun: str, how: str) -> None:
    assert fork(archive, tmp_path, begun, how)[:3] == ["12", "12", "12"]
