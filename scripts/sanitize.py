"""Run tests of the functions in C under AddressSanitizer and UBSan: `python scripts/sanitize.py`.

Builds the extension with both in a copy of the sources, so that what is installed stays as it is,
and runs the tests of the functions and of the walker, or pytest with the arguments that are given,
such as tests/hostile. Needs Linux, gcc, and a Python that has what the tests need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

TESTS = (
    "tests/native",
    *(f"tests/walk/test_{name}.py" for name in ("batches", "digests", "lister", "walker")),
)

OPTIONS = ("--numprocesses", "auto", "-m", "not thorough")

COPIED = ("polars_alf", "tests", "scripts", "benchmarks", "pyproject.toml", "setup.py")

SOURCE = "polars_alf/native/_native.c"
EXTENSION = "polars_alf/native/_native.abi3.so"

NAME = "polars_alf.native._native"

FLAGS = (
    *("-shared", "-fPIC", "-g", "-O1", "-fno-omit-frame-pointer", "-DPy_LIMITED_API=0x030B0000"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
)

ENVIRONMENT = {
    # Python keeps much until its end.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # Python's own allocator hides where a block ends.
    "PYTHONMALLOC": "malloc",
}

SHOW = f"import sys, polars_alf.native; print(sys.modules[{NAME!r}].__file__)"


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if not sys.platform.startswith("linux") or not shutil.which("gcc"):
        sys.exit("error: this needs Linux and gcc (Debian and Ubuntu: apt install gcc)")
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_sources(Path(folder))
        build_extension(copy)
        environment = os.environ | ENVIRONMENT
        environment |= {"LD_PRELOAD": find_runtime(), "PYTHONPATH": str(copy)}
        environment.pop("POLARS_ALF_NATIVE", None)
        loaded = run([sys.executable, "-c", SHOW], copy, environment, stdout=subprocess.PIPE).stdout
        if loaded.split() != [str(copy / EXTENSION)]:
            sys.exit(f"error: what was built is not loaded, but {loaded.strip() or 'nothing'}")
        command = [sys.executable, "-m", "pytest", *(arguments or (*TESTS, *OPTIONS))]
        return run(command, copy, environment).returncode


def copy_sources(folder: Path) -> Path:
    """Return a copy of what the tests need, without what is built."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "runs")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder)
    return folder.resolve()


def build_extension(copy: Path) -> None:
    include = "-I" + sysconfig.get_path("include")
    command = ["gcc", *FLAGS, include, str(copy / SOURCE), "-o", str(copy / EXTENSION)]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit("error: the extension does not compile: see above")


def find_runtime() -> str:
    """Return the sanitizer's library, which a program that is not built with it loads first."""
    command = ["gcc", "-print-file-name=libasan.so"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(path):
        sys.exit("error: gcc has no libasan (Debian and Ubuntu: apt install gcc)")
    return os.path.realpath(path)


def run(
    command: list[str], folder: Path, environment: dict[str, str], stdout: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, stdout=stdout, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
