"""The options of a walk."""

from __future__ import annotations

from pathlib import Path

import pytest
from walks import list_found

from polars_alf import index_archive
from polars_alf.errors import OptionError


@pytest.mark.parametrize(
    ("patterns", "n_datasets"),
    [
        (("*.csv",), 8),
        (("probe00/",), 8),
        (("/wittenlab",), 9),
        (("cortexlab/**/KS001/",), 6),
        (("*", "!*/"), 0),
        (("nothing",), 12),
    ],
)
def test_exclude_is_as_in_gitignore(
    archive: Path, patterns: tuple[str, ...], n_datasets: int
) -> None:
    assert len(list_found(archive, exclude=patterns)) == n_datasets


@pytest.mark.parametrize("threads", [0, -1])
def test_number_of_threads_that_makes_no_sense(archive: Path, threads: int) -> None:
    with pytest.raises(OptionError, match="threads"):
        index_archive(archive, threads=threads)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_timeout_that_makes_no_sense(archive: Path, seconds: float) -> None:
    with pytest.raises(OptionError, match="timeout"):
        index_archive(archive, op_timeout=seconds)
