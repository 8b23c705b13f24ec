"""The options of a walk."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import make_tree
from walks import list_found

from polars_alf import (
    index_archive,
    plan_removals,
    scan_archive,
    scan_datasets,
    verify_archive,
)
from polars_alf.errors import OptionError


@pytest.mark.parametrize(
    ("patterns", "n_datasets"),
    [
        (("*.csv",), 8),
        (("probe00/",), 8),
        (("/wittenlab",), 9),
        (("cortexlab/**/KS001/",), 6),
        (("*", "!*/"), 0),
        (("*", "!*/", "!*.npy"), 8),
        (("nothing",), 12),
    ],
)
def test_exclude_is_as_in_gitignore(
    archive: Path, patterns: tuple[str, ...], n_datasets: int
) -> None:
    assert len(list_found(archive, exclude=patterns)) == n_datasets


@pytest.mark.parametrize("threads", [0, -1])
def test_number_of_threads_that_makes_no_sense(archive: Path, threads: int) -> None:
    with pytest.raises(OptionError, match="threads"):
        index_archive(archive, threads=threads)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_timeout_that_makes_no_sense(archive: Path, seconds: float) -> None:
    with pytest.raises(OptionError, match="timeout"):
        index_archive(archive, op_timeout=seconds)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_rate_that_makes_no_sense(archive: Path, rate: float) -> None:
    with pytest.raises(OptionError, match=r"the rate is .* calls a second; give a number above 0"):
        index_archive(archive, max_rate=rate)
    with pytest.raises(OptionError, match="max_rate"):
        index_archive(archive, max_rate="fast")  # type: ignore[arg-type]


SESSION = "lab/Subjects/S/2020-01-01/001"
COPIES = (
    *(f"{SESSION}/.snapshot", f"{SESSION}/alf/.snapshot", "lab/.snapshots", "lab/Subjects/.zfs"),
    *("lost+found", "lab/Subjects/S/.Trash-1000", f"{SESSION}/raw/@eaDir"),
)


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    inside = {folder: {"b.c.npy": 1, f"{SESSION}/d.e.npy": 1} for folder in COPIES}
    return make_tree(tmp_path / "archive", {f"{SESSION}/alf/a.b.npy": 1, **inside})


@pytest.mark.parametrize("threads", [None, 1, 4])
def test_snapshots_are_left_out_and_told(copies: Path, threads: int | None) -> None:
    for quick in (False, True):
        report = index_archive(copies, threads=threads, quick=quick)
        assert (report.n_datasets, report.issues) == (1, {"snapshot": len(COPIES)})
        issues = report.scan_issues().collect()
        assert {*issues["path"]} == {*COPIES}
        assert issues["message"].str.contains("--include-snapshots").all()
    assert verify_archive(copies).findings.is_empty()
    assert plan_removals(copies).is_empty()


def test_snapshots_are_indexed_when_asked_for(copies: Path) -> None:
    index_archive(copies)
    assert index_archive(copies, include_snapshots=True, quick=True).n_datasets > 1
    found = scan_datasets(copies).collect()["rel_path"]
    assert ".snapshot/b.c.npy" in found.to_list()
    assert verify_archive(copies, include_snapshots=True).findings.is_empty()
    assert scan_archive(copies).collect().height == 1
    report = index_archive(copies, exclude=["lost+found/", "!/**/alf/.snapshot/"])
    assert report.issues["snapshot"] == len(COPIES) - 2
    assert "alf/.snapshot/b.c.npy" in scan_datasets(copies).collect()["rel_path"].to_list()


@pytest.mark.parametrize("threads", [None, 1, 4])
def test_patterns_of_folders_take_back_what_those_of_names_exclude(
    copies: Path, threads: int | None
) -> None:
    patterns = ["*", "!*/", "!*.npy"]
    report = index_archive(copies, exclude=patterns, threads=threads)
    assert (report.n_datasets, report.issues) == (1, {"snapshot": len(COPIES)})
    (copies / SESSION / "alf/a.b.npy").unlink()
    assert verify_archive(copies, exclude=patterns).findings["kind"].to_list() == ["missing"]
    patterns += ["!/**/alf/.snapshot/"]
    report = index_archive(copies, exclude=patterns, threads=threads)
    assert report.issues["snapshot"] == len(COPIES) - 1
    found = scan_datasets(copies).collect()["rel_path"].to_list()
    assert sorted(found) == ["alf/.snapshot/b.c.npy", f"alf/.snapshot/{SESSION}/d.e.npy"]
