"""The names of the folders of dates and sessions, which are judged before anything is loaded."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Sequence

DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
"""Pattern of a date's folder, for other patterns to contain."""

NUMBER = r"[0-9]{1,3}"
"""Pattern of a session's folder."""

_match_date = re.compile(DATE).fullmatch
_match_dates = re.compile(rf"{DATE}(?:/{DATE})*").fullmatch
_match_number = re.compile(NUMBER).fullmatch


def looks_like_date(name: str) -> bool:
    """Whether a folder's name has the shape of a date, even if there is no such day."""
    return _match_date(name) is not None


def look_like_dates(names: Sequence[str]) -> bool:
    """Whether all of some folders' names do."""
    return _match_dates("/".join(names)) is not None


@functools.lru_cache(1 << 14)
def is_date(name: str) -> bool:
    """Whether a folder's name is a calendar date, from 0001-01-01 to 9999-12-31."""
    if not looks_like_date(name):
        return False
    try:
        datetime.date.fromisoformat(name)
    except ValueError:
        return False
    return True


def is_number(name: str) -> bool:
    """Whether a folder's name is a session's number: one to three digits."""
    return _match_number(name) is not None
