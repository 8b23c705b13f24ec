"""The machine that measures: its mounts, and the packages needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from storage import measure_quickly as bench

from polars_alf.bench.machine import check_extra, choose_mount

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


def test_a_missing_extra_names_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r'no_such_package: pip install "polars-alf\[bench\]"'):
        check_extra(["scipy", "no_such_package"])
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ImportError, match="measuring storage needs altair"):
        bench(tmp_path)
