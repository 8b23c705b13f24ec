"""Options of the walk mean the same in a comparison with tables as in an index."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import slow_storage
from polars.testing import assert_frame_equal
from trees import SESSION, Link, make_tree
from verified import KS001, KS002, PROBE, SPIKES, TRIALS, find

from polars_alf import index_archive, verify_archive
from polars_alf.walk.walk import Walk

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"executor": "threads"}, {"executor": "processes"}, {"threads": 4}, {"op_timeout": 60}],
    ids=str,
)
@pytest.mark.parametrize("sample", [None, 0.8])
def test_the_findings_are_those_of_a_serial_walk(
    archive: Path,
    tables: Path,
    options: dict[str, object],
    sample: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(Walk.plan_shards.__kwdefaults__, "least", 1)
    (archive / KS001 / SPIKES).unlink()
    (archive / KS001 / TRIALS).write_bytes(bytes(12))
    (archive / KS002 / PROBE).write_bytes(b"x" * 30)
    make_tree(archive, {f"{KS002}/alf/new.times.npy": 3})
    counted = []
    found = verify_archive(
        archive, tables, digest=True, sample=sample, jobs=2, progress=counted.append, **options
    )  # type: ignore[arg-type]
    serial = verify_archive(
        archive, tables, digest=True, sample=sample, executor="serial", threads=1
    )
    assert sample or len(found.findings) == 4
    assert_frame_equal(found.findings, serial.findings)
    assert (found.n_checked, found.n_digested) == (serial.n_checked, serial.n_digested)
    assert counted[-1].n_bytes > 0


@posix_only
def test_links_are_followed_as_by_an_index(archive: Path, tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"alf/a.b.c": 1, "S/2020-01-01/001": SESSION})
    make_tree(
        archive,
        {
            f"{KS001}/linked": Link(str(outside / "alf")),
            f"{KS001}/up": Link("."),
            "cortexlab/Subjects/S": Link(str(outside / "S")),
        },
    )
    index_archive(archive, follow_links=True, hash_files=True)
    for executor in ("serial", "threads", "processes"):
        assert find(archive, archive, follow_links=True, digest=True, executor=executor) == set()
    (outside / "alf/a.b.c").unlink()
    assert find(archive, archive, follow_links=True) == {("missing", f"{KS001}/linked/a.b.c")}
    # Where links are not followed, nothing behind them is known to be missing.
    assert {kind for kind, _ in find(archive, archive)} == {"unreadable"}


# Storage that hangs


@pytest.fixture
def hanging(tables: Path, twins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let directories called ``probe00`` and ``KS002`` hang until the end of the test."""
    end = threading.Event()
    real = os.open

    def hold(path: str, *args: int, **options: int) -> int:
        if os.path.basename(path) in ("probe00", "KS002"):
            end.wait()
        return real(path, *args, **options)

    monkeypatch.setattr("polars_alf.native.twin.os.open", hold)
    yield
    end.set()


@posix_only
@pytest.mark.usefixtures("hanging")
@pytest.mark.parametrize("sample", [None, 1.0])
def test_what_does_not_answer_is_not_missing(
    archive: Path, tables: Path, sample: float | None
) -> None:
    found = verify_archive(archive, tables, op_timeout=0.3, sample=sample)
    sessions = [KS001, KS001.replace("/001", "/002"), KS001.replace("cortexlab", "wittenlab")]
    folders = [f"{session}/alf/probe00" for session in sessions]
    expected = {
        *folders,
        *(f"{session}/{PROBE}" for session in sessions),
        *(f"{KS002}/{name}" for name in (SPIKES, TRIALS, PROBE)),
        KS002.removesuffix("/2020-02-29/001"),
    }
    expected |= {KS002} if sample is None else set()
    assert set(found.findings.select("kind", "path").rows()) == {
        ("unreadable", path) for path in expected
    }
    note = found.findings.filter(path=folders[0])["message"].item()
    assert note.startswith("did not answer within 0.3 s")
    note = found.findings.filter(path=f"{KS001}/{PROBE}")["message"].item()
    assert note == f"it may be in {folders[0]}, which was not read"


VERIFY = """
import sys
from polars_alf import verify_archive
found = verify_archive(sys.argv[1], sys.argv[2], op_timeout=1, executor=sys.argv[3], jobs=2)
print(*map(" ".join, found.findings.select("kind", "path").rows()), sep="\\n")
"""


@pytest.mark.thorough
@pytest.mark.skipif(
    slow_storage.find_obstacle() is not None, reason=str(slow_storage.find_obstacle())
)
@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_session_that_hangs_in_all_calls(
    archive: Path, tables: Path, tmp_path: Path, executor: str
) -> None:
    (archive / KS001 / SPIKES).unlink()
    library = slow_storage.build_library(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", VERIFY, str(archive), str(tables), executor],
        env=os.environ | slow_storage.hang(library, archive / KS002),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert f"missing {KS001}/{SPIKES}" in lines
    lines.remove(f"missing {KS001}/{SPIKES}")
    assert lines
    assert all(line.startswith("unreadable ") and "KS002" in line for line in lines)
    assert {f"unreadable {KS002}/{name}" for name in (SPIKES, TRIALS, PROBE)} <= set(lines)
