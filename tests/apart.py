"""Code in a process of its own that starts at once, since what it needs is loaded already.

A server that has loaded the package, and done nothing with it, forks for each run. It has loaded as
well what every command loads when it begins: that takes longer than most commands of a test.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 120
"""Seconds after which a run that was to end has not."""

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_context = multiprocessing.get_context(_METHOD)
_context.set_forkserver_preload(
    [
        *("polars_alf.index.api", "polars_alf.cli.app", "polars_alf.cli.archive"),
        *("polars_alf.cli.tables", "pydantic.type_adapter", "rich.progress"),
    ]
)


def run_apart(
    code: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    stdin: str = os.devnull,
    stdout: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run code as ``python -c`` does, in the folder and with the environment of this process.

    Parameters
    ----------
    code
        What is run.
    arguments
        Of the code, in `sys.argv`.
    environment
        Variables beside those of this process, or in their place.
    cwd
        Another folder than that of this process.
    stdin, stdout
        Paths of files or terminals that are these streams; without one, stdout is returned.
    """
    with tempfile.TemporaryDirectory() as folder:
        state = (str(cwd or Path.cwd()), {**os.environ, **(environment or {})})
        process = _context.Process(
            target=_run, args=(code, list(arguments), folder, *state, stdin, stdout)
        )
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"the process did not end within {PATIENCE} s")
        paths = [Path(folder, name) for name in ("stdout", "stderr")]
        texts = [path.read_text() if path.exists() else "" for path in paths]
    return subprocess.CompletedProcess(code, process.exitcode, *texts)


def _run(
    code: str,
    arguments: list[str],
    folder: str,
    cwd: str,
    environ: dict[str, str],
    stdin: str,
    stdout: str,
) -> None:
    paths = (stdin, stdout or Path(folder, "stdout"), Path(folder, "stderr"))
    for descriptor, path in enumerate(paths):
        flags = os.O_WRONLY | os.O_CREAT if descriptor else os.O_RDONLY
        target = os.open(path, flags | getattr(os, "O_NOCTTY", 0), 0o600)
        os.dup2(target, descriptor)
        os.close(target)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["-c", *arguments]
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
