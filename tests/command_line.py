"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from apart import run_apart

_ENVIRONMENT = {"COLUMNS": "200"}


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; with options, those of `subprocess.run`, in a new interpreter."""
    texts = [*map(str, arguments)]
    if not options:
        return run_apart("from polars_alf.__main__ import main; main()", texts, _ENVIRONMENT)
    return subprocess.run(
        [sys.executable, "-m", "polars_alf", *texts],
        capture_output=True,
        text=True,
        env=os.environ | _ENVIRONMENT,
        **options,  # type: ignore[call-overload]
    )
