"""Run the tests, from a fresh machine on: `python3.11 scripts/run_tests.py [options of pytest]`.

Makes two environments the first time, and again when pyproject.toml, setup.py or the sources in C
have changed: .venv with pandas 3, in which every test is run, and .venv-pandas2, in which those
marked `pandas` are run again. The quick tests are run; with --slow those marked `slow` in their
place, and with --all these, the quick ones and those marked `thorough`. Fails if either run fails.

POLARS_ALF_VENV_DIR may name another folder for the environments.
"""

from __future__ import annotations

import subprocess
import sys

from _environment import REPOSITORY, prepare_environment, tell

NO_TESTS_COLLECTED = 5

QUICK = "not slow and not thorough"

MARKED = {"--slow": "slow and not thorough", "--all": ""}
"""Options that choose other tests than the quick ones, and what these are marked with."""


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    options = [argument for argument in arguments if argument not in MARKED]
    marked = next((MARKED[argument] for argument in arguments if argument in MARKED), QUICK)

    python = prepare_environment(".venv", "test", "pandas>=3")
    every = run_tests(python, marked, options)

    python = prepare_environment(".venv-pandas2", "test", "pandas<3")
    pandas2 = run_tests(python, f"pandas and ({marked})" if marked else "pandas", options)
    # A selection of tests may well have none of those marked `pandas`.
    if options and pandas2 == NO_TESTS_COLLECTED:
        pandas2 = 0

    tell(f"pandas 3: {describe_exit(every)}; pandas 2: {describe_exit(pandas2)}")
    return every or pandas2


def run_tests(python: str, marked: str, options: list[str]) -> int:
    command = [python, "-m", "pytest", "--numprocesses", "auto", "-m", marked, *options]
    tell(" ".join(command))
    return subprocess.run(command, cwd=REPOSITORY).returncode


def describe_exit(code: int) -> str:
    return f"failed with exit code {code}" if code else "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
