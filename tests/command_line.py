"""The command line in this process."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polars_alf", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        **options,  # type: ignore[call-overload]
    )
