"""Imports point one way, and the package alone loads nothing heavy that is not its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from trees import make_tree

PACKAGE = Path(__file__).parents[1] / "polars_alf"

LAYERS = [
    {"errors", "_version"},
    {"spec"},
    {"schema", "progress", "paths", "cluster", "waiting", "temporary", "seals"},
    {"sources", "ids", "digests", "layout", "shards", "executors", "tablefiles"},
    {"tables", "store", "checks", "parts"},
    {"spool"},
    {"snapshots", "runs", "rows", "one_lock"},
    {"commits", "reports", "assembling", "formats"},
    {"settling"},
    {"scanning", "reading", "requests"},
    {"known_ids", "pairs"},
    {"indexing", "walking"},
    {"pruning", "comparing", "summarizing", "querying"},
    {"merging", "verifying"},
    {"rendering", "cache", "benching"},
    {"one", "commands"},
    {"cli"},
    {"__main__"},
]


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("polars_alf"):
            inside = (node.module or "").removeprefix("polars_alf").lstrip(".")
            names |= {inside} if inside else {alias.name for alias in node.names}
    return names


def _layer(module: str) -> int | None:
    for level, names in enumerate(LAYERS):
        if module in names or module.split(".")[0] in names:
            return level
    return None


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_imports_point_to_lower_layers(path: Path) -> None:
    module = _module_name(path)
    level = _layer(module)
    assert level is not None, f"{module} has no layer; give it one"
    for name in _imports(path):
        other = _layer(name)
        if other is None or name.split(".")[0] == module.split(".")[0]:
            continue
        assert other < level, f"{module} imports {name}, which lies beside or above it"


def test_import_loads_no_pandas_one_or_dask() -> None:
    code = (
        "import polars_alf, sys; "
        "print([m for m in ('pandas', 'one', 'dask', 'distributed', 'typer', 'rich', "
        "'scipy', 'altair') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_an_index_loads_only_what_it_needs(tmp_path: Path) -> None:
    datasets = {"alf/spikes.times.npy": "", "notes.txt": ""}
    root = make_tree(tmp_path / "archive", {"subject/2020-01-01/001": datasets})
    code = (
        "import polars_alf, sys; "
        f"polars_alf.index_archive({str(root)!r}); "
        "print([m for m in ('pandas', 'pyarrow.compute', 'joblib', 'loky', 'rich') "
        "if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
