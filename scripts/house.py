"""Measure the package's structure: `python scripts/house.py [FOLDER]`.

Prints, for each room (a package or a top-level module), its modules, lines and floors, and then
the figures of the whole: modules, lines, arrows (imports of one module by another, counted once)
and floors (modules on the longest chain of imports). Needs nothing but Python.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "polars_alf"


def list_modules(package: Path) -> dict[str, Path]:
    """Return the file of each module by its dotted name below the package, `__init__` left out."""
    files = sorted(path for path in package.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in files}


def list_imports(package: Path, name: str, *, lazy: bool = True) -> set[str]:
    """Return the package's modules that one of them imports.

    Parameters
    ----------
    package
        Folder of the package.
    name
        The importing module, as `list_modules` names it.
    lazy
        Whether imports inside functions and for type checkers count, too.
    """
    modules = list_modules(package)
    tree = ast.parse(modules[name].read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package.name:
            inside = (node.module or "").removeprefix(package.name).lstrip(".")
            for alias in node.names:
                full = f"{inside}.{alias.name}".lstrip(".")
                found.add(full if full in modules else inside)
    return found & modules.keys() - {name}


def room_of(module: str) -> str:
    """Return the room of a module: its package, or itself."""
    return module.partition(".")[0]


def count_floors(imports: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each module: 1 where it imports none, else one above its highest.

    Raises
    ------
    RecursionError
        Modules import each other in a circle.
    """

    @cache
    def floor(name: str) -> int:
        return 1 + max((floor(other) for other in imports[name]), default=0)

    return {name: floor(name) for name in imports}


def main(arguments: list[str]) -> None:
    package = Path(arguments[0]).resolve() if arguments else PACKAGE
    modules = list_modules(package)
    imports = {name: list_imports(package, name, lazy=False) for name in modules}
    floors = count_floors(imports)
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules.items()}
    print(f"{'room':<12}{'modules':>8}{'lines':>8}  floors")
    for room in sorted(
        {*map(room_of, modules)},
        key=lambda room: min(floors[name] for name in modules if room_of(name) == room),
    ):
        inside = [name for name in modules if room_of(name) == room]
        first, last = min(floors[name] for name in inside), max(floors[name] for name in inside)
        n_lines = sum(lines[name] for name in inside)
        print(f"{room:<12}{len(inside):>8}{n_lines:>8}  {first} to {last}")
    n_init = sum(len(path.read_text("utf-8").splitlines()) for path in package.rglob("__init__.py"))
    longest = max(lines, key=lines.__getitem__)
    print(
        f"\n{len(modules)} modules in {len({*map(room_of, modules)})} rooms, "
        f"{sum(lines.values()) + n_init} lines with every __init__; "
        f"{sum(map(len, imports.values()))} arrows on {max(floors.values())} floors; "
        f"longest {longest}, {lines[longest]} lines"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
