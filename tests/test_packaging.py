"""The recipe for conda and the file for containers say what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from polars_alf import __version__

ROOT = Path(__file__).parents[1]
CONDA = ROOT / "packaging" / "conda"

pytestmark = pytest.mark.skipif(
    not (ROOT / "packaging").is_dir(), reason="these files are not beside the tests"
)

CONDA_NAMES = {"xxhash": "python-xxhash"}


def test_the_recipe_has_the_requirements_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = yaml.safe_load((CONDA / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == __version__
    wanted = [f"python {project['requires-python']}"]
    for requirement in project["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        wanted.append(f"{CONDA_NAMES.get(name, name)} {bound}")
    assert recipe["requirements"]["run"] == wanted


@pytest.mark.parametrize(
    ("platform", "compiler", "library"),
    [
        ("linux-64", "gcc_linux-64", "sysroot_linux-64 2.17.*"),
        ("linux-aarch64", "gcc_linux-aarch64", "sysroot_linux-aarch64 2.17.*"),
        ("osx-arm64", "clang_osx-arm64", "macosx_deployment_target_osx-arm64 11.0.*"),
        ("win-64", "vs2022_win-64", "vs_win-64 2022.*"),
    ],
)
def test_rattler_build_understands_the_recipe(platform: str, compiler: str, library: str) -> None:
    build = pytest.importorskip("rattler_build")
    target = build.PlatformConfig(target_platform=platform)
    variants = build.VariantConfig.from_file_with_context(
        CONDA / "variants.yaml", build.JinjaConfig(platform=target)
    )
    recipe = build.Stage0Recipe.from_file(CONDA / "recipe.yaml")
    (found,) = recipe.render(variants, build.RenderConfig(platform=target))
    assert (found.recipe.package.name, found.recipe.package.version) == ("polars-alf", __version__)
    assert found.recipe.requirements.to_dict()["build"] == [compiler, library]


def test_the_container_runs_the_command_and_not_as_root() -> None:
    text = (ROOT / "packaging/Containerfile").read_text(encoding="utf-8")
    last = text.rpartition("\nFROM ")[2]
    # By its number: Kubernetes cannot tell of a name that it is not root's.
    (user,) = re.findall(r"^USER (\d+)$", last, re.M)
    assert user != "0"
    assert f"useradd --create-home --uid {user} " in last
    assert 'ENTRYPOINT ["polars-alf"]' in last
