"""Imports point one way, and the package alone loads nothing heavy that is not its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from house import PACKAGE, count_floors, list_imports, list_modules, room_of
from trees import make_tree

ROOMS = (
    *("_version", "errors", "display", "native", "alf", "schema", "arrow", "parallel", "bucket"),
    *("walk", "tables", "query", "insertions", "index", "prune", "verify", "check", "merge"),
    *("release", "bench", "page", "cache", "one"),
    *("cli", "__main__"),
)
"""From the first to the last: a room imports only rooms before it."""

FEATURES = {"index", "prune", "verify", "check", "merge", "release", "bench"}
"""None of them imports another."""

MODULES = sorted(list_modules(PACKAGE))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_to_rooms_above(module: str) -> None:
    room = room_of(module)
    assert room in ROOMS, f"{module} is in no room of the table; give it one"
    for other in map(room_of, list_imports(PACKAGE, module)):
        if other != room:
            assert ROOMS.index(other) < ROOMS.index(room), f"{module} imports {other}"
            assert not {other, room} <= FEATURES, f"the feature {module} imports another, {other}"


@pytest.mark.slow
def test_modules_do_not_import_each_other_in_circles() -> None:
    count_floors({name: list_imports(PACKAGE, name, lazy=False) for name in MODULES})


def test_only_the_shim_loads_pandas() -> None:
    for module, path in list_modules(PACKAGE).items():
        text = path.read_text(encoding="utf-8")
        assert room_of(module) in {"cache", "one"} or "import pandas" not in text, module


def test_import_loads_no_pandas_one_or_dask() -> None:
    code = (
        "import polars_alf, sys; "
        "print([m for m in ('pandas', 'one', 'dask', 'distributed', 'typer', 'rich', "
        "'scipy', 'altair') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_command_loads_no_libraries_before_it_is_known_what_to_do() -> None:
    code = (
        "import polars_alf.cli.app, polars_alf.cli.archive, polars_alf.walk.ahead, sys; "
        "print([m for m in ('polars', 'pyarrow', 'numpy', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.slow
def test_runs_over_an_archive_load_only_what_they_need(tmp_path: Path) -> None:
    datasets = {"alf/spikes.times.npy": "", "notes.txt": ""}
    root = make_tree(tmp_path / "archive", {"subject/2020-01-01/001": datasets})
    code = (
        "import polars_alf, sys; "
        f"root = {str(root)!r}; "
        "polars_alf.index_archive(root); "
        "print([m for m in ('pandas', 'pyarrow.compute', 'joblib', 'loky', 'rich', 'asyncio', "
        "'pathspec') if m in sys.modules]); "
        "polars_alf.plan_removals(root); "
        "polars_alf.verify_archive(root); "
        "polars_alf.scan_datasets(root).collect(); "
        "print([m for m in ('pandas', 'pyarrow.compute') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines() == ["[]", "[]"], result.stderr
