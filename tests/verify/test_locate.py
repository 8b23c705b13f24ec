"""The sessions of the tables in the archive: all, a part, a sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trees import SESSION, make_tree
from verified import KS001, KS002, find, rewrite

import polars_alf
from polars_alf import verify_archive


@pytest.mark.slow
def test_a_sample_is_the_same_for_the_same_seed(archive: Path, tables: Path) -> None:
    shutil.rmtree(archive / "cortexlab")

    def ids(seed: int) -> list[str]:
        found = verify_archive(archive, tables, sample=0.5, seed=seed)
        assert found.n_checked == 6
        return found.findings["id"].to_list()

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(20)}) > 5
    every = verify_archive(archive, tables, sample=1.0).findings
    assert every["kind"].to_list() == ["missing"] * 9
    assert verify_archive(archive, tables, sample=1e-9).n_checked == 1


def test_a_sample_tells_nothing_new_and_reads_only_its_own(archive: Path, tables: Path) -> None:
    make_tree(archive, {f"{KS001}/alf/new.times.npy": 3})
    found = verify_archive(archive, tables, sample=0.2, digest=True)
    assert (found.n_checked, found.n_digested, len(found.findings)) == (3, 3, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["cortexlab", "cortexlab/Subjects/KS001", KS001, "wittenlab/Subjects"]
)
@pytest.mark.parametrize("sample", [None, 1.0])
def test_a_part_can_be_verified_alone(
    archive: Path, tables: Path, part: str, sample: float | None
) -> None:
    shutil.rmtree(archive / KS002)
    root = archive / part
    found = verify_archive(root, tables, sample=sample)
    within = [path for path in (KS002,) if Path(path).is_relative_to(part)]
    n_lost = (3 if sample else 4) * len(within)
    assert found.counts["missing"] == n_lost == len(found.findings)
    n_sessions = len(list(root.rglob("alf"))) + len(within)
    assert found.n_datasets == 3 * n_sessions


@pytest.mark.parametrize("options", [{"lab": "otherlab"}, {"hash_ids": False}])
def test_sessions_are_found_however_they_are_named(
    tmp_path: Path, options: dict[str, object]
) -> None:
    tree = {"KS001/2020-01-01": {"001": SESSION, "2": SESSION}, "KS-2/2020-01-02/003": SESSION}
    archive = make_tree(tmp_path / "archive", tree)
    polars_alf.index_archive(archive, **options)  # type: ignore[arg-type]
    assert find(archive, archive) == set()
    (archive / "KS001/2020-01-01/2/alf/spikes.times.npy").unlink()
    lost = {("missing", "KS001/2020-01-01/2/alf/spikes.times.npy")}
    assert find(archive, archive) == lost
    assert find(archive, archive, sample=1.0) == lost
    shutil.move(archive / "KS001/2020-01-01/2", archive / "KS001/2020-01-01/002")
    foreign = rewrite(archive, lambda datasets: datasets)
    assert find(archive, foreign) == {("missing", "KS001/2020-01-01/002/alf/spikes.times.npy")}
