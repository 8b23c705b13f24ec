"""Texts that differ in one letter, or in case and punctuation only. Pure."""

from __future__ import annotations

import polars as pl


def add_keys(frame: pl.DataFrame, column: str = "stem") -> pl.DataFrame:
    """Add ``key``, the letters and digits of a text in lower case, without rows that have none."""
    key = pl.col(column).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
    return frame.with_columns(key=key).filter(pl.col("key") != "")


def pair_by_letter(left: pl.DataFrame, right: pl.DataFrame, least: int) -> pl.DataFrame:
    """Join rows whose keys, of `least` letters at least, differ in one letter, or two swapped."""
    pairs = _add_deletions(left).join(_add_deletions(right), on="deletion", suffix="_known")
    key, other = pl.col("key"), pl.col("key_known")
    return pairs.filter(
        key != other,
        pl.min_horizontal(key.str.len_chars(), other.str.len_chars()) >= least,
        key.str.head(1) == other.str.head(1),
        # One number more is another camera.
        key.str.replace_all(r"\D", "") == other.str.replace_all(r"\D", ""),
    )


def _add_deletions(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each key a row for itself, and one for each character that can be left out."""
    key = pl.col("key")
    longest = frame["key"].str.len_chars().max() or 0
    texts = [
        pl.concat_str(key.str.slice(0, at), key.str.slice(at + 1))
        for at in range(longest)  # type: ignore[arg-type]
    ]
    texts.append(key)
    return (
        frame.with_columns(deletion=pl.concat_list(texts).list.unique())
        .explode("deletion")
        .unique(maintain_order=True)
    )
