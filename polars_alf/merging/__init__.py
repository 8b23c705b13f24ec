"""Merge the tables of many archives, or of many parts of one."""

from polars_alf.merging.flow import MergedTables, merge_tables
from polars_alf.merging.sources import KEEPS, Keep

__all__ = ["KEEPS", "Keep", "MergedTables", "merge_tables"]
