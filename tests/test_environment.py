"""When the environments of the scripts are made anew."""

from __future__ import annotations

from pathlib import Path

import _environment
import pytest


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py", "polars_alf/native/_lanes.h"])
def test_changed_and_new_sources_install_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "polars_alf/native").mkdir(parents=True)
    for file in ("pyproject.toml", "setup.py", "polars_alf/native/_native.c"):
        (tmp_path / file).write_text("before")
    monkeypatch.setattr(_environment, "REPOSITORY", tmp_path)
    before = _environment.describe_installation("test", ())
    (tmp_path / "polars_alf/native/twin.py").write_text("read where it is")
    assert _environment.describe_installation("test", ()) == before
    (tmp_path / name).write_text("after")
    assert _environment.describe_installation("test", ()) != before
