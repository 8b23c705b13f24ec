"""An archive in a bucket has the tables of the same archive on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from buckets import Bucket, Mirror, check_same, serve_hadro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexes import FILES, read_tables
from trees import ODD, TWO_LABS, Tree, make_tree

from polars_alf import index_archive, scan_archive, verify_archive
from polars_alf.errors import NoSessionsWarning, OptionError
from polars_alf.walk.scan import FILES as FILE_SCHEMA

ARCHIVE: Tree = {
    **TWO_LABS,
    **{
        f"zadorlab/Subjects/Z{n}/2021-0{m}-1{n}/001": {"a.b.npy": n}
        for n in range(9)
        for m in (1, 2)
    },
    "cortexlab/Subjects/KS001/2020-01-01/001/raw data/#1 %20+é~☃.npy": "x",
    "README.md": "no dataset",
}


@pytest.mark.slow
def test_on_a_server_with_all_of_s3(
    bucket: Bucket, tmp_path: Path, out_dirs: tuple[Path, Path]
) -> None:
    root = make_tree(tmp_path / "archive", ARCHIVE)
    bucket.put_tree(root, "data/of")
    report = check_same(f"{bucket.address}/data/of", bucket.endpoint_url, root, out_dirs)
    assert (report.n_sessions, report.n_datasets) == (22, 30)
    assert str(report.root) == f"{bucket.address}/data/of"
    again = check_same(f"{bucket.address}/data/of/", bucket.endpoint_url, root, out_dirs)
    assert again.changes == {
        **{"added": 0, "changed": 0, "removed": 0, "unreadable": 0},
        "unchanged": 30,
    }


@pytest.mark.slow
def test_on_a_server_that_is_slow_and_fails(tmp_path: Path, out_dirs: tuple[Path, Path]) -> None:
    root = make_tree(tmp_path / "buckets" / "bucket", TWO_LABS)
    with serve_hadro(root.parent, "--latency-ms", 20, "--error-rate", 0.1) as url:
        check_same("s3://bucket", url, root, out_dirs, hash_files=True)


def test_on_a_server_of_folders(mirror: Mirror, out_dirs: tuple[Path, Path]) -> None:
    root = make_tree(mirror.folder, ARCHIVE)
    check_same(mirror.address, mirror.endpoint_url, root, out_dirs)


@pytest.mark.parametrize(
    "part",
    ["cortexlab", "cortexlab/Subjects/KS001", "cortexlab/Subjects/KS001/2020-01-01/001"],
)
def test_a_part_of_an_archive(mirror: Mirror, out_dirs: tuple[Path, Path], part: str) -> None:
    make_tree(mirror.folder, TWO_LABS)
    check_same(f"{mirror.address}/{part}", mirror.endpoint_url, mirror.folder / part, out_dirs)


def test_odd_archives(mirror: Mirror, out_dirs: tuple[Path, Path]) -> None:
    root = make_tree(mirror.folder, {f"part{n}": odd[1] for n, odd in enumerate(ODD)})
    report = check_same(mirror.address, mirror.endpoint_url, root, out_dirs)
    assert len(report.issues) > 6


@pytest.mark.slow
def test_snapshots_and_exclusions(mirror: Mirror, out_dirs: tuple[Path, Path]) -> None:
    session = "lab/Subjects/S1/2020-01-01/001"
    root = make_tree(
        mirror.folder,
        {
            f"{session}/alf": {"a.b.npy": 1, "c.d.npy": 2, ".snapshot/a.b.npy": 3},
            ".snapshot/S2/2020-01-01/001/a.b.npy": 4,
            "lab/Subjects/S3/2020-01-01/001/lost+found/a.b.npy": 5,
            "polars_alf_bench_0123456789ab/S4/2020-01-01/001/a.b.npy": 6,
        },
    )
    all_options: list[dict[str, object]] = [
        {},
        {"exclude": ["c.d.npy"]},
        {"exclude": ["alf/"]},
        {"exclude": ["S1", "!.snapshot"]},
        {"include_snapshots": True},
    ]
    for options in all_options:
        check_same(mirror.address, mirror.endpoint_url, root, out_dirs, max_removed=1.0, **options)


@pytest.mark.thorough
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=FILES, n_requests=st.sampled_from([None, 1, 3]))
def test_any_archive(
    mirror: Mirror,
    out_dirs: tuple[Path, Path],
    files: dict[tuple[str, str], int],
    n_requests: int | None,
) -> None:
    root = mirror.folder
    shutil.rmtree(root)
    make_tree(root, {f"{folder}/{name}": size for (folder, name), size in files.items()})
    make_tree(root, {"README.md": 1})
    options = {"max_removed": 1.0, "threads": n_requests}
    with pytest.warns() if not files else _nothing():
        check_same(mirror.address, mirror.endpoint_url, root, out_dirs, **options)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_a_refresh_tells_what_changed(
    bucket: Bucket, archive: Path, out_dir: Path, tmp_path: Path
) -> None:
    bucket.put_tree(archive)
    where = bucket.address, out_dir
    index_archive(*where, endpoint_url=bucket.endpoint_url, hash_files=True)
    first = "cortexlab/Subjects/KS001/2020-01-01/001"
    bucket.put(f"{first}/alf/spikes.times.npy", b"y" * 20)  # as large as it was
    bucket.put(f"{first}/alf/new.times.npy", b"new")
    bucket.delete("cortexlab/Subjects/KS001/2020-01-01/002/alf/spikes.times.npy")
    seen = []
    report = index_archive(
        *where, endpoint_url=bucket.endpoint_url, hash_files=True, progress=seen.append
    )
    changes = report.scan_changes().select("path", "change").collect()
    assert sorted(changes.rows()) == [
        (f"{first}/alf/new.times.npy", "added"),
        (f"{first}/alf/spikes.times.npy", "changed"),
        ("cortexlab/Subjects/KS001/2020-01-01/002/alf/spikes.times.npy", "removed"),
    ]
    # Moto tells seconds: what was written in the last two may be written once more.
    datasets = read_tables(out_dir)[1]
    hashes = dict(datasets.filter(file_size=20).select("rel_path", "hash").rows())
    assert hashlib.md5(b"y" * 20).hexdigest() in datasets["hash"].to_list()
    assert hashes
    assert seen[-1].n_bytes >= 23


@pytest.mark.slow
def test_digests(bucket: Bucket, archive: Path, out_dirs: tuple[Path, Path]) -> None:
    make_tree(archive / "cortexlab/Subjects/KS001/2020-01-01/001", {"large.data.npy": 20_000_000})
    make_tree(archive / "cortexlab/Subjects/KS001/2020-01-01/001", {"empty.data.npy": 0})
    bucket.put_tree(archive)
    check_same(bucket.address, bucket.endpoint_url, archive, out_dirs, digest=["md5", "xxh3_128"])
    verified = verify_archive(
        bucket.address, out_dirs[0], endpoint_url=bucket.endpoint_url, digest=True
    )
    assert verified.n_digested == 14
    assert verified.findings.is_empty()


def test_digests_where_ranges_are_not_known(mirror: Mirror, out_dirs: tuple[Path, Path]) -> None:
    make_tree(mirror.folder / "S1/2020-01-01/001", {"large.data.npy": 20_000_000, "a.b.npy": "x"})
    check_same(mirror.address, mirror.endpoint_url, mirror.folder, out_dirs, hash_files=True)


def test_etags_that_are_md5s(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    bucket.put_tree(archive)
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    bucket.put_parts(f"{session}/alf/parts.times.npy", b"a" * (5 << 20), b"b")
    options = {"endpoint_url": bucket.endpoint_url, "etag_md5": True}
    index_archive(bucket.address, out_dir, **options)  # type: ignore[arg-type]
    datasets = read_tables(out_dir)[1]
    parts = pl.col("rel_path") == "alf/parts.times.npy"
    assert datasets.filter(parts)["hash"].to_list() == [""]
    assert (datasets.filter(~parts)["hash"].str.len_chars() == 32).all()
    verified = verify_archive(
        bucket.address, out_dir, endpoint_url=bucket.endpoint_url, digest=True, sample=0.9
    )
    assert verified.findings.is_empty()
    assert verified.n_digested >= 11
    # What is left is read on request, and that alone.
    seen = []
    index_archive(bucket.address, out_dir, hash_files=True, progress=seen.append, **options)  # type: ignore[arg-type]
    assert seen[-1].n_bytes == (5 << 20) + 1
    assert (read_tables(out_dir)[1]["hash"].str.len_chars() == 32).all()


def test_etags_of_objects_that_have_their_ids_in_their_names(
    bucket: Bucket, tmp_path: Path, out_dirs: tuple[Path, Path]
) -> None:
    """Each MD5 is at its own dataset, also beside files that are in no table."""
    names = [
        "a.times.{0}.npy",
        "b.times.{0}.npy",  # with the id of another: both have those of their paths
        "c.times.{1}.npy",
        "c.times.{2}.npy",  # differs in the id alone: in no table
        "c.times.npy",  # so does this
        "d.times.npy",
        "e.times.{3}.npy",
    ]
    ids = [uuid.uuid5(uuid.NAMESPACE_URL, str(n)) for n in range(4)]
    root = make_tree(
        tmp_path / "archive",
        {
            f"lab/Subjects/S{subject}/2020-01-01/001/alf/{name.format(*ids)}": f"{subject}{name}"
            for subject in (1, 2)
            for name in names
            if subject == 1 or "{0}" not in name
        },
    )
    bucket.put_tree(root)
    ours, theirs = out_dirs
    index_archive(
        bucket.address,
        ours,
        namespace="test",
        endpoint_url=bucket.endpoint_url,
        uuid_filenames=True,
        etag_md5=True,
    )
    index_archive(root, theirs, namespace="test", uuid_filenames=True, hash_files=True)
    one, two = (read_tables(folder)[1] for folder in out_dirs)
    assert one.equals(two)
    assert (one.height, one["hash"].n_unique()) == (8, 8)
    part = f"{bucket.address}/lab/Subjects/S2"
    verified = verify_archive(part, ours, endpoint_url=bucket.endpoint_url, digest=True)
    assert (verified.n_digested, verified.findings.height) == (3, 0)


def test_an_etag_that_is_no_md5_is_found(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    bucket.put_tree(archive)
    index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url, etag_md5=True)
    path = out_dir / "datasets.pqt"
    table = pl.read_parquet(path)
    # As the ETags of a service that encrypts would be.
    wrong = table.with_columns(hash=pl.lit("0" * 32))
    schema = pq.read_schema(path)
    pq.write_table(wrong.to_arrow().cast(schema), path)
    found = verify_archive(
        bucket.address, out_dir, endpoint_url=bucket.endpoint_url, digest=True, sample=0.5
    )
    assert found.counts["digest_changed"] == 6


def test_verify_finds_what_differs(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    bucket.put_tree(archive)
    index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    bucket.put(f"{session}/alf/spikes.times.npy", b"longer than it was before")
    bucket.put(f"{session}/alf/new.times.npy")
    bucket.delete("cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy")
    found = verify_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    assert found.findings.select("kind", "path").rows() == [
        ("new", f"{session}/alf/new.times.npy"),
        ("size_changed", f"{session}/alf/spikes.times.npy"),
        ("missing", "cortexlab/Subjects/KS002/2020-02-29/001/alf/spikes.times.npy"),
    ]
    # And a part of the archive, with the tables of the whole.
    part = f"{bucket.address}/cortexlab/Subjects/KS002"
    found = verify_archive(part, out_dir, endpoint_url=bucket.endpoint_url)
    assert found.findings["kind"].to_list() == ["missing"]


def test_a_bucket_as_a_frame(bucket: Bucket, archive: Path) -> None:
    bucket.put_tree(archive)
    lazy = scan_archive(bucket.address, endpoint_url=bucket.endpoint_url)
    on_disk = scan_archive(archive)
    shared = [name for name in FILE_SCHEMA.names if name not in ("mtime_ns", "inode")]
    order = ["directory", "name"]
    for query in (lambda frame: frame, lambda frame: frame.filter(pl.col("subject") == "KS002")):
        one, two = (query(frame).select(shared).collect().sort(order) for frame in (lazy, on_disk))
        assert one.equals(two)
    assert len(lazy.head(4).collect()) == 4


@pytest.mark.slow
def test_no_pandas_is_imported(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    """Which takes longer than it takes to list thousands of keys."""
    bucket.put_tree(archive)
    code = (
        "import sys, polars_alf\n"
        f"polars_alf.index_archive({bucket.address!r}, {str(out_dir)!r}, "
        f"endpoint_url={bucket.endpoint_url!r}, hash_files=True)\n"
        "print('pandas' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_the_way_back_to_disk(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    """Ids stay when an archive moves into a bucket."""
    index_archive(archive, out_dir)
    before = read_tables(out_dir)
    bucket.put_tree(archive)
    with pytest.warns(match="of another archive"):
        report = index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    assert report.n_removed_datasets == 0
    for one, two in zip(before, read_tables(out_dir), strict=True):
        assert one.equals(two)
    assert json.loads((out_dir / ".polars_alf/report.json").read_text())["report"]["root"] == (
        bucket.address
    )


def test_options_that_mean_nothing_there(bucket: Bucket, archive: Path, out_dir: Path) -> None:
    bucket.put_tree(archive)
    url = bucket.endpoint_url
    for options, name in (
        ({"follow_links": True}, "--follow-links"),
        ({"quick": True}, "--quick"),
        ({"settings_from": "iblrig"}, "--settings-from"),
    ):
        with pytest.raises(OptionError, match=f"leave out {name} "):
            index_archive(bucket.address, out_dir, endpoint_url=url, **options)  # type: ignore[arg-type]
    for options, name in (
        ({"endpoint_url": url}, "--endpoint-url"),
        ({"region": "there"}, "--region"),
        ({"anonymous": True}, "--anonymous"),
        ({"etag_md5": True}, "--etag-md5"),
    ):
        with pytest.raises(OptionError, match=name):
            index_archive(archive, out_dir, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"give that with --out DIR \(out=…\)"):
        index_archive(bucket.address, endpoint_url=url)
    with pytest.raises(OptionError, match=r"give that with --tables-dir DIR \(tables_dir=…\)"):
        verify_archive(bucket.address, endpoint_url=url)
    assert not os.listdir(out_dir)


def test_an_archive_without_sessions(bucket: Bucket, out_dir: Path) -> None:
    bucket.put("README.md")
    with pytest.warns(NoSessionsWarning, match=f"No sessions found in {bucket.address}"):
        report = index_archive(bucket.address, out_dir, endpoint_url=bucket.endpoint_url)
    assert report.n_other_files == 1
