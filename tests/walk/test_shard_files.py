"""Shards on disk: whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from polars_alf.walk.shard_files import shard_folder

from polars_alf.walk.shards import Shard

SHARD = Shard(0, ("S/2020-01-01",))


def test_a_shard_has_its_name_once_it_is_done(tmp_path: Path) -> None:
    with shard_folder(tmp_path, SHARD) as folder:
        (folder / "rows").write_text("first")
        assert not (tmp_path / SHARD.name).exists()
    with pytest.raises(KeyboardInterrupt), shard_folder(tmp_path, SHARD):
        raise KeyboardInterrupt
    with shard_folder(tmp_path, SHARD) as folder:
        (folder / "rows").write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == [SHARD.name]
    assert (tmp_path / SHARD.name / "rows").read_text() == "first"
