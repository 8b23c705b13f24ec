"""Locales in which Python decodes the names of files as something else than UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

CHARSETS = {"iso8859-1": ("en_US", "ISO-8859-1"), "euc_jp": ("ja_JP", "EUC-JP")}


def make_locale(encoding: str, folder: Path) -> dict[str, str]:
    """Return the variables of a locale, which is made in a folder if the system has it not."""
    if encoding == "ascii":
        return ASCII
    if not shutil.which("localedef") or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("nothing here makes locales")
    language, charset = CHARSETS[encoding]
    path = folder / f"{language}.{charset}"
    command = ["localedef", "--no-archive", "-i", language, "-f", charset, str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return {"LOCPATH": str(folder), "LC_ALL": path.name, "PYTHONUTF8": "0"}


def run_python(
    variables: dict[str, str], *arguments: object, stdin: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Run this Python under some variables; arguments may be bytes."""
    return subprocess.run(
        [sys.executable, *map(os.fsencode, map(_to_text, arguments))],
        input=stdin.encode(),
        capture_output=True,
        env=os.environ | {"COLUMNS": "200"} | variables,
        timeout=60,
    )


def run_command(
    variables: dict[str, str], *arguments: object
) -> subprocess.CompletedProcess[bytes]:
    """Run the command under some variables."""
    return run_python(variables, "-m", "polars_alf", *arguments)


def _to_text(argument: object) -> str:
    return os.fsdecode(argument) if isinstance(argument, bytes) else str(argument)
