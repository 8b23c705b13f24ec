"""Tables of text: they fit, and lose nothing but what they are to."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from polars_alf.cli.layout import can_fit, list_lines, list_records, list_values
from polars_alf.cli.text import INDENT, break_path, wrap

NAMES = st.text(st.sampled_from("ab._é マウ"), min_size=1, max_size=12)
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)
WORDS = st.lists(st.text("abc;,", min_size=1, max_size=9), min_size=1, max_size=9).map(" ".join)


@given(PATHS, st.integers(6, 60))
def test_broken_paths_fit_and_are_whole(path: str, width: int) -> None:
    first, *others = break_path(path, width)
    assert all(cell_len(line) <= width for line in (first, *others))
    assert all(line.startswith(INDENT) for line in others)
    assert "".join([first, *(line.removeprefix(INDENT) for line in others)]) == path


def test_paths_of_two_sessions_look_different_at_every_width() -> None:
    paths = [f"cortexlab/Subjects/KS001/2020-01-{d}/001/alf/spikes.times.npy" for d in ("01", "02")]
    frame = pl.DataFrame({"path": paths, "file_size": [1, 2]})
    for width in range(20, 100):
        shown = "".join(line.strip() for line in list_lines(frame, width))
        assert all(f"2020-01-{day}" in shown for day in ("01", "02"))


@given(WORDS, st.integers(1, 30))
def test_wrapped_sentences_break_between_words_only(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert " ".join(lines) == text
    assert all(cell_len(line) <= width or " " not in line for line in lines)


@given(
    st.lists(st.tuples(NAMES, PATHS, st.integers(0, 2**63), WORDS), min_size=1, max_size=5),
    st.integers(20, 120),
)
def test_tables_fit_or_are_records(rows: list[tuple[str, str, int, str]], width: int) -> None:
    frame = pl.DataFrame(rows, ["kind", "path", "file_size", "message"], orient="row")
    lines = [*list_lines(frame, width, sizes=["file_size"])]
    if can_fit(frame, width, ["file_size"]):
        assert max(map(cell_len, lines)) <= width
    else:
        assert lines == [*list_records(frame, width, sizes=["file_size"])]
        assert all(any(path.rstrip() in line for line in lines) for path in frame["path"])


def test_numbers_are_right_and_headings_have_the_unit() -> None:
    frame = pl.DataFrame({"year": [2019, 2020], "n": [1, 2345], "file_size": [9_999, 12_345_678]})
    assert [*list_lines(frame, 80, sizes=["file_size"])] == [
        "year      n  file_size",
        "                  (MB)",
        "──────────────────────",
        "2019      1       <0.1",
        "2020  2,345       12.3",
    ]


@pytest.mark.parametrize(
    ("most", "unit", "cells"),
    [
        (0, "bytes", ["0", "0"]),
        (9_999, "bytes", ["0", "9,999"]),
        (10_000, "kB", ["0.0", "10.0"]),
        (5 * 10**18, "PB", ["0.0", "5,000.0"]),
    ],
)
def test_a_column_of_sizes_has_one_unit(most: int, unit: str, cells: list[str]) -> None:
    lines = [*list_lines(pl.DataFrame({"n_bytes": [0, most]}), 80, sizes=["n_bytes"])]
    assert [line.strip() for line in (*lines[1:2], *lines[3:])] == [f"({unit})", *cells]


def test_exact_values_are_as_they_are() -> None:
    frame = pl.DataFrame(
        {
            "n": [2019, None],
            "x": [0.1234567, 1e-9],
            "day": [date(2020, 1, 2), None],
            "is": [True, False],
            "names": [["a", "b"], []],
        }
    )
    assert [line.split() for line in list_lines(frame, 80, exact=True)][2:] == [
        ["2019", "0.1234567", "2020-01-02", "true", "a,", "b"],
        ["null", "1e-09", "null", "false"],
    ]


def test_values_in_a_pipe_are_a_line_a_row() -> None:
    frame = pl.DataFrame(
        {"time": [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)], "text": ["a\tb\nc"], "n": [None]}
    )
    assert [*list_values(frame, header=True)] == [
        "time\ttext\tn",
        "2020-01-02T03:04:05Z\ta\\x09b\\x0ac\t",
    ]
