"""The guard on mass removals: files that an index did not see look like files to remove."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from polars_alf.alf.address import parse_address
from polars_alf.alf.root import FolderPath
from polars_alf.errors import MassRemovalError, OptionError
from polars_alf.prune.examine import RemovalKind
from polars_alf.tables.files import read_report_values
from polars_alf.tables.limits import exceeds_limit

_LABS_NAMED = 3
_EXAMPLES = 3


def refuse_bucket(root: FolderPath) -> None:
    """Raise OptionError where an archive is in a bucket."""
    address = parse_address(root)
    if address is not None:
        raise OptionError(
            f"{address} is in a bucket, from which nothing is removed; verify lists what its "
            "tables lack, and the tools of its service remove objects"
        )


def check_plan(
    plan: pl.DataFrame, root: Path, folders: Iterable[Path], max_removed: float | None
) -> None:
    """Raise MassRemovalError where a plan removes more than may go unasked.

    `max_removed` is the largest count or share of the archive's datasets. By default (None) it is
    half of them, or `FEW` if that is more; no lab may lose all datasets that it has; and nothing
    may go where the last index into one of `folders` removed so much from the tables.
    """
    datasets = plan.filter(kind=RemovalKind.DATASET).unique("path", maintain_order=True)
    n = len(datasets)
    if not n:
        return
    # A plan without figures may be all that there is.
    before = int(datasets["n_archive"].fill_null(n).max())  # type: ignore[arg-type]
    labs = []
    reasons = []
    if max_removed is None:
        labs = _list_lost_labs(datasets)
        reasons = [*_describe_index(folders)]
    if not (labs or reasons or exceeds_limit(n, before, max_removed)):
        return
    if labs:
        more = f" and {len(labs) - _LABS_NAMED:,} more" if len(labs) > _LABS_NAMED else ""
        names = ", ".join(lab or "the archive itself" for lab in labs[:_LABS_NAMED])
        reasons.append(f"nothing would be left in {names}{more}")
    examples = tuple(datasets["path"].head(_EXAMPLES))
    share = 100 if n >= before else math.floor(100 * n / before) + 1
    raise MassRemovalError(
        f"{n:,} of {before:,} datasets would be removed from {root}"
        f"{''.join(f'; {reason}' for reason in reasons)}, for example {', '.join(examples)}; "
        f"see that all of {root} was mounted when it was indexed, and index it again; to remove "
        f"them, prune with --max-removed {share}% (max_removed={share / 100} of apply_removals)",
        n_removed=n,
        n_before=before,
        labs=tuple(labs),
        examples=examples,
    )


def _list_lost_labs(datasets: pl.DataFrame) -> list[str]:
    """Return the folders of labs that would lose every dataset, those with most first."""
    return (
        datasets.group_by("lab")
        .agg(n=pl.len(), before=pl.col("n_lab").max())
        .filter(pl.col("n") >= pl.col("before").fill_null(0))
        .sort("n", "lab", descending=[True, False])["lab"]
        .fill_null("")
        .to_list()
    )


def _describe_index(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        report = read_report_values(folder).get("report")
        values = report if isinstance(report, dict) else {}
        removed, left = values.get("n_removed_datasets"), values.get("n_datasets")
        if isinstance(removed, int) and isinstance(left, int):
            before = removed + left
            if exceeds_limit(removed, before, None):
                yield f"the last index removed {removed:,} of {before:,} from those in {folder}"
