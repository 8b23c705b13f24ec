"""Measuring storage: what is measured, what is made of it, and what is left behind."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import storage
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import SESSION, TWO_LABS, make_tree

from polars_alf import bench_storage, index_archive, plan_removals, verify_archive
from polars_alf.bench import machine, pages
from polars_alf.bench.archive import Plan
from polars_alf.bench.machine import check_extra, choose_mount
from polars_alf.bench.meters import count_latencies, find_percentiles, merge_histograms
from polars_alf.bench.models import choose_concurrency, describe_scalability, predict_index
from polars_alf.bench.operations import Operation, plan_levels, share_out
from polars_alf.bench.results import (
    StorageReport,
    compare_reports,
    find_advice,
    name_apart,
    read_report,
)
from polars_alf.bench.sweep import find_fixed_seconds
from polars_alf.errors import (
    ArchiveNotADirectoryError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    BenchError,
    KeptWarning,
    OptionError,
    ResultError,
    StorageFullError,
)

CHANGING = {"create", "rename", "delete"}


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is learned of mounts out of the home of whoever runs the tests."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def bench(path: Path, **options: object) -> StorageReport:
    """Measure in a moment."""
    quick: dict[str, object] = {"files": 80, "threads": [1], "duration": 0.02, "repeats": 1}
    return bench_storage(path, **(quick | options))  # type: ignore[arg-type]


# What is measured


def test_every_operation_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    report = bench(tmp_path, repeats=2)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "state"}
    figures = report.figures
    assert set(figures["operation"]) == {str(operation) for operation in Operation}
    assert (figures["rate"] > 0).all()
    assert (figures["repeats"] == 2).all()
    assert figures.filter(pl.col("rate") < pl.col("gross_rate")).is_empty()
    called = figures.filter(pl.col("operation") != "index")
    assert (called["p50_ns"] > 0).all()
    assert (called["p50_ns"] <= called["max_ns"]).all()
    assert report.figures.filter(operation="index")["n_ops"].to_list() == [2 * 84]
    times = {(row["task"], row["n_files"]): row for row in report.predictions}
    assert len(times) == 6
    for row in times.values():
        assert 0 < row["least_seconds"] <= row["seconds"] <= row["most_seconds"]
    assert times["index", 10**9]["seconds"] > times["index", 10**6]["seconds"]
    assert report.mount["point"] in {str(tmp_path), *map(str, tmp_path.parents)}
    assert any("--cold" in note for note in report.notes)


def test_a_report_is_kept_and_read_again(tmp_path: Path) -> None:
    report = bench(tmp_path, operations=["index", "stat"], name="the NAS")
    folder = tmp_path / "report"
    folder.mkdir()
    report.write(folder)
    for again in (read_report(folder), read_report(folder / "result.json")):
        assert again.to_dict() == report.to_dict()
    measurements = pl.read_parquet(folder / "measurements.parquet")
    assert measurements.select("operation", "concurrency", "repeat").rows() == [
        ("stat", 1, 0),
        ("index", 1, 0),
    ]
    latencies = pl.read_parquet(folder / "latencies.parquet")
    assert latencies["n_ops"].sum() == measurements.filter(operation="stat")["n_ops"].item()
    (folder / "result.json").write_text("{}")
    for path in (folder, tmp_path / "nowhere"):
        with pytest.raises(ResultError, match=r"result\.json|nowhere"):
            read_report(path)


def test_what_is_learned_of_a_mount_is_kept_for_indexes(tmp_path: Path) -> None:
    assert find_advice(tmp_path) is None
    bench(tmp_path, operations=["stat"])
    assert find_advice(tmp_path) is None
    report = bench(tmp_path, operations=["index"])
    found = find_advice(tmp_path)
    assert found is not None
    assert found["advice"] == report.advice == {"jobs": 1, "threads": 1}


def test_an_archive_that_is_there_is_only_read(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", TWO_LABS)
    make_tree(root, {"cortexlab/Subjects/KS001/2020-01-01/001/raw.data.bin": 3 << 20})
    before = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    report = bench(root, read_only=True)
    assert {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))} == before
    assert set(report.figures["operation"]) == {*map(str, Operation)} - CHANGING
    assert report.figures.filter(operation="index")["n_ops"].item() == 17
    assert report.mean_bytes == pytest.approx(((3 << 20) + 244) / 13)
    some = bench(root, read_only=True, files=1, operations=["index"])
    assert some.figures["n_ops"].item() == 9, "whole subjects, one of them"


def test_an_archive_without_datasets_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no datasets"):
        bench(tmp_path, read_only=True)


def test_an_archive_without_large_files_cannot_be_streamed(archive: Path) -> None:
    with pytest.raises(BenchError, match="no files to measure stream, md5 with"):
        bench(archive, read_only=True, operations=["md5", "stream"])


@settings(deadline=None)
@given(n_files=st.integers(1, 3000))
def test_the_plan_is_an_archive_of_datasets(n_files: int) -> None:
    plan = Plan(n_files)
    assert len(plan.small) == n_files
    assert len(plan.paths) == len(plan.files) + len(plan.folders)
    assert all(plan.has(f"archive/{path}") for path in plan.paths)
    assert plan.count_bytes(4096) >= sum(file.size for file in plan.files) + 4096 * len(
        plan.folders
    )
    assert plan.count_inodes() >= len(plan.paths) + n_files
    made = set()
    for folder in plan.folders:
        above = folder.rpartition("/")[0]
        assert not above or above in made
        made.add(folder)


@pytest.mark.parametrize(
    "path", ["archives", "archive/x", "scratch/x", "scratch/w1/a.npy", "scratch/w1/f1.npy/x", "x"]
)
def test_the_plan_knows_what_is_not_its_own(path: str) -> None:
    assert not Plan(10).has(path)


def test_the_archive_is_indexed_without_issues(tmp_path: Path) -> None:
    plan = Plan(100)
    make_tree(tmp_path, {file.path: 1 for file in plan.files})
    report = index_archive(tmp_path)
    assert (report.n_datasets, report.n_sessions, report.issues) == (104, 2, {})


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 40))
def test_shares_are_of_all_items(n_items: int, concurrency: int, jobs: int) -> None:
    (level,) = plan_levels([concurrency], jobs)
    shares = share_out(range(n_items), level)
    assert len(shares) == level.jobs
    assert max(map(len, shares)) == level.threads
    assert sum(map(len, shares)) == concurrency
    flat = [item for share in shares for part in share for item in part]
    assert set(flat) == set(range(n_items))
    assert len(flat) == max(n_items, concurrency)


# What is made of it


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=500), st.integers(0, 100))
def test_histograms_are_precise_and_add_up(values: list[int], overhead: int) -> None:
    net = np.maximum(np.array(values) - overhead, 1)
    half = len(values) // 2
    parts = [array("q", values[:half]), array("q", values[half:])]
    whole = count_latencies(parts, overhead)
    assert merge_histograms(count_latencies([part], overhead) for part in parts).equals(whole)
    found = find_percentiles(whole)
    exact = np.percentile(net, 50, method="inverted_cdf")
    assert found["p50"] == pytest.approx(exact, rel=0.005)
    assert found["max"] == pytest.approx(net.max(), rel=0.005)
    assert found["mean"] == pytest.approx(net.mean(), rel=0.005)
    assert (found["p99.9"] is None) == (len(values) < 10_000)


LEVELS = (1, 2, 4, 8, 16, 32, 64)


def make_rates(rate: Callable[[int], float], levels: tuple[int, ...] = LEVELS) -> pl.DataFrame:
    rows = [(level, repeat, rate(level)) for repeat in range(3) for level in levels]
    return pl.DataFrame(rows, ["concurrency", "repeat", "gross_rate"], orient="row")


@settings(deadline=None)
@given(st.floats(10, 1e6), st.floats(0.001, 0.5), st.floats(1e-5, 0.01))
def test_a_law_is_found_again(one: float, contention: float, coherency: float) -> None:
    law = describe_scalability(
        make_rates(lambda n: one * n / (1 + contention * (n - 1) + coherency * n * (n - 1)))
    )
    assert law.rate_of_one == pytest.approx(one, rel=0.01)
    assert law.contention == pytest.approx(contention, rel=0.05, abs=1e-4)
    assert law.coherency == pytest.approx(coherency, rel=0.05, abs=1e-5)
    assert law.fit_error is not None
    assert law.fit_error < 0.001
    peak = max(math.sqrt((1 - contention) / coherency), 1)
    assert law.peak == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize("servers", [1, 4, 16])
def test_storage_that_serves_so_many_at_a_time_saturates_there(servers: int) -> None:
    law = describe_scalability(make_rates(lambda n: 1000.0 * min(n, servers)))
    assert law.saturation == law.least_saturation == law.most_saturation == servers
    assert law.is_saturated
    assert law.best_rate == 1000 * servers


def test_storage_that_is_never_saturated_says_so() -> None:
    law = describe_scalability(make_rates(lambda n: 50.0 * n))
    assert not law.is_saturated
    assert law.saturation == 64
    assert law.peak is None


def test_one_level_that_went_badly_is_not_growth() -> None:
    rates = {1: 100.0, 2: 200.0, 4: 400.0, 8: 410.0, 16: 250.0, 32: 405.0, 64: 400.0}
    assert describe_scalability(make_rates(rates.__getitem__)).is_saturated
    assert describe_scalability(make_rates(rates.__getitem__, (1, 2, 16, 32))).is_saturated is False


def test_few_levels_make_no_fit() -> None:
    law = describe_scalability(make_rates(lambda n: 50.0 * n, (1, 2)))
    assert law.rate_of_one is law.fit_error is law.peak is None
    assert not describe_scalability(make_rates(lambda n: 50.0, (1,))).is_saturated


def test_the_least_concurrency_that_is_as_good_is_chosen() -> None:
    rates = {1: 100.0, 2: 190.0, 4: 250.0, 8: 255.0, 16: 257.0, 32: 200.0, 64: 90.0}
    assert choose_concurrency(make_rates(rates.__getitem__)) == 4


@settings(deadline=None)
@given(st.floats(0, 10), st.floats(1e-6, 1e-2))
def test_times_are_predicted_from_two_sizes(fixed: float, each: float) -> None:
    whole, part = 10_000, 1_000
    found = find_fixed_seconds((whole, fixed + whole * each), (part, fixed + part * each))
    assert found == pytest.approx(fixed, abs=1e-6)
    rows = pl.DataFrame(
        {"fixed_seconds": [found], "seconds": [fixed + whole * each], "n_ops": [whole]}
    )
    (predicted,) = predict_index(rows, "warm", [10**9], error=0.1)
    assert predicted.seconds == pytest.approx(fixed + 10**9 * each, rel=1e-3)
    assert predicted.most_seconds == pytest.approx(1.1 * predicted.seconds)
    assert predicted.least_seconds == pytest.approx(predicted.seconds / 1.1)


def test_a_small_part_that_takes_longer_says_nothing() -> None:
    assert find_fixed_seconds((1000, 1.0), (10, 1.5)) == 0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageReport]:
    """Measure once, for those who only look at the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield bench(tmp_path_factory.mktemp("storage"), name="plain")


def test_reports_are_compared_with_the_first(report: StorageReport, tmp_path: Path) -> None:
    report.write(tmp_path)
    values = json.loads((tmp_path / "result.json").read_text())
    for figure in values["figures"]:
        figure["rate"] *= 2
    for row in values["predictions"]:
        row["seconds"] /= 3
    del values["figures"][0]
    (tmp_path / "result.json").write_text(json.dumps(values))
    reports = name_apart([report, read_report(tmp_path)])
    assert [each.label for each in reports] == ["plain (1)", "plain (2)"]
    ratios = compare_reports(reports)
    assert set(ratios["label"]) == {"plain (2)"}
    figures = ratios.filter(pl.col("concurrency").is_not_null())
    assert len(figures) == len(report.figures) - 1
    assert figures["ratio"].to_list() == pytest.approx([2.0] * len(figures))
    times = ratios.filter(pl.col("concurrency").is_null())
    assert times["ratio"].to_list() == pytest.approx([3.0] * len(times))
    with pytest.raises(OptionError, match="two or more"):
        name_apart([report])


MOUNTS = [
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro",
    "30 21 0:40 / /data rw,noatime shared:2 - nfs4 nas:/export rw,vers=4.2",
    r"31 30 0:41 / /data/my\040lab rw - lustre 10.0.0.1@tcp:/fs rw,flock",
    "32 31 0:42 / /data rw - tmpfs tmpfs rw,size=1k",
]


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/home/me", "/", "ext4"),
        ("/data/x", "/data", "tmpfs"),
        ("/data/my lab/x", "/data/my lab", "lustre"),
        ("/database", "/", "ext4"),
    ],
)
def test_the_mount_of_a_path_is_the_innermost(path: str, point: str, kind: str) -> None:
    found = choose_mount(MOUNTS, {path, *map(str, Path(path).parents)})
    assert found is not None
    assert (found.point, found.file_system) == (point, kind)
    assert choose_mount([], {"/"}) is None


# What is left behind


def test_what_another_run_has_left_is_named_and_is_no_session(tmp_path: Path) -> None:
    left = "polars_alf_bench_0123456789ab"
    tree = {"lab/Subjects/S/2020-01-01/001": SESSION}
    root = make_tree(tmp_path / "target", tree | {f"{left}/archive": tree})
    with pytest.warns(KeptWarning, match=rf"target/{left} is of another bench"):
        bench(root, operations=["stat"])
    with pytest.warns(KeptWarning, match=left):
        bench(root, operations=["stat"], read_only=True)
    assert (root / left / "archive/lab").is_dir()
    tables = make_tree(tmp_path / "tables", {})
    report = index_archive(root, tables)
    assert (report.n_sessions, report.issues) == (1, {})
    assert verify_archive(root, tables).findings.is_empty()
    assert plan_removals(root, tables).is_empty()
    alone = make_tree(tmp_path / "alone", {})
    assert index_archive(root / left / "archive", alone).n_sessions == 1


def test_a_report_is_written_through_no_link(tmp_path: Path) -> None:
    victim = make_tree(tmp_path, {"victim": "precious"}) / "victim"
    target, out = make_tree(tmp_path / "target", {}), make_tree(tmp_path / "out", {})
    report = bench(target)
    report.write(out)
    names = [path.name for path in (*out.iterdir(), *pages.write_pages(out, [report]))]
    for name in names:
        (out / name).unlink()
        for planted in (name, f".{name}.tmp"):
            (out / planted).symlink_to(victim)
    report.write(out)
    pages.write_pages(out, [report])
    assert victim.read_text() == "precious"
    assert not any((out / name).is_symlink() for name in names)
    assert read_report(out).label == report.label


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"files": 0}, "number of files"),
        ({"threads": []}, "numbers of threads"),
        ({"threads": [1, 0]}, "numbers of threads"),
        ({"threads": [10**6]}, "numbers of threads"),
        ({"duration": 0}, "duration"),
        ({"duration": float("nan")}, "duration"),
        ({"repeats": 0}, "repeats"),
        ({"jobs": 0}, "n_jobs"),
        ({"name": " "}, "name is empty"),
        ({"operations": ["fly"]}, "no operation 'fly'"),
        ({"operations": ["create"], "read_only": True}, "measures nothing"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        bench(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_path_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveNotFoundError, match=r"folder to measure in .* does not exist"):
        bench(tmp_path / "nowhere")
    with pytest.raises(ArchiveNotADirectoryError, match="is a file"):
        bench(tmp_path / "file")


def test_a_folder_that_may_not_be_written(tmp_path: Path, unprivileged: Callable[[], None]) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o555)
    for name in machine.NEEDED:
        importlib.import_module(name)  # from a folder that may be root's alone
    unprivileged()
    with pytest.raises(ArchivePermissionError, match="cannot be written to: Permission denied"):
        bench(folder)
    assert not list(folder.iterdir())


def test_a_missing_extra_names_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r'no_such_package: pip install "polars-alf\[bench\]"'):
        check_extra(["scipy", "no_such_package"])
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ImportError, match="measuring storage needs altair"):
        bench(tmp_path)


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {"precious.txt": "precious"})
    target = tmp_path / "target"
    target.mkdir()

    def meddle(done: int, total: int, text: str) -> None:
        (folder,) = target.iterdir()
        if done == total == 0 and text.startswith("removing"):
            (folder / "archive/link").symlink_to(outside)
            (folder / "scratch/theirs.txt").write_text("theirs")

    def progress(done: int, total: int, text: str) -> None:
        if any(target.iterdir()):
            meddle(done, total, text)

    with pytest.warns(KeptWarning, match=r"scratch/theirs\.txt"):
        bench(target, operations=["stat"], progress=progress)
    left = {str(path.relative_to(target)).partition("/")[2] for path in target.rglob("*")}
    assert left == {"", "archive", "archive/link", "scratch", "scratch/theirs.txt"}
    assert (outside / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("step", "error"),
    [("writing", KeyboardInterrupt), ("rename", ValueError), ("index", KeyboardInterrupt)],
)
def test_errors_leave_nothing(tmp_path: Path, step: str, error: type[BaseException]) -> None:
    target = tmp_path / "target"
    target.mkdir()

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith(step):
            raise error

    with pytest.raises(error):
        bench(target, operations=["rename", "index"], progress=stop)
    assert not list(target.iterdir())


def test_storage_that_is_too_small(tmp_path: Path) -> None:
    with storage.mount_tmpfs(tmp_path / "small", "2M") as folder:
        with pytest.raises(StorageFullError, match=r"MB free.*--files"):
            bench(folder)
        assert not list(folder.iterdir())
    with storage.mount(
        tmp_path / "few", "-t", "tmpfs", "-o", "size=200M,nr_inodes=100", "tmpfs"
    ) as folder:
        with pytest.raises(StorageFullError, match="inodes free"):
            bench(folder)
        assert not list(folder.iterdir())


@pytest.mark.parametrize("step", ["writing", "index"])
def test_storage_that_fills_up_meanwhile(tmp_path: Path, step: str) -> None:
    with storage.mount_tmpfs(tmp_path / "storage", "30M") as folder:
        filler = folder / "filler"

        def fill(done: int, total: int, text: str) -> None:
            if text.startswith(step):
                with contextlib.suppress(OSError), filler.open("wb", 0) as file:
                    while file.write(bytes(1 << 20)):
                        pass

        with pytest.raises(OSError, match="No space") as raised:
            bench(folder, files=40, progress=fill)
        assert raised.value.errno == errno.ENOSPC
        assert list(folder.iterdir()) == [filler]


def test_storage_that_is_read_only(tmp_path: Path) -> None:
    with storage.mount_tmpfs(tmp_path / "storage") as folder:
        make_tree(folder, TWO_LABS)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with pytest.raises(ArchivePermissionError, match="Read-only file system"):
            bench(folder)
        report = bench(folder, read_only=True)
        assert report.mount["file_system"] == "tmpfs"
        assert "ro" in report.mount["options"].split(",")


@pytest.mark.slow
def test_cold_and_warm_on_ext4(tmp_path: Path) -> None:
    with storage.mount_ext4(tmp_path / "storage", tmp_path / "image") as folder:
        report = bench(folder, cold=True, threads=[1, 2])
        assert not list(folder.iterdir())
    assert report.mount["file_system"] == "ext4"
    assert "noatime" in report.mount["options"].split(",")
    assert report.settings["cold"] == "drop_caches"
    operations = report.figures.group_by("cache").agg(pl.col("operation").unique())
    found = {cache: set(names) for cache, names in operations.iter_rows()}
    assert found["cold"] == {*map(str, Operation)} - CHANGING
    assert found["warm"] == {*map(str, Operation)}
    # A file that is met cold is met once.
    assert (report.figures.filter(cache="cold", operation="stat")["n_ops"] <= 80).all()
    assert {row["cache"] for row in report.predictions} == {"warm", "cold"}


def test_without_root_contents_alone_are_met_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polars_alf.bench.machine._DROP", tmp_path / "absent")
    report = bench(tmp_path, cold=True, operations=["stat", "read", "md5"])
    assert report.settings["cold"] == "posix_fadvise"
    assert report.figures.select("operation", "cache").rows() == [
        *(("stat", "warm"), ("read", "warm"), ("md5", "warm")),
        *(("read", "cold"), ("md5", "cold")),
    ]
    assert any("contents of files were not in memory" in note for note in report.notes)


@pytest.mark.slow
def test_single_calls_are_as_fast_as_in_c(tmp_path: Path) -> None:
    plan = Plan(2000)
    program = storage.build_calls(tmp_path)
    rates: dict[str, list[float]] = {"stat": [], "create": []}
    with storage.mount_tmpfs(tmp_path / "storage") as folder:
        root = make_tree(folder / "theirs" / "archive", {file.path: 0 for file in plan.small})
        paths = tmp_path / "paths"
        paths.write_text("".join(f"{root}/{file.path}\n" for file in plan.small))

        def run(*arguments: str | Path) -> float:
            command = [program, *map(str, arguments)]
            return float(subprocess.run(command, capture_output=True, check=True).stdout)

        def race(done: int, total: int, text: str) -> None:
            # Right before ours, so that both meet the same machine.
            if text.startswith("stat"):
                rates["stat"].append(run("stat", paths, "50"))
            elif text.startswith("create"):
                made = folder / f"made{done}"
                made.mkdir()
                rates["create"].append(run("create", made, "2000"))

        report = bench(
            folder, files=2000, duration=0.2, repeats=9, operations=["create", "stat"],
            progress=race,
        )  # fmt: skip
    for operation, measured in rates.items():
        (rate,) = report.figures.filter(operation=operation)["rate"]
        assert rate == pytest.approx(statistics.median(measured), rel=0.25), operation
    assert os.environ["XDG_STATE_HOME"].startswith(str(tmp_path))
