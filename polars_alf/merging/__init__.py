"""Merge the tables of many archives, or of many parts of one."""

from polars_alf.merging.flow import MergedTables, merge_tables

__all__ = ["MergedTables", "merge_tables"]
