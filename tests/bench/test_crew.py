"""The processes that measure: of this machine, and of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import TestCluster
from storage import measure_quickly as bench

from polars_alf.bench.advice import find_advice
from polars_alf.bench.operations import Operation
from polars_alf.errors import BenchError, OptionError


def test_other_bytes_than_were_written_are_found(tmp_path: Path) -> None:
    def spoil(done: int, total: int, text: str) -> None:
        if text.startswith("readback"):
            path = next(tmp_path.glob("polars_alf_bench_*/scratch/w0/*"))
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)

    with pytest.raises(BenchError, match="holds other bytes than were written to it"):
        bench(tmp_path, operations=["readback"], progress=spoil)
    assert {path.name for path in tmp_path.iterdir()} <= {"state"}


def test_a_chain_needs_no_other(tmp_path: Path) -> None:
    report = bench(tmp_path, operations=["readback"])
    assert report.figures["operation"].to_list() == ["fsync", "readback"]
    n_ops = dict(report.figures.select("operation", "n_ops").iter_rows())
    assert n_ops["readback"] == n_ops["fsync"], "all that was written is compared"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """Start two workers."""
    found = TestCluster(tmp_path_factory.mktemp("cluster") / "folder")
    yield found
    found.stop()


@pytest.mark.thorough
def test_workers_of_a_cluster_measure_together(cluster: TestCluster, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    report = bench(target, executor=cluster.address, threads=[1, 2, 4])
    assert not list(target.iterdir())
    assert set(report.figures["operation"]) == {str(operation) for operation in Operation}
    shared = report.figures.filter(operation="stat").select("concurrency", "jobs", "threads")
    assert shared.rows() == [(1, 1, 1), (2, 2, 1), (4, 2, 2)]
    assert (report.figures["rate"] > 0).all()
    assert report.settings["cluster"] == cluster.address
    assert find_advice(target) is None, "what is best for a cluster tells nothing of this machine"


@pytest.mark.thorough
def test_what_a_cluster_cannot_is_refused(cluster: TestCluster, archive: Path) -> None:
    with pytest.raises(OptionError, match="--cold cannot empty the caches of other machines"):
        bench(archive, executor=cluster.address, cold=True)
    with pytest.raises(OptionError, match="--read-only has none; give --operations ") as raised:
        bench(archive, executor=cluster.address, read_only=True)
    cure = str(raised.value).rpartition("--operations ")[2].split(",")
    report = bench(archive, executor=cluster.address, read_only=True, operations=cure)
    assert "stat" in set(report.figures["operation"])


def test_an_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no address of a cluster"):
        bench(tmp_path, executor="threads")
