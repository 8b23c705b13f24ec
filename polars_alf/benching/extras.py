"""The packages of the extra ``bench``, asked for before anything is measured."""

from __future__ import annotations

from importlib.util import find_spec

from polars_alf.errors import MissingExtraError

NEEDED = ("scipy", "altair", "vl_convert", "jinja2")


def check_extra() -> None:
    """Check that all of them are there, without loading them.

    Raises
    ------
    MissingExtraError
        One is not.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError(
                f'measuring storage needs {name}: pip install "polars-alf[bench]"', name=name
            )
