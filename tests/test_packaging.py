"""The recipe for conda and the file for containers say what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from polars_alf import __version__

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "packaging").is_dir(), reason="these files are not beside the tests"
)

CONDA_NAMES = {"xxhash": "python-xxhash"}


def test_the_recipe_has_the_requirements_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == __version__
    wanted = [f"python {project['requires-python']}"]
    for requirement in project["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        wanted.append(f"{CONDA_NAMES.get(name, name)} {bound}")
    assert recipe["requirements"]["run"] == wanted


def test_the_container_runs_the_command_and_not_as_root() -> None:
    text = (ROOT / "packaging/Containerfile").read_text(encoding="utf-8")
    last = text.rpartition("\nFROM ")[2]
    user = re.findall(r"^USER (\w+)$", last, re.M)
    assert user
    assert user[-1] not in {"root", "0"}
    assert f"useradd --create-home --uid 1000 {user[-1]}" in last
    assert 'ENTRYPOINT ["polars-alf"]' in last
