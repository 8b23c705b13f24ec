"""The recommended options of an index: why these, and where later indexes find them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import xxhash
from rich.filesize import decimal

from polars_alf.alf.address import parse_address
from polars_alf.bench.machine import Mount, find_mount
from polars_alf.bench.models import GOOD_ENOUGH, prefer_cold, select_basis
from polars_alf.bench.objects import Bucket
from polars_alf.bench.operations import Operation
from polars_alf.bench.places import find_kind
from polars_alf.bench.results import StorageReport, write_json
from polars_alf.bench.words import describe_rate, join_words
from polars_alf.walk.options import WalkOptions


def explain_advice(report: StorageReport) -> list[str]:
    """Return a sentence for the options of an index, and one for those with digests.

    Each has the figures that the options come from: what was not measured has none.
    """
    advice, reasons = report.advice, []
    if "jobs" in advice:
        chosen = (pl.col("jobs") == advice["jobs"]) & (pl.col("threads") == advice["threads"])
        by_lists = find_kind(report.path).lists_tell_all
        reasons.append(_explain(select_basis(report.figures, by_lists=by_lists), chosen))
    if "digest_jobs" in advice:
        figures = prefer_cold(report.figures, Operation.MD5)
        reasons.append(_explain(figures, pl.col("concurrency") == advice["digest_jobs"]))
    return reasons


def _explain(figures: pl.DataFrame, is_chosen: pl.Expr) -> str:
    operation = Operation(figures["operation"][0])
    if operation is Operation.MD5:
        rates = [f"{decimal(int(rate))}/s" for rate in figures["byte_rate"]]
        did = f"files were read for their MD5 at {join_words(rates)}"
    elif operation is Operation.LIST:
        what = "files" if figures["amount"].count() else "folders"  # in earlier versions
        rates = [describe_rate(figure) for figure in figures.iter_rows(named=True)]
        did = f"{what} were listed at {join_words(rates)}"
    else:
        did = f"an index did {join_words([f'{rate:,.0f}' for rate in figures['rate']])} files/s"
    levels = join_words([str(level) for level in figures["concurrency"]])
    text = f"with {levels} calls at once, {did} ({figures['cache'][0]})"
    chosen = figures.filter(is_chosen)["concurrency"]
    if len(figures) > 1 and len(chosen):
        text += f"; {chosen[0]} is the least within {1 - GOOD_ENOUGH:.0%} of the best"
    if figures["is_noise"].any():
        text += "; some of these are noise: measure again with more --repeats to be sure"
    return text


def save_advice(report: StorageReport) -> None:
    """Save the advice of a report for later indexes on the same mount, where there is a home."""
    values = {"advice": report.advice, "begun": report.begun, "mount": report.mount}
    try:
        path = _advice_path(Mount(**report.mount))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)
    except (OSError, RuntimeError):
        return  # the report has the advice all the same


def find_advice(
    path: str | os.PathLike[str], endpoint_url: str | None = None
) -> dict[str, Any] | None:
    """Return the saved ``advice`` for the mount of a path and when it was ``begun``, or None.

    That for a bucket, at an address, counts for its service: `endpoint_url`, or the environment's.
    """
    try:
        address = parse_address(path)
        if address is None:
            mount = find_mount(Path(path).resolve())
        else:
            mount = Bucket(address, WalkOptions(endpoint_url=endpoint_url)).mount
        values: dict[str, Any] = json.loads(_advice_path(mount).read_text(encoding="utf-8"))
        advice = values["advice"]
        is_whole = all(isinstance(advice[name], int) for name in ("jobs", "threads"))
    except (OSError, RuntimeError, ValueError, TypeError, LookupError):
        return None
    return values if is_whole else None


def _advice_path(mount: Mount) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    # Options may change from one mount to the next: they are no part of its identity.
    identity = "\0".join((mount.point, mount.file_system, mount.source))
    name = xxhash.xxh3_64_hexdigest(identity.encode("utf-8", "surrogateescape"))
    return Path(state, "polars_alf", "bench", f"{name}.json")
