"""Measure how a storage system serves ALF archives, and compare such systems."""

from polars_alf.benching.flow import bench_storage
from polars_alf.benching.operations import Operation
from polars_alf.benching.results import StorageReport, find_advice, read_report

__all__ = ["Operation", "StorageReport", "bench_storage", "find_advice", "read_report"]
