"""The command line in a process of its own."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apart import run_apart

_ENVIRONMENT = {"COLUMNS": "200"}

MAIN = "from polars_alf.__main__ import main; main()"


def run(
    *arguments: object,
    cwd: Path | None = None,
    stdin: str = os.devnull,
    stdout: str = "",
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run a command as `run_apart` does, or anew with other options, those of `subprocess.run`."""
    texts = [*map(str, arguments)]
    if not options:
        return run_apart(MAIN, texts, _ENVIRONMENT, cwd=cwd, stdin=stdin, stdout=stdout)
    return subprocess.run(
        [sys.executable, "-m", "polars_alf", *texts],
        capture_output=True,
        text=True,
        **{"env": os.environ | _ENVIRONMENT, **options},  # type: ignore[call-overload]
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
    shown: list[bytes] = []
    _read(ours, shown)
    os.close(ours)
    return process.wait(), b"".join(shown).decode()


def show_on_terminal(*arguments: object, columns: int, code: str = MAIN) -> tuple[int, str]:
    """Run a command, or other code, with stdout on a terminal so wide; return what that shows."""
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown: list[bytes] = []
    # While the command runs: a terminal that nobody reads takes some thousand characters.
    reader = threading.Thread(target=_read, args=(ours, shown))
    reader.start()
    environment = {"COLUMNS": "", "TERM": "xterm"}
    try:
        result = run_apart(code, [*map(str, arguments)], environment, stdout=os.ttyname(theirs))
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return result.returncode, b"".join(shown).decode()


def _read(descriptor: int, shown: list[bytes]) -> None:
    try:
        while part := os.read(descriptor, 65536):
            shown.append(part)
    except OSError:  # how Linux tells that nobody has the other end
        pass


def list_commands() -> Iterator[tuple[str, Any]]:
    """Yield the names of all commands, such as ``bench run``, and the commands."""
    import typer

    from polars_alf.cli.app import app

    pending: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while pending:
        name, command = pending.pop()
        inner = getattr(command, "commands", {})
        pending += [(f"{name} {word}".strip(), found) for word, found in inner.items()]
        if not inner:
            yield name, command
