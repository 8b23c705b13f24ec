"""Figures as a person would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.filesize import decimal


def describe_times(least: float, most: float) -> str:
    """Return such as "2.4 to 3.1 times"."""
    low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (least, most))
    return f"{low} times" if low == high else f"{low} to {high} times"


def join_words(words: Sequence[str] | pl.Series) -> str:
    """Return words as a list in a sentence."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else str(last)


def describe_count(n_files: int) -> str:
    """Return a number of millions, such as "100 million"."""
    billions = n_files / 1_000_000_000
    return f"{billions:g} billion" if billions >= 1 else f"{n_files / 1_000_000:g} million"


def describe_seconds(seconds: float) -> str:
    """Return a time in the unit that a person would choose."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        amount = seconds / size
        if amount < limit:
            return f"{amount:.2g} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{seconds / 86400:,.1f} days"


def describe_latency(nanoseconds: float | None) -> str:
    """Return a latency with three digits, or a dash for None."""
    if nanoseconds is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def describe_rate(figure: dict[str, Any]) -> str:
    """Return the throughput of a figure: in bytes or files where they count, else in operations."""
    if figure.get("byte_rate") is not None:
        return f"{decimal(int(figure['byte_rate']))}/s"
    return f"{figure['rate'] * (figure.get('amount') or 1):,.0f}/s"
