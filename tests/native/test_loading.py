"""The functions in C: built or not, loaded or not, switched off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest

import polars_alf

REPOSITORY = Path(__file__).resolve().parents[2]

EXTENSION = "polars_alf.native._native"

CODE = (
    "import sys; from polars_alf.native import IMPLEMENTATION; "
    f"print(IMPLEMENTATION, {EXTENSION!r} in sys.modules)"
)

NATIVE, PYTHON = "native True", "python False"


def load(folder: Path | None = None, switch: str = "") -> str:
    """Return what a new Python loads, from a folder with the package if one is given."""
    path = {"PYTHONPATH": str(folder)} if folder else {}
    result = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        capture_output=True,
        text=True,
        env=os.environ | {"POLARS_ALF_NATIVE": switch} | path,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_what_is_built_is_loaded() -> None:
    assert load() == (NATIVE if find_spec(EXTENSION) else PYTHON)


def test_the_switch_leaves_it_alone() -> None:
    assert load(switch="0") == PYTHON


def test_an_extension_of_another_machine_is_passed_over(tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", *(f"*{s}" for s in EXTENSION_SUFFIXES))
    installed = Path(polars_alf.__file__).parent
    package = shutil.copytree(installed, tmp_path / "polars_alf", ignore=skipped)
    (package / f"native/_native{EXTENSION_SUFFIXES[-1]}").write_bytes(b"\x7fELF of something else")
    assert load(tmp_path) == PYTHON


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="no CC there")
@pytest.mark.parametrize("compiler", ["gcc", "/bin/false"])
def test_a_wheel_is_made_with_and_without_a_compiler(tmp_path: Path, compiler: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"there is no {compiler}")
    is_native = compiler == "gcc"
    sources = tmp_path / "sources"
    skipped = shutil.ignore_patterns("__pycache__", "*.so")
    package = shutil.copytree(REPOSITORY / "polars_alf", sources / "polars_alf", ignore=skipped)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, sources)
    environment = os.environ | {"CC": compiler}
    environment.pop("POLARS_ALF_NATIVE", None)
    # A file of an earlier build with a compiler, which must not get into a wheel without.
    for pip_environment in (os.environ | {"CC": "gcc"}, environment)[is_native:]:
        shutil.rmtree(tmp_path / "wheels", ignore_errors=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--wheel-dir", str(tmp_path / "wheels"), str(sources)),
            ],
            check=True,
            env=pip_environment,
        )

    (wheel,) = (tmp_path / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("polars_alf/")}
        archive.extractall(tmp_path / "installed")
    wanted = {
        path.relative_to(sources).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".c", ".h")
    }
    if is_native:
        assert "-cp311-abi3-" in wheel.name
        wanted.add("polars_alf/native/_native.abi3.so")
    else:
        assert wheel.name.endswith("-py3-none-any.whl")
    assert names == wanted
    assert load(tmp_path / "installed") == (NATIVE if is_native else PYTHON)
