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


def run_on_terminal(*arguments: object, stream: str = "stdout") -> tuple[int, str]:
    """Run a command with one of its streams on a terminal; return what that shows."""
    ours, theirs = os.openpty()
    streams = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL) | {stream: theirs}
    process = subprocess.Popen(
        [sys.executable, "-m", "polars_alf", *map(str, arguments)],
        env=os.environ | _ENVIRONMENT,
        **streams,  # type: ignore[call-overload]
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux tells that nobody has the other end
        pass
    os.close(ours)
    return process.wait(), shown.decode()
