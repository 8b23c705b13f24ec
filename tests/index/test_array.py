"""A job array: parts in processes of their own, and the tables that are made of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from indexes import assert_equal, index_undisturbed, read_tables
from trees import SESSION, check_state, make_tree
from tuning import SMALL_SHARDS, tune

from polars_alf import PartReport, errors, index_archive, index_part, merge_tables
from polars_alf.index import array

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")

PART = f"""
{SMALL_SHARDS}
import sys, time
from pathlib import Path
from polars_alf.__main__ import main
from polars_alf.index import shard
real, hold = shard.IndexShard.__call__, Path(sys.argv.pop(1))
def held(self, walker, own):
    result = real(self, walker, own)
    (hold.parent / f"{{hold.name}}-reached").touch()
    while hold.exists():
        time.sleep(0.01)
    return result
shard.IndexShard.__call__ = held
sys.argv[0] = "polars-alf"
main()
"""
"""The command, which waits after each shard as long as there is a file."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Make an archive of twelve dates."""
    dates = [f"S{n}/2020-01-{day:02}/001" for n in range(3) for day in range(1, 5)]
    return make_tree(tmp_path / "large", dict.fromkeys(dates, SESSION))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch, least_folders=1)


@pytest.fixture
def start(
    large: Path, out_dir: Path, tmp_path: Path
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Give a function that starts a part; those that still run at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start_part(shard: str) -> subprocess.Popen[str]:
        hold = tmp_path / f"hold-{shard.partition('/')[0]}"
        command = [sys.executable, "-c", PART, str(hold), "index", str(large)]
        options = ["--out", str(out_dir), "--namespace", "test", "--executor", "serial"]
        process = subprocess.Popen(
            [*command, *options, "--shard", shard], stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start_part
    for process in started:
        process.kill()
        process.wait()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.01)


@pytest.mark.slow
@posix_only
def test_four_parts_at_once_of_which_one_is_killed_and_repeated(
    large: Path,
    out_dir: Path,
    tmp_path: Path,
    start: Callable[[str], subprocess.Popen[str]],
    small_shards: None,
) -> None:
    (tmp_path / "hold-3").touch()
    parts = {n: start(f"{n}/4") for n in (1, 2, 3, 4)}
    for n in (1, 2, 4):
        _, message = parts[n].communicate(timeout=120)
        assert parts[n].returncode == 0, message
    _wait_for(tmp_path / "hold-3-reached")
    for run in (
        lambda: index_archive(large, out_dir, namespace="test", assemble=True),
        lambda: index_archive(large, out_dir, namespace="test"),
        lambda: index_part(large, out_dir, namespace="test", shard="3/4"),
    ):
        with pytest.raises(errors.ArchiveBusyError, match=rf"part 3 .* process {parts[3].pid} on"):
            run()
    os.kill(parts[3].pid, signal.SIGKILL)
    parts[3].communicate()
    (tmp_path / "hold-3").unlink()
    with pytest.raises(errors.MissingPartsError, match="part 3 lacks 2 of 3 shards") as caught:
        index_archive(large, out_dir, namespace="test", assemble=True)
    assert caught.value.parts == (3,)
    assert "--shard 3/4" in str(caught.value)
    assert not (out_dir / "sessions.pqt").exists()
    report = index_part(large, out_dir, namespace="test", shard="3/4")
    assert (report.n_shards, report.n_resumed, report.n_incomplete) == (3, 1, 0)
    report = index_part(large, out_dir, namespace="test", shard="1/4")
    assert (report.n_shards, report.n_resumed) == (3, 3), "a part that is repeated does no harm"
    found = index_archive(large, out_dir, namespace="test", assemble=True)
    assert (found.n_shards, found.n_resumed, found.n_other_files) == (12, 12, 12)
    assert_equal(read_tables(out_dir), index_undisturbed(large, tmp_path))
    check_state(out_dir)


def test_a_part_that_has_not_begun_is_named(large: Path, out_dir: Path, small_shards: None) -> None:
    with pytest.raises(errors.MissingPartsError, match="no part has begun"):
        index_archive(large, out_dir, assemble=True)
    index_part(large, out_dir, shard="2/3")
    with pytest.raises(errors.MissingPartsError, match=r"2 of 3 .* part 1 has not begun") as caught:
        index_archive(large, out_dir, assemble=True)
    assert caught.value.parts == (1, 3)
    with pytest.raises(errors.MissingPartsError, match="no part has begun with these options"):
        index_archive(large, out_dir, assemble=True, exclude="alf")


def test_the_first_index_of_an_array_gives_all_parts_one_namespace(
    large: Path, out_dir: Path, tmp_path: Path, small_shards: None
) -> None:
    for part in (1, 2):
        index_part(large, out_dir, shard=f"{part}/2", hash_files=True)
    first = index_archive(large, out_dir, assemble=True, hash_files=True)
    before = read_tables(out_dir)
    assert "" not in before[1]["hash"].to_list()
    make_tree(large, {"S9/2021-01-01/001": SESSION})
    for part in (2, 1):
        assert index_part(large, out_dir, shard=f"{part}/2").n_resumed == 0
    second = index_archive(large, out_dir, assemble=True)
    assert second.namespace == first.namespace
    assert second.changes is not None
    assert (second.changes["added"], second.changes["changed"]) == (3, 0)
    kept = read_tables(out_dir)[1]
    assert kept["hash"].to_list().count("") == 3, "digests of files that did not change are kept"
    assert {*before[1]["id"]} < {*kept["id"]}


def test_an_index_goes_on_where_an_array_ended(
    large: Path, out_dir: Path, tmp_path: Path, small_shards: None
) -> None:
    index_part(large, out_dir, shard="2/3", namespace="test")
    report = index_archive(large, out_dir, namespace="test")
    assert (report.n_shards, report.n_resumed) == (12, 4)
    assert_equal(read_tables(out_dir), index_undisturbed(large, tmp_path))
    check_state(out_dir)


def test_an_array_may_get_another_number_of_parts(
    large: Path, out_dir: Path, tmp_path: Path, small_shards: None
) -> None:
    index_part(large, out_dir, shard="2/3", namespace="test")
    for part in (1, 2):
        index_part(large, out_dir, shard=f"{part}/2", namespace="test")
    assert index_archive(large, out_dir, namespace="test", assemble=True).n_shards == 12
    assert_equal(read_tables(out_dir), index_undisturbed(large, tmp_path))


@pytest.mark.slow
@posix_only
def test_the_scripts_of_the_docs(large: Path, out_dir: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/clusters.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```sh\n")[1:]]
    for word in ("--shard", "--assemble"):
        (script,) = (block for block in blocks if word in block)
        script = script.replace("/data/archive", str(large)).replace("/data/tables", str(out_dir))
        for part in (1, 2) if word == "--shard" else (1,):
            subprocess.run(
                ["sh", "-e", "-c", script],
                check=True,
                env={
                    **os.environ,
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "SLURM_ARRAY_TASK_ID": str(part),
                    "SLURM_ARRAY_TASK_COUNT": "2",
                },
            )
    assert len(read_tables(out_dir)[1]) == 36


@posix_only
def test_what_could_not_be_read_is_an_issue_or_read_by_a_repeat(
    large: Path,
    out_dir: Path,
    tmp_path: Path,
    small_shards: None,
    unprivileged: Callable[[], None],
) -> None:
    def index_parts(folder: Path) -> list[PartReport]:
        return [index_part(large, folder, shard=f"{n}/2", namespace="test") for n in (1, 2)]

    user, collection = os.geteuid(), large / "S1/2020-01-02/001/alf"
    again = tmp_path / "again"
    again.mkdir()
    collection.chmod(0)
    out_dir.chmod(0o777)
    again.chmod(0o777)
    unprivileged()
    for folder in (out_dir, again):
        assert sorted(report.n_incomplete for report in index_parts(folder)) == [0, 1]
    report = index_archive(large, out_dir, namespace="test", assemble=True)
    assert report.issues == {"unreadable_directory": 1}
    assert report.n_datasets == 12 * 3 - 2
    os.seteuid(user)
    collection.chmod(0o755)
    reports = index_parts(again)
    assert sorted(report.n_shards - report.n_resumed for report in reports) == [0, 1]
    assert index_archive(large, again, namespace="test", assemble=True).issues == {}
    assert_equal(read_tables(again), index_undisturbed(large, tmp_path))


def test_a_part_begins_anew_if_asked(large: Path, out_dir: Path, small_shards: None) -> None:
    assert index_part(large, out_dir, shard="1/2").n_resumed == 0
    assert index_part(large, out_dir, shard="1/2", restart=True).n_resumed == 0
    assert index_part(large, out_dir, shard="1/2").n_resumed == 6


def test_a_part_waits_for_one_that_plans(
    large: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array, "PATIENCE_SECONDS", 0.0)
    from polars_alf.tables.transaction import locked_state

    with locked_state(out_dir), pytest.raises(errors.ArchiveBusyError):
        index_part(large, out_dir, shard="1/2")


def test_an_array_is_gone_when_its_tables_are_replaced(
    large: Path, archive: Path, out_dir: Path, tmp_path: Path
) -> None:
    index_part(large, out_dir, shard="1/1")
    other = tmp_path / "other"
    other.mkdir()
    index_archive(archive, other)
    merge_tables([other], out_dir)
    with pytest.raises(errors.MissingPartsError, match="no part has begun"):
        index_archive(large, out_dir, assemble=True, max_removed=1.0)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "a/b", "", 3])
def test_a_shard_must_be_a_part(large: Path, out_dir: Path, shard: str) -> None:
    with pytest.raises(errors.OptionError, match="give I/N with I from 1 to N"):
        index_part(large, out_dir, shard=shard)


def test_options_that_contradict_a_part(large: Path, out_dir: Path) -> None:
    with pytest.raises(errors.OptionError, match="leave out"):
        index_part(large, out_dir, shard="1/2", assemble=True)
    with pytest.raises(errors.OptionError, match="leave out"):
        index_archive(large, out_dir, restart=True, assemble=True)
