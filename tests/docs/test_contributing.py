"""The table of rooms in CONTRIBUTING is that of the package."""

from __future__ import annotations

import ast
from pathlib import Path

from house import PACKAGE
from test_architecture import ROOMS

CONTRIBUTING = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def describe_room(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    package = PACKAGE / room / "__init__.py"
    path = package if package.is_file() else PACKAGE / f"{room}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def test_rooms_are_those_of_the_package() -> None:
    table = "\n".join(f"| `{room}` | {describe_room(room)} |" for room in ROOMS)
    shown = CONTRIBUTING.partition("| room | |\n|---|---|\n")[2].strip()
    assert shown == table, f"put this table into CONTRIBUTING.md:\n{table}"
