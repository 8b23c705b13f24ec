"""Arguments of a wrong type are an error at once, which names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import polars_alf
from polars_alf.alf.arguments import check_argument, check_texts
from polars_alf.errors import OptionError, PolarsAlfError

# The number with a fraction is a rate, or a time, of which little is waited for.
ODD = [object(), 99.5, -3, [1], {}, b"x", "x", True, [None], (1, 2), pl.DataFrame({"x": [1]}), len]

RIGHT = {bool: [True, False], int: [0, -1, 10**30, np.int64(3)], float: [0.5, 1, np.float32(2)]}
RIGHT[str] = ["", "x", np.str_("x")]


@pytest.mark.parametrize("kind", RIGHT)
def test_an_argument_is_of_its_kind(kind: type) -> None:
    for value in RIGHT[kind]:
        assert check_argument("size", value, kind) == value
    for other in set(RIGHT) - {kind}:
        if (kind, other) == (float, int):
            continue
        value = RIGHT[other][0]
        name = type(value).__name__
        with pytest.raises(OptionError, match=rf"^size is .*, of type {name}; give \w+"):
            check_argument("size", value, kind)
    assert check_argument("size", None, kind, is_optional=True) is None
    with pytest.raises(OptionError, match=r"or None$"):
        check_argument("size", object(), kind, is_optional=True)


def test_texts_are_one_or_several() -> None:
    assert check_texts("ignore", "qc") == ("qc",)
    assert check_texts("ignore", ["qc", "id"]) == ("qc", "id")
    for wrong in (None, 3, [None], b"qc"):
        with pytest.raises(OptionError, match=r"^ignore is .*; give a text, or several$"):
            check_texts("ignore", wrong)


def test_a_long_value_is_told_in_one_short_line() -> None:
    with pytest.raises(OptionError) as caught:
        check_argument("threads", pl.DataFrame({"x": range(100)}), int)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120


PLAIN = {
    "index_archive": (
        "root out_dir hash_ids hash_files digest lab n_jobs executor namespace follow_links "
        "exclude include_snapshots ids_from reset prune_missing quick restart max_removed "
        "ignore_inode keep_generations threads op_timeout max_rate progress"
    ),
    "verify_archive": "tables_dir digest sample exclude n_jobs",
    "plan_removals": "sessions remove_empty_sessions force threads",
    "apply_removals": "plan trash max_removed",
    "scan_archive": "root follow_links executor",
    "compare_tables": "old ignore",
    "merge_tables": "tables keep keep_generations",
    "query_tables": "tables query",
    "summarize_tables": "tables n_largest",
    "restore_tables": "folder generation",
    "join_sessions": "datasets sessions",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function, names in PLAIN.items() for name in names.split()],
)
def test_no_function_fails_over_a_type_on_the_way(
    archive: Path, function: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value is refused with an error of ours, or it means something."""
    monkeypatch.chdir(archive.parent)  # a text is a relative path
    polars_alf.index_archive(archive)
    tables = {"tables": archive, "old": archive, "new": archive, "query": "SELECT 1"}
    frames = {"datasets": polars_alf.scan_datasets(archive)}
    frames["sessions"] = polars_alf.scan_sessions(archive)
    arguments: dict[str, dict[str, Any]] = {
        "compare_tables": {key: tables[key] for key in ("old", "new")},
        "merge_tables": {"tables": archive},
        "query_tables": {key: tables[key] for key in ("tables", "query")},
        "summarize_tables": {"tables": archive},
        "restore_tables": {"folder": archive},
        "join_sessions": frames,
        "apply_removals": {"root": archive, "plan": polars_alf.plan_removals(archive)},
    }
    refused = []
    for value in ODD:
        given = {**arguments.get(function, {"root": archive}), name: value}
        try:
            getattr(polars_alf, function)(**given)
        except PolarsAlfError as error:
            refused.append(str(error))
    assert len(refused) >= len(ODD) / 2
    for message in refused:
        assert re.search(r"; |give ", message), message
