"""Reports on disk and compared, and the advice that they leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from storage import measure_quickly as bench
from trees import make_tree

from polars_alf import compare_storage
from polars_alf.bench import pages
from polars_alf.bench.advice import find_advice
from polars_alf.bench.results import StorageReport, read_report
from polars_alf.errors import (
    ResultError,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageReport]:
    """Measure once, for those who only look at the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield bench(tmp_path_factory.mktemp("storage"), name="plain")


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


def test_results_of_earlier_versions_are_read(report: StorageReport) -> None:
    path = Path(__file__).with_name("result-format-1.json")
    before = json.loads(path.read_text())
    old = read_report(path)
    assert (old.label, old.advice) == ("nas", {"jobs": 2, "threads": 2})
    for figure, row in zip(before["figures"], old.figures.iter_rows(named=True), strict=True):
        # Rates and latencies were without Python's own time, and now are with it.
        assert row["rate"] == figure["gross_rate"]
        assert row["most_rate"] / row["rate"] == pytest.approx(figure["most_rate"] / figure["rate"])
        if figure["p50_ns"]:
            assert row["p50_ns"] == pytest.approx(figure["p50_ns"] + figure["overhead_ns"])
    # Lists counted folders, and do so wherever they are compared with these.
    found = compare_storage(old, report)
    rates = [each.figures.filter(operation="list", concurrency=1)["rate"] for each in (old, report)]
    ratio = found.ratios.filter(what="list", concurrency=1)["ratio"].item()
    assert ratio == pytest.approx(rates[1].item() / rates[0].item())
    best = found.conclusions.filter(what="list", label=report.label)["value"].item()
    assert best == pytest.approx(rates[1].item())
    (law,) = (law for law in found.reports[1].models if law["operation"] == "list")
    assert law["best_rate"] == pytest.approx(best)


def test_results_of_later_versions_name_the_cure(report: StorageReport, tmp_path: Path) -> None:
    report.write(tmp_path)
    values = json.loads((tmp_path / "result.json").read_text())
    later = values | {"version": "99.0", "format": values["format"] + 1, "more": 1}
    (tmp_path / "result.json").write_text(json.dumps(later))
    with pytest.raises(
        ResultError, match=r"polars-alf 99\.0, and this is .*, which is older; update"
    ):
        read_report(tmp_path)


def test_what_is_learned_of_a_mount_is_kept_for_indexes(tmp_path: Path) -> None:
    assert find_advice(tmp_path) is None
    bench(tmp_path, operations=["stat"])
    assert find_advice(tmp_path) is None
    report = bench(tmp_path, operations=["index"])
    found = find_advice(tmp_path)
    assert found is not None
    assert found["advice"] == report.advice == {"jobs": 1, "threads": 1}


def test_without_a_home_advice_is_in_the_report_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", fail)
    report = bench(tmp_path, operations=["index"])
    assert report.advice == {"jobs": 1, "threads": 1}
    assert find_advice(tmp_path) is None


@pytest.mark.slow
def test_a_report_is_written_through_no_link(tmp_path: Path) -> None:
    victim = make_tree(tmp_path, {"victim": "precious"}) / "victim"
    target, out = make_tree(tmp_path / "target", {}), make_tree(tmp_path / "out", {})
    report = bench(target)
    report.write(out)
    names = [path.name for path in (*out.iterdir(), *pages.write_pages(out, report))]
    for name in names:
        (out / name).unlink()
        for planted in (name, f".{name}.tmp"):
            (out / planted).symlink_to(victim)
    report.write(out)
    pages.write_pages(out, report)
    assert victim.read_text() == "precious"
    assert not any((out / name).is_symlink() for name in names)
    assert read_report(out).label == report.label
