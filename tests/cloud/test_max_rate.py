"""Requests to a bucket's service that keep to a rate, whoever makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from buckets import Mirror
from cutting_proxy import Faults, serve_cut_short
from indexes import assert_equal, read_tables
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import index_archive
from polars_alf.parallel.pacer import BURST_SECONDS

FREE_REQUESTS = 4
"""Requests that find the bucket, before the walk, or come a moment early."""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_all_workers_keep_to_the_rate(
    mirror: Mirror,
    out_dirs: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
) -> None:
    tune(monkeypatch, least_folders=1)
    rate, n_jobs, n_subjects = 100, 3, 20
    subjects = {f"lab/Subjects/S{i}/2021-02-01/001": SESSION for i in range(n_subjects)}
    root = make_tree(mirror.folder, subjects)
    out_dir, plain = out_dirs
    index_archive(root, plain, hash_files=True, namespace="test")
    counted = Faults()
    with serve_cut_short(mirror.endpoint_url, counted) as url:
        report = index_archive(
            mirror.address,
            out_dir,
            endpoint_url=url,
            hash_files=True,
            max_rate=rate,
            executor=executor,
            jobs=n_jobs,
            namespace="test",
        )
    # Each subject is listed and its date is, and each dataset is read.
    assert counted.n_requests >= n_subjects * (1 + 1 + 3)
    most_early = n_jobs * (FREE_REQUESTS + BURST_SECONDS * rate)
    assert report.seconds >= (counted.n_requests - most_early) / rate
    assert_equal(read_tables(out_dir), read_tables(plain))
