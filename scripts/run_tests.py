"""Run the tests, from a fresh machine on: `python3.11 scripts/run_tests.py [options of pytest]`.

Makes two environments the first time, and again when pyproject.toml, setup.py or the sources in C
have changed: .venv with pandas 3, in which every test is run, and .venv-pandas2, in which those
marked `pandas` are run again. Tests marked `slow` are left out unless --slow is given. Fails if
either run fails.

POLARS_ALF_VENV_DIR may name another folder for the environments.
"""

from __future__ import annotations

import subprocess
import sys

from _environment import REPOSITORY, prepare_environment, tell

NO_TESTS_COLLECTED = 5


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    slow = "--slow" in arguments
    options = [argument for argument in arguments if argument != "--slow"]

    python = prepare_environment(".venv", "test", "pandas>=3")
    every = run_tests(python, [] if slow else ["-m", "not slow"], options)

    python = prepare_environment(".venv-pandas2", "test", "pandas<3")
    pandas2 = run_tests(python, ["-m", "pandas" if slow else "pandas and not slow"], options)
    # A selection of tests may well have none of those marked `pandas`.
    if options and pandas2 == NO_TESTS_COLLECTED:
        pandas2 = 0

    tell(f"pandas 3: {describe_exit(every)}; pandas 2: {describe_exit(pandas2)}")
    return every or pandas2


def run_tests(python: str, marked: list[str], options: list[str]) -> int:
    command = [python, "-m", "pytest", "--numprocesses", "auto", *marked, *options]
    tell(" ".join(command))
    return subprocess.run(command, cwd=REPOSITORY).returncode


def describe_exit(code: int) -> str:
    return f"failed with exit code {code}" if code else "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
