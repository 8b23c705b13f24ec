"""What would go from the tables is counted, and refused where it is much."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from indexes import read_folder, read_tables
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import errors, index_archive
from polars_alf.index.guard import FEW, choose_share, is_refused
from polars_alf.index.removals import LostLab, Removals
from polars_alf.tables import files
from polars_alf.walk import walk, walker

LIMITS = st.none() | st.integers(0, 60) | st.floats(0, 1)


@st.composite
def removals(draw: st.DrawFn) -> Removals:
    """Draw figures that do not contradict each other."""
    n_sessions_before, n_datasets_before = draw(st.integers(0, 30)), draw(st.integers(0, 50))
    n_sessions = draw(st.integers(0, n_sessions_before))
    n_datasets = draw(st.integers(0, n_datasets_before))
    is_all = n_sessions == n_sessions_before > 0 or n_datasets == n_datasets_before > 0
    lab = LostLab("lab", n_sessions, n_datasets, is_empty=draw(st.booleans()))
    return Removals(
        n_sessions=n_sessions,
        n_sessions_before=n_sessions_before,
        n_datasets=n_datasets,
        n_datasets_before=n_datasets_before,
        is_emptied=is_all and draw(st.booleans()),
        labs=(lab,) if n_sessions and draw(st.booleans()) else (),
    )


@given(removals(), LIMITS)
def test_a_limit_is_kept(figures: Removals, limit: float | None) -> None:
    refused = is_refused(figures, limit)
    n, before = figures.n_datasets, figures.n_datasets_before
    if not n and not figures.n_sessions:
        assert not refused
    if figures.is_emptied and limit is None:
        assert refused
    if isinstance(limit, int) and n > limit:
        assert refused
    if isinstance(limit, float) and before and n / before > limit:
        assert refused
    if limit is None and n > FEW and 2 * n > before:
        assert refused
    if limit is None and any(lab.is_empty for lab in figures.labs):
        assert refused
    if limit is None and n <= FEW and not figures.labs and not figures.is_emptied:
        assert not refused


@given(removals(), st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_more_is_allowed_where_the_limit_is_higher(
    figures: Removals, counts: tuple[int, int]
) -> None:
    low, high = sorted(counts)
    assert is_refused(figures, low) >= is_refused(figures, high)
    assert is_refused(figures, low / 60) >= is_refused(figures, high / 60)
    assert not is_refused(figures, 1.0)


@given(removals())
def test_the_share_that_a_message_names_is_enough(figures: Removals) -> None:
    assert not is_refused(figures, choose_share(figures) / 100)


def _refuse(*arguments: Any, **options: Any) -> errors.MassRemovalError:
    with pytest.raises(errors.MassRemovalError) as caught:
        index_archive(*arguments, **options)
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"quick": True}, {"restart": True}, {"jobs": 2}])
def test_an_archive_that_is_empty_keeps_its_tables(
    archive: Path, out_dir: Path, options: dict[str, Any]
) -> None:
    index_archive(archive, out_dir)
    before = read_folder(out_dir)
    archive.rename(archive.with_name("elsewhere"))
    archive.mkdir()
    error = _refuse(archive, out_dir, **options)
    assert isinstance(error, RuntimeError)
    assert (error.n_removed, error.n_before) == (12, 12)
    assert (error.n_removed_sessions, error.n_sessions_before) == (4, 4)
    assert set(error.labs) == {"cortexlab", "wittenlab"}
    assert "cortexlab/Subjects/KS001/2020-01-01/001" in error.examples
    assert read_folder(out_dir) == before
    with pytest.warns(errors.NoSessionsWarning):
        report = index_archive(archive, out_dir, max_removed=1.0, **options)
    assert (report.n_removed_sessions, report.n_removed_datasets) == (4, 12)


@pytest.mark.parametrize("options", [{}, {"quick": True}])
def test_a_lab_that_is_empty_keeps_its_rows(
    archive: Path, out_dir: Path, options: dict[str, Any]
) -> None:
    index_archive(archive, out_dir)
    before = read_folder(out_dir)
    (archive / "wittenlab/Subjects").rename(archive / "away")
    error = _refuse(archive, out_dir, exclude="away/", **options)
    assert (error.n_removed, error.n_before, error.labs) == (3, 12, ("wittenlab",))
    assert error.examples == ("wittenlab/Subjects/KS001/2020-01-01/001",)
    assert read_folder(out_dir) == before
    (archive / "away").rename(archive / "wittenlab/Subjects")
    report = index_archive(archive, out_dir, **options)
    assert (report.n_datasets, report.n_removed_datasets) == (12, 0)


def test_folders_of_no_date_are_no_sessions(archive: Path) -> None:
    make_tree(archive, {"wittenlab/Subjects/KS001/2021-13-45/001": SESSION})
    index_archive(archive)
    shutil.rmtree(archive / "wittenlab/Subjects/KS001/2020-01-01")
    assert _refuse(archive).labs == ("wittenlab",)


def test_sessions_deep_in_a_folder_of_a_date_are_still_there(tmp_path: Path) -> None:
    copied = {f"backup/2020-01-01/lab/Subjects/S/2019-01-0{n}/001": SESSION for n in range(1, 8)}
    named = {"lab/Subjects/2020-01-01/2020-02-02/001": SESSION}
    root = make_tree(tmp_path / "archive", copied | named | {"T/2020-03-03/001": SESSION})
    index_archive(root)
    shutil.rmtree(root / "T")
    report = index_archive(root)
    assert (report.n_removed_sessions, report.n_removed_datasets) == (1, 3)


@pytest.mark.slow
def test_a_message_names_what_goes_and_a_cure_that_works(archive: Path) -> None:
    assert run("index", archive, "--quiet").returncode == 0
    shutil.rmtree(archive / "wittenlab")
    result = run("index", archive, "--strict", "--json")
    assert (result.returncode, result.stdout) == (1, "")
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: 3 of 12 datasets and 1 of 4 sessions would be removed")
    assert "the lab wittenlab, for example wittenlab/Subjects/KS001/2020-01-01/001" in line
    (limit,) = re.findall(r"--max-removed (\S+)", line)
    result = run("index", archive, "--json", "--max-removed", limit)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["n_removed_sessions"], report["n_removed_datasets"]) == (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "is_allowed"),
    [("2", False), ("3", True), ("25%", True), ("0.24", False), ("1", False), ("1.0", True)],
)
def test_a_count_or_a_share_on_the_command_line(
    archive: Path, value: str, *, is_allowed: bool
) -> None:
    index_archive(archive)
    shutil.rmtree(archive / "wittenlab")
    result = run("index", archive, "--max-removed", value)
    assert result.returncode == (0 if is_allowed else 1), result.stderr
    assert ("Removed      1 session, 3 datasets" in result.stdout) == is_allowed


@pytest.mark.parametrize("value", ["-1", "101%", "1.5", "half", "", "nan"])
def test_a_limit_that_makes_no_sense_on_the_command_line(archive: Path, value: str) -> None:
    result = run("index", archive, f"--max-removed={value}")
    assert result.returncode == 2
    assert "--max-removed" in result.stderr


@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), True, "10%"])
def test_a_limit_that_makes_no_sense(archive: Path, value: Any) -> None:
    with pytest.raises(errors.OptionError, match="max_removed"):
        index_archive(archive, max_removed=value)


def test_patterns_that_leave_nothing_are_refused(archive: Path) -> None:
    index_archive(archive)
    before = read_tables(archive)
    for pattern in ("*", "*.*", "Subjects/", "KS*"):
        error = _refuse(archive, exclude=pattern)
        assert (error.n_removed, error.n_before) == (12, 12)
    assert all(a.equals(b) for a, b in zip(before, read_tables(archive), strict=True))


@pytest.mark.filterwarnings("ignore::polars_alf.errors.TableWarning")
def test_a_part_does_not_replace_the_whole(archive: Path, out_dir: Path) -> None:
    index_archive(archive / "cortexlab", out_dir)
    assert index_archive(archive, out_dir).n_removed_sessions == 0
    before = read_folder(out_dir)
    error = _refuse(archive / "cortexlab", out_dir)
    assert error.labs == ("wittenlab",)
    assert str(archive) in str(error)
    assert read_folder(out_dir) == before


def test_an_archive_that_was_moved_loses_nothing(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir)
    moved = archive.rename(archive.with_name("moved"))
    with pytest.warns(errors.TableWarning, match="another archive"):
        report = index_archive(moved, out_dir)
    assert (report.n_removed_sessions, report.n_removed_datasets) == (0, 0)


def test_a_lab_may_be_given_later(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", {"S/2020-01-01/001": SESSION})
    index_archive(root)
    assert index_archive(root, lab="lab").n_removed_sessions == 0
    assert index_archive(root, lab="other").n_removed_datasets == 0


def test_small_changes_of_small_archives_are_no_mass_removals(tmp_path: Path) -> None:
    tree = {f"S/2020-01-0{day}/001/{n}.times.npy": 1 for day in (1, 2) for n in "ab"}
    root = make_tree(tmp_path / "archive", tree)
    index_archive(root)
    shutil.rmtree(root / "S/2020-01-01")
    (root / "S/2020-01-02/001/a.times.npy").unlink()
    report = index_archive(root)
    assert (report.n_removed_sessions, report.n_removed_datasets) == (1, 3)
    (root / "S").rename(root / "T")
    assert index_archive(root).n_removed_datasets == 1, "a lab that has others instead"
    (root / "T/2020-01-02/001/b.times.npy").unlink()
    assert _refuse(root).n_removed == 1, "none would be left"


def test_datasets_are_compared_by_their_paths(tmp_path: Path) -> None:
    names = [f"{n:02}" for n in range(24)]
    session = tmp_path / "archive/S/2020-01-01/001"
    make_tree(session, {f"alf/x.n{name}.npy": 1 for name in names})
    root = tmp_path / "archive"
    index_archive(root)
    (session / "alf").rename(session / "raw")
    assert _refuse(root).n_removed == 24, "as many as before, but others"
    (session / "raw").rename(session / "alf")
    for name in names[:12]:
        (session / f"alf/x.n{name}.npy").unlink()
    assert index_archive(root).n_removed_datasets == 12, "half of them"


@pytest.mark.parametrize("rows_at_once", [1, 5, 1000])
def test_counts_are_those_of_sets(archive: Path, out_dir: Path, rows_at_once: int) -> None:
    from polars_alf import scan_datasets, scan_sessions
    from polars_alf.index.removals import Rows, count_removals

    index_archive(archive, out_dir)
    old = Rows.read(scan_sessions(out_dir), scan_datasets(out_dir))
    kept = scan_datasets(out_dir).collect().filter(pl.int_range(pl.len()) % 3 > 0)
    sessions = scan_sessions(out_dir).collect().filter(pl.col("lab") == "cortexlab")
    kept = kept.filter(pl.col("eid").is_in(sessions["id"].to_list()))
    new = Rows.read(sessions.lazy(), kept.lazy())
    found = count_removals(old, new, rows_at_once=rows_at_once)
    assert found.n_datasets == 12 - len(kept)
    assert (found.n_sessions, found.n_sessions_before, found.n_datasets_before) == (1, 4, 12)
    assert found.labs == (LostLab("wittenlab", 1, 3, is_empty=True),)


def _rewrite(folder: Path) -> None:
    """Write the tables again as another program would, without a word of ours."""
    shutil.rmtree(folder / files.STATE_DIR)
    for name, table in zip(("sessions", "datasets"), read_tables(folder), strict=True):
        table.write_parquet(folder / f"{name}.pqt")


def _damage_datasets(folder: Path) -> None:
    (folder / "datasets.pqt").write_bytes(b"PAR1 no table")


def _damage_sessions(folder: Path) -> None:
    (folder / "sessions.pqt").write_bytes(b"PAR1 no table")


@pytest.mark.slow
@pytest.mark.parametrize("change", [_rewrite, _damage_datasets, _damage_sessions])
def test_whoever_wrote_the_tables(
    archive: Path, out_dir: Path, change: Callable[[Path], None]
) -> None:
    index_archive(archive, out_dir)
    change(out_dir)
    before = [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))]
    shutil.rmtree(archive / "cortexlab")
    _refuse(archive, out_dir, max_removed=3)
    (archive / "wittenlab").rename(archive.with_name("elsewhere"))
    _refuse(archive, out_dir)
    assert [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))] == before


def test_an_interrupted_run_is_taken_up_after_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {f"{lab}/Subjects/S/2020-01-{day:02}/001": SESSION for lab in "ab" for day in (1, 2, 3)}
    root = make_tree(tmp_path / "archive", tree)
    tune(monkeypatch, least_folders=1)
    index_archive(root, namespace="test")
    run_tasks = walk.run_tasks

    def interrupt(*arguments: Any, **options: Any) -> Iterator[Any]:
        for n, result in enumerate(run_tasks(*arguments, **options)):
            yield result
            if n == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(walk, "run_tasks", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index_archive(root, namespace="test", executor="serial")
    (root / "b/Subjects").rename(tmp_path / "away")
    assert _refuse(root, namespace="test").labs == ("b",)
    (tmp_path / "away").rename(root / "b/Subjects")
    assert index_archive(root, namespace="test").n_resumed == 4


@pytest.mark.slow
def test_a_refused_run_goes_on_with_the_option_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(tmp_path / "archive", {f"S/2020-01-0{n}/001": SESSION for n in range(1, 9)})
    tune(monkeypatch, least_folders=1)
    index_archive(root)
    for folder in (root / "S").glob("*/001/alf"):
        folder.rename(folder.with_name("raw"))
    for _ in range(2):
        _refuse(root)
    report = index_archive(root, max_removed=0.7)
    assert (report.n_resumed, report.n_shards, report.n_removed_datasets) == (8, 8, 16)
    for folder in (root / "S").glob("*/001/raw"):
        folder.rename(folder.with_name("alf"))
    _refuse(root)
    make_tree(root / "S/2020-01-01/001", {f"raw/spikes.n{n}.npy": 1 for n in range(9)})
    (root / "S/2020-01-02/001/alf").rename(root / "S/2020-01-02/001/raw")
    for n in range(3, 9):
        (root / f"S/2020-01-0{n}/001/alf").rename(root / f"S/2020-01-0{n}/001/raw")
    assert index_archive(root).n_resumed == 0, "what was there then is not what is there now"


def test_ids_of_paths_do_not_replace_uuids(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    index_archive(archive, out_dir)
    before = read_folder(out_dir)
    with pytest.raises(errors.IdsConflictError, match="leave out --no-hash-ids") as caught:
        index_archive(archive, out_dir, hash_ids=False, max_removed=1.0)
    assert isinstance(caught.value, ValueError)
    assert read_folder(out_dir) == before
    (tmp_path / "other").mkdir()
    index_archive(archive, tmp_path / "other", hash_ids=False)
    for name in ("sessions.pqt", "datasets.pqt"):
        (out_dir / name).rename(tmp_path / name)
    index_archive(archive, out_dir, hash_ids=False)
    assert index_archive(archive, out_dir).n_removed_datasets == 0, "paths can be made again"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Give a function that mounts a file system in memory on a folder, with what was in it."""
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root can mount")
    mounted: list[Path] = []

    def mount(folder: Path) -> None:
        content = folder.rename(tmp_path / "content")
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not permitted")
        mounted.append(folder)
        shutil.copytree(content, folder, dirs_exist_ok=True)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("part", ["", "wittenlab"])
@pytest.mark.parametrize("quick", [False, True])
def test_storage_is_unmounted_between_runs(
    archive: Path, out_dir: Path, mount: Callable[[Path], None], part: str, *, quick: bool
) -> None:
    mount(archive / part)
    index_archive(archive, out_dir)
    before = read_folder(out_dir)
    _unmount(archive / part)
    assert "wittenlab" in _refuse(archive, out_dir, quick=quick).labs
    assert read_folder(out_dir) == before


@pytest.mark.slow
@pytest.mark.parametrize("part", ["", "wittenlab"])
@pytest.mark.parametrize("quick", [False, True])
def test_storage_is_unmounted_during_a_run(
    archive: Path,
    out_dir: Path,
    mount: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    *,
    quick: bool,
) -> None:
    mount(archive / part)
    index_archive(archive, out_dir)
    (archive / part / "new.times.npy").touch()
    before = [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))]
    survey = walker.Walker.survey

    def lose(walker: walker.Walker, known: object) -> list[str]:
        folders = survey(walker)
        _unmount(archive / part)
        return folders

    monkeypatch.setattr(walker.Walker, "survey", lose)
    with pytest.raises((errors.MassRemovalError, errors.ScanError)):
        index_archive(archive, out_dir, quick=quick)
    assert [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))] == before
