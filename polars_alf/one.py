"""ONE with this package's functions in place of those of `one.alf.cache`.

Examples
--------
>>> import polars_alf.one
>>> polars_alf.one.enable()  # once, before or after `import one`
>>> from one.api import ONE
>>> one = ONE(mode="local")  # loads its tables with polars_alf.one.load_tables
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import uuid
from collections.abc import Callable
from inspect import isfunction
from typing import Any

from polars_alf.errors import MissingExtraError

# With pandas 3, ONE joins insertions to sessions by the wrong ids and finds none: the rows that
# it looks up have the name of the sessions' index, no longer that of what it looks for.
_SEARCH = "_search_insertions"

# ONE's functions by name, as they were before the first call of `enable`.
_originals: dict[str, Callable[..., Any]] = {}


class Enabled:
    """The context of `enable`: it disables at its end, unless ONE was enabled before."""

    def __init__(self, was_enabled: bool) -> None:
        self._was_enabled = was_enabled

    def __enter__(self) -> Enabled:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._was_enabled:
            disable()


def enable() -> Enabled:
    """Replace the functions of `one.alf.cache` by ours in all modules of ONE.

    It may be called before or after ONE is imported, and again: later calls replace them in
    modules that were imported since. Names that other packages imported from `one.alf.cache`
    stay ONE's.

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
    ours = _list_functions()
    was_enabled = is_enabled()
    for name in ours:
        _originals.setdefault(name, getattr(theirs, name))
    _replace(_originals, ours)
    _mend_search()
    return Enabled(was_enabled)


def disable() -> None:
    """Restore ONE's own functions; do nothing if they are in place."""
    if _originals:
        _replace(_list_functions(), _originals)
        client = sys.modules["one.api"].One
        original = getattr(getattr(client, _SEARCH, None), "__wrapped__", None)
        if original:
            setattr(client, _SEARCH, original)


def is_enabled() -> bool:
    """Whether ONE has our functions."""
    theirs = sys.modules.get("one.alf.cache")
    return theirs is not None and any(
        getattr(theirs, name) is not original for name, original in _originals.items()
    )


def _mend_search() -> None:
    """Let ONE find insertions by the ids of their sessions, whatever pandas it has."""
    client = importlib.import_module("one.api").One
    original = getattr(client, _SEARCH, None)
    if original is None or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def search(self: Any, *arguments: Any, **filters: Any) -> Any:
        sessions = self._cache["sessions"]
        self._cache["sessions"] = sessions.rename_axis("eid")
        try:
            return original(self, *arguments, **filters)
        finally:
            self._cache["sessions"] = sessions

    setattr(client, _SEARCH, search)


def load_tables(tables_dir: str | os.PathLike[str], glob_pattern: str = "*.pqt") -> Any:
    """Load tables by `polars_alf.cache.load_tables`, a missing MD5 as None.

    ONE takes the empty text for an MD5, digests each such file that it loads and says that it has
    another one. It spares both where there is None, and not where there is any other null.
    """
    from polars_alf import cache

    caches = cache.load_tables(tables_dir, glob_pattern)
    datasets = caches["datasets"]
    if "hash" in datasets:
        hashes = datasets["hash"].astype(object)
        datasets["hash"] = hashes.where(hashes.notna() & (hashes != ""), None)
    return caches


def cast_index_object(df: Any, dtype: Callable[[Any], Any] = uuid.UUID) -> Any:
    """Cast ids by `polars_alf.cache.cast_index_object`; as texts, which ONE saves, no MD5 is ''."""
    from polars_alf import cache

    cast = cache.cast_index_object(df, dtype)
    if dtype is str and {"rel_path", "hash"} <= {*cast.columns}:
        cast = cast.fillna({"hash": ""})
    return cast


def _list_functions() -> dict[str, Callable[..., Any]]:
    from polars_alf import cache  # loads pandas

    theirs = sys.modules["one.alf.cache"]  # which has not all of earlier versions
    values = {name: getattr(cache, name) for name in cache.__all__ if hasattr(theirs, name)}
    values |= {"load_tables": load_tables, "cast_index_object": cast_index_object}
    return {name: value for name, value in values.items() if isfunction(value)}


def _replace(old: dict[str, Callable[..., Any]], new: dict[str, Callable[..., Any]]) -> None:
    # By identity, as a module may hold a function under another name.
    replacements = {id(function): new[name] for name, function in old.items()}
    for module_name, module in list(sys.modules.items()):
        if module_name == "one" or module_name.startswith("one."):
            for name, value in list(vars(module).items()):
                if id(value) in replacements:
                    setattr(module, name, replacements[id(value)])
