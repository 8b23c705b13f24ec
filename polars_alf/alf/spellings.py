"""Old spellings of parameters, which go on working with a note."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from polars_alf.display import warn_caller

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def accepting_old_spellings(
    **spellings: str,
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Let a function take parameters by the names that they had: ``old="new"``.

    Whoever uses one gets a DeprecationWarning.
    """

    def decorate(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        @functools.wraps(function)
        def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            for old in spellings.keys() & kwargs.keys():
                new = spellings[old]
                if new in kwargs:
                    raise TypeError(
                        f"{function.__name__}() got both {new!r} and {old!r}, its old name"
                    )
                warn_caller(f"{old} of {function.__name__} is spelt {new} now", DeprecationWarning)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
