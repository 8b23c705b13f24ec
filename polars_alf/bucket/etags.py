"""ETags of objects, as numbers that change with them and as MD5s."""

from __future__ import annotations

import polars as pl

_MD5 = "^[0-9a-f]{32}$"

_WORDS = 12
"""Words of eight bytes of an ETag and a version that count: three times as many as MD5s have."""

_FACTOR = 0x9E3779B97F4A7C15
"""Odd, so that texts that differ in one word never have the same number."""


def expr_md5() -> pl.Expr:
    """Return the ETags that look like an MD5, as those of objects in one part do, '' for others."""
    tag = pl.col("e_tag").str.strip_chars('"').str.to_lowercase()
    return pl.when(tag.str.contains(_MD5)).then(tag).otherwise(pl.lit(""))


def expr_number() -> pl.Expr:
    """Return a number of an object's ETag and version, UInt64, the same on every machine."""
    parts = pl.col("e_tag").str.strip_chars('"').fill_null(""), pl.col("version").fill_null("")
    text = pl.concat_str(*parts, separator=" ").str.pad_end(8 * _WORDS, " ").cast(pl.Binary)
    number = pl.lit(0, pl.UInt64)
    for word in range(_WORDS):
        bits = text.bin.slice(8 * word, 8).bin.reinterpret(dtype=pl.UInt64, endianness="little")
        number = (number ^ bits) * pl.lit(_FACTOR, pl.UInt64)
    return number
