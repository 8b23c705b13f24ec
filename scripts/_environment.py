"""Virtual environments for the commands beside this file, made once and reused.

Kept to what an old Python can parse, so that one is told which Python it takes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)


def find_venv_directory() -> Path:
    """Return the folder of the environments, which `POLARS_ALF_VENV_DIR` may name."""
    return Path(os.environ.get("POLARS_ALF_VENV_DIR") or REPOSITORY).resolve()


def prepare_environment(name: str, extra: str, *requirements: str) -> str:
    """Return the Python of an environment with this project, one extra and the requirements.

    What is there is reused as long as what it is built from stays the same: pyproject.toml,
    setup.py and the sources in C. Leaves with a message when the environment cannot be made.
    """
    check_python()
    venv = find_venv_directory() / name
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # One stamp for each extra: the two commands share an environment.
    stamp = venv / ("polars-alf-" + extra + ".stamp")
    wanted = describe_installation(extra, requirements)
    if python.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return str(python)

    if not has_pip(python):
        tell(f"making the environment {venv}")
        run_or_leave(
            [sys.executable, "-m", "venv", str(venv)],
            f"cannot make {venv}: see above; delete what is there of it, and run this again",
        )
    tell(f"installing polars_alf[{extra}] in {venv}; the first time this takes a few minutes")
    run_or_leave(
        [
            *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--editable", f"{REPOSITORY}[{extra}]", *requirements),
        ],
        f"cannot install into {venv}: pip's message above says why; if the environment itself is "
        "broken, delete it and run this again",
    )
    stamp.write_text(wanted)
    return str(python)


def check_python() -> None:
    """Leave unless this Python is new enough and can make an environment with pip in it."""
    version = ".".join(map(str, sys.version_info[:3]))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info < OLDEST_PYTHON:
        leave(f"Python {oldest} or newer is needed, and {sys.executable} is {version}")
    missing = [name for name in ("venv", "ensurepip") if not importlib.util.find_spec(name)]
    if missing:
        leave(
            f"{sys.executable} ({version}) has no {' and no '.join(missing)}: install what your "
            f"system keeps apart (Debian and Ubuntu: apt install python{version[:4]}-venv)"
        )


def describe_installation(extra: str, requirements: tuple[str, ...]) -> str:
    """Return a text that changes when the environment must be installed anew."""
    digest = hashlib.sha256()
    for path in list_build_files():
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return "\n".join([str(REPOSITORY), digest.hexdigest(), extra, *requirements])


def list_build_files() -> list[Path]:
    """Return the files whose changes an editable installation does not see by itself."""
    native = REPOSITORY / "polars_alf" / "native"
    sources = sorted(path for path in native.iterdir() if path.suffix in (".c", ".h"))
    return [REPOSITORY / "pyproject.toml", REPOSITORY / "setup.py", *sources]


def has_pip(python: Path) -> bool:
    command = [str(python), "-m", "pip", "--version"]
    return python.is_file() and subprocess.run(command, capture_output=True).returncode == 0


def run_or_leave(command: list[str], message: str) -> None:
    """Run a command, its output to stderr, and leave with the message if it fails."""
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        leave(message)


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def leave(message: str) -> None:
    sys.exit(f"error: {message}")
