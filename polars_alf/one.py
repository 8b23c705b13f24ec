"""ONE with this package's functions in place of those of `one.alf.cache`.

Examples
--------
>>> import polars_alf.one
>>> polars_alf.one.enable()  # once, before or after `import one`
>>> from one.api import ONE
>>> one = ONE(mode="local")  # loads its tables with polars_alf.cache.load_tables
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from inspect import isfunction
from types import TracebackType
from typing import Any

from polars_alf.errors import MissingExtraError

# ONE's functions by name, from the first call of `enable`, when they were still in place.
_originals: dict[str, Callable[..., Any]] = {}


class Enabled:
    """What `enable` returns: a context manager that disables again, if it was that call's doing."""

    def __init__(self, was_enabled: bool) -> None:
        self._was_enabled = was_enabled

    def __enter__(self) -> Enabled:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._was_enabled:
            disable()


def enable() -> Enabled:
    """Put our functions wherever ONE's modules have the originals.

    It may be called before or after ONE is imported, and again: later calls take care of modules
    that were imported since. Names that other packages took from `one.alf.cache` stay as they are.

    Returns
    -------
    Enabled
        For use in a `with` statement; may be ignored.

    Raises
    ------
    MissingExtraError
        ONE, or pandas, is not installed.
    """
    try:
        theirs = importlib.import_module("one.alf.cache")
    except ImportError as error:
        raise MissingExtraError(
            f'polars_alf.one needs {error.name}: pip install "polars-alf[one]"', name=error.name
        ) from error
    from polars_alf import cache as ours

    was_enabled = is_enabled()
    values = {name: getattr(ours, name) for name in ours.__all__}
    replacements = {name: value for name, value in values.items() if isfunction(value)}
    for name in replacements:
        _originals.setdefault(name, getattr(theirs, name))
    _replace((_originals[name], function) for name, function in replacements.items())
    return Enabled(was_enabled)


def disable() -> None:
    """Put ONE's own functions back; does nothing if they are in place."""
    if _originals:
        from polars_alf import cache as ours

        _replace((getattr(ours, name), original) for name, original in _originals.items())


def is_enabled() -> bool:
    """Whether ONE has our functions."""
    theirs = sys.modules.get("one.alf.cache")
    return theirs is not None and any(
        getattr(theirs, name) is not original for name, original in _originals.items()
    )


def _replace(pairs: Iterable[tuple[Callable[..., Any], Callable[..., Any]]]) -> None:
    # By identity, under whichever name a module holds them.
    replacements = {id(old): new for old, new in pairs}
    for module_name, module in list(sys.modules.items()):
        if module_name == "one" or module_name.startswith("one."):
            for name, value in list(vars(module).items()):
                if id(value) in replacements:
                    setattr(module, name, replacements[id(value)])
