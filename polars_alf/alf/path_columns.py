"""Columns of paths, as expressions: relative to an archive's root or to a folder in it."""

from __future__ import annotations

import polars as pl


def expr_join(directory: str, name: str | pl.Expr) -> pl.Expr:
    """Return the paths of names in directories; either may be ""."""
    return pl.concat_str(directory, name, separator="/").str.strip_chars("/")


def expr_below(path: str, folder: str) -> pl.Expr:
    """Return paths relative to the folders that hold them, "" for a folder itself."""
    start = pl.col(folder).str.len_chars()
    return pl.col(path).str.slice(start).str.strip_prefix("/")


def expr_full(root: str, path: str) -> pl.Expr:
    """Return the full paths of paths relative to a root, whose path has slashes."""
    return pl.concat_str(pl.lit(root.rstrip("/") + "/"), path).str.strip_suffix("/")
