"""The ALF grammar: Python, Polars and ONE read every name alike."""

from __future__ import annotations

import datetime
import re
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import path as one_path
from one.alf import spec as one_spec
from one.alf.cache import QC_TYPE

from polars_alf.alf import grammar
from polars_alf.alf.folder_names import is_date, is_number, looks_like_date
from polars_alf.alf.grammar import QC, SessionParts

ONE_FILE = one_spec.regex(one_spec.FILE_SPEC)
ONE_COLLECTION = one_spec.regex(one_spec.COLLECTION_SPEC)
ONE_REL_PATH = one_spec.regex(one_spec.REL_PATH_SPEC)
ONE_SESSION = one_spec.regex(one_spec.SESSION_SPEC)

# --- names that almost follow ALF, and names that do -------------------------------------------

WORDS = ["a", "obj", "spikes", "T3", "7", "_", "_ns_", "_times", "_intervals", "_phy_", "_bpod"]
OTHER_SCRIPTS = ["é", "漢", "\u0663", "²", "Ⅷ", "\U0001d4b3"]  # letters and numbers, all of them \w
SPOILERS = ["", " ", "-", "#", ".", "(1)", "\n", "e\u0301", "\u203f", "\u200d", "\u20dd", "Ⓐ", "😀"]
PREFIXES = ["", "", "_", "__", "_ns_", "_ns2", "_n_s_", "_é_"]
ATTRIBUTES = ["times", "a_times", "a_intervals", "_phy_ids", "_b_c_times", "a_timesx", "T3"]
TIMESCALES = ["", "", "_bpod", "_times", "_", "_ephysClock_é"]
EXTRAS = ["", "", ".x", ".x.y", "..", ".-", ".imec0.lf", ".2622b17c-9408-4910-99cb-abf16d9225b9"]
EXTENSIONS = [".npy", ".csv", ".漢", "._", ".npy", ".npy", ".npy\n", ".npy (1)", "."]
DROPPINGS = ["", "", "", "", ".", "._", ".nfs0001.", "#"]


def joined(fragments: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(fragments), min_size=1, max_size=4).map("".join)


assigned_text = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=3)
regular_names = st.tuples(
    st.sampled_from(PREFIXES),
    joined(WORDS + OTHER_SCRIPTS),
    st.just("."),
    *map(st.sampled_from, (ATTRIBUTES, TIMESCALES, EXTRAS, EXTENSIONS)),
).map("".join)
# Few dots: ONE's pattern backtracks exponentially in them.
near_names = st.builds(
    str.__add__,
    st.sampled_from(DROPPINGS),
    st.lists(joined(WORDS * 4 + OTHER_SCRIPTS + SPOILERS), min_size=2, max_size=5).map(".".join),
)
names_with_any_text = st.builds(
    str.format,
    st.sampled_from(["{}", "{}.b.npy", "a.b.{}", "a.b_{}.npy", "a.b.{}.npy", "_{}_a.b.npy"]),
    assigned_text,
)
names = regular_names | near_names | names_with_any_text

FOLDERS = ["alf", "alf/probe00", "alf/#v1#", "#2020-01-01#", "my-collection.v1", "é/#é.-#", "alf/"]
ODD_FOLDERS = ["", "/", "./..", "alf//probe", "raw data", "#", "##", "#a#/b", "#a b#", "alf\n"]
folders = st.sampled_from(FOLDERS * 2 + ODD_FOLDERS + ["#r#\n", "e\u0301", "a\u203fb"])
rel_paths = st.tuples(folders, names).map("/".join) | names

labs = st.sampled_from(["lab", "lab", "my-lab", "my lab", "läb", "\n", "", "Subjects"])
subjects = st.sampled_from(["KS001", "sub-1.a", "x_2", "my subject", "Subjects", "é", "", "s\n"])
dates = (
    st.dates().map(str)
    | st.sampled_from(["2020-02-30", "0000-01-01", "2020-1-1", "20200101", "\u0662020-01-01"])
    | st.sampled_from(["2020-02-29", "2021-02-29", "2020-01-01 ", "2020-01-01\n", "2020-W01-1"])
)
numbers = st.sampled_from(
    ["1", "001", "12", "002", "999", "0", "0001", "", "\u0663", "1a", "001\n", "²"]
)
session_paths = st.builds(
    lambda above, *parts: "/".join([*above, *parts]),
    st.lists(
        labs | st.sampled_from(["data", "Subjects", "Subjects", "2020-01-01", "001"]), max_size=3
    ),
    subjects,
    dates,
    numbers,
)

ODD_NAMES: dict[str, tuple[str | None, ...] | None] = {
    "spikes.times.npy": (None, "spikes", "times", None, None, "npy"),
    "spikes.times_ephysClock.npy": (None, "spikes", "times", "ephysClock", None, "npy"),
    "_ibl_trials.goCue_times_bpod.csv": ("ibl", "trials", "goCue_times", "bpod", None, "csv"),
    "a.b_intervals_nidq.x.npy": (None, "a", "b_intervals", "nidq", "x", "npy"),
    "obj.a_events.npy": (None, "obj", "a", "events", None, "npy"),
    "obj.a_times_.npy": (None, "obj", "a", "times_", None, "npy"),
    "obj.a_timesx.npy": (None, "obj", "a", "timesx", None, "npy"),
    "obj.a_times_intervals.npy": (None, "obj", "a_times", "intervals", None, "npy"),
    "channels._phy_ids.csv": (None, "channels", "_phy_ids", None, None, "csv"),
    "channels._PHY_ids.csv": None,
    "_ns_obj.attr1.2622b17c-9408-4910-99cb-abf16d9225b9.metadata.json": (
        *("ns", "obj", "attr1", None),
        *("2622b17c-9408-4910-99cb-abf16d9225b9.metadata", "json"),
    ),
    "_spikeglx_ephysData_g0_t0.imec0.lf.bin": (
        *("spikeglx", "ephysData_g0_t0", "imec0", None),
        *("lf", "bin"),
    ),
    "_trials.x.y": ("trial", "s", "x", None, None, "y"),
    "_a.x.y": (None, "a", "x", None, None, "y"),
    "_ns_.x.y": ("ns", "_", "x", None, None, "y"),
    "__ns_obj.x.y": (None, "ns_obj", "x", None, None, "y"),
    "_.x.y": (None, "_", "x", None, None, "y"),
    "a.b...c": (None, "a", "b", None, ".", "c"),
    "a.b..c": None,
    "a.b.c.": None,
    "a.b.-.c": (None, "a", "b", None, "-", "c"),
    "é.b_é.é.é": (None, "é", "b", "é", "é", "é"),
    "a.é.npy": None,
    "e\u0301.b.npy": None,  # the same letter, decomposed as macOS may spell it
    "a\u203fb.c.npy": None,
    "²\u0663.b.npy": (None, "²\u0663", "b", None, None, "npy"),
    "spike_train.npy": None,
    "name.attr (1).npy": None,
    "name.attr.npy (1)": None,
    "._spikes.times.npy": None,
    ".nfs0001.a.b": None,
    ".DS_Store": None,
    "spikes.times.npy\n": None,
    "spikes.times.npy.part-1": None,
    "": None,
}


# --- what each reader makes of a list of texts --------------------------------------------------


def evaluate(expr: Callable[[pl.Expr], pl.Expr], texts: Iterable[str | None]) -> list[object]:
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    values = frame.select(expr(pl.col("text")))
    assert values.columns == ["text"]
    return values.to_series().to_list()


def as_dict(parts) -> dict | None:
    return None if parts is None else parts._asdict()


def in_one(pattern: re.Pattern[str], text: str) -> dict | None:
    match = pattern.fullmatch(text)
    return None if match is None else match.groupdict()


def check_names(texts: list[str]) -> None:
    expected = [in_one(ONE_FILE, text) for text in texts]
    assert [as_dict(grammar.parse_file_name(text)) for text in texts] == expected
    assert evaluate(grammar.expr_file_parts, texts) == expected
    valid = [parts is not None for parts in expected]
    assert [grammar.is_dataset_name(text) for text in texts] == valid
    assert evaluate(grammar.expr_is_dataset_name, texts) == valid


def check_rel_paths(texts: list[str]) -> None:
    expected = [in_one(ONE_REL_PATH, text) for text in texts]
    assert [as_dict(grammar.parse_rel_path(text)) for text in texts] == expected
    assert evaluate(grammar.expr_rel_path_parts, texts) == expected
    # Values that repeat are read another way.
    assert evaluate(grammar.expr_rel_path_parts, texts * 3) == expected * 3


def check_collections(texts: list[str]) -> None:
    expected = [in_one(ONE_COLLECTION, f"{text}/" if text else "") for text in texts]
    assert [as_dict(grammar.parse_collection(text)) for text in texts] == expected
    assert evaluate(grammar.expr_collection_parts, texts) == expected


def expected_session(path: str) -> SessionParts | None:
    """Apply the rule component by component."""
    *above, subject, date, number = ["", "", "", *path.split("/")]
    try:
        is_day = datetime.datetime.strptime(date, "%Y-%m-%d").date().isoformat() == date
    except ValueError:
        is_day = False
    is_number = number.isascii() and number.isdecimal() and len(number) <= 3
    if not (is_day and is_number and all(c.isalnum() or c in "_.-" for c in subject) and subject):
        return None
    lab = above[-2] if above[-1] == "Subjects" else ""
    return SessionParts(lab or None, subject, date, number)


def check_session_paths(texts: list[str]) -> None:
    expected = [expected_session(text) for text in texts]
    assert [grammar.parse_session_path(text) for text in texts] == expected
    assert evaluate(grammar.expr_session_parts, texts) == [
        parts and {**parts._asdict(), "date": parts.date_value, "number": parts.number_value}
        for parts in expected
    ]
    for parts in filter(None, expected):
        lab, *others = parts
        if lab is None or grammar.is_usual_lab(lab):
            above = [lab, "Subjects"] if lab else []
            assert in_one(ONE_SESSION, "/".join([*above, *others])) == parts._asdict()


# --- file names --------------------------------------------------------------------------------


@given(st.lists(names, max_size=30))
@settings(max_examples=150, deadline=None)
def test_python_polars_and_one_read_names_alike(texts: list[str]):
    check_names(texts)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(name: str):
    check_names([name])
    assert grammar.parse_file_name(name) == ODD_NAMES[name]
    # ONE itself lets a final line feed pass.
    assert one_spec.is_valid(name) == (ODD_NAMES[name] is not None or name.endswith("y\n"))
    if not name.endswith("\n"):
        one_parts = one_path.filename_parts(name, assert_valid=False)
        assert one_parts == (ODD_NAMES[name] or (None,) * 6)


def test_the_engines_have_the_same_word_characters():
    assigned = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) != "Cn"]
    assigned = [c for c in assigned if unicodedata.category(c) != "Cs"]
    assert len(assigned) > 100_000
    texts = [f"{c}.b.c" for c in assigned]
    words = [c.isalnum() or c == "_" for c in assigned]
    assert [ONE_FILE.fullmatch(text) is not None for text in texts] == words
    assert [grammar.is_dataset_name(text) for text in texts] == words
    assert evaluate(grammar.expr_is_dataset_name, texts) == words


@pytest.mark.parametrize("middle", [".", ".x", "x", "_", "-", "_times", ".-"])
@pytest.mark.parametrize("start", ["", "_", "a.b", "a.b_", "a.b.c", "#"])
def test_hostile_names_end(start: str, middle: str):
    name = start + middle * 5000 + "!"
    assert not grammar.is_dataset_name(name)
    assert grammar.parse_rel_path(name) is None
    assert evaluate(grammar.expr_rel_path_parts, [name]) == [None]


def test_a_name_of_undecodable_bytes_is_no_dataset():
    assert not grammar.is_dataset_name(b"obj\xff.attr.npy".decode(errors="surrogateescape"))


# --- paths in a session ------------------------------------------------------------------------


@given(st.lists(rel_paths, max_size=30))
@settings(max_examples=150, deadline=None)
def test_python_polars_and_one_read_rel_paths_alike(texts: list[str]):
    check_rel_paths(texts)


@given(st.lists(folders | assigned_text, max_size=30))
@settings(deadline=None)
def test_python_polars_and_one_read_collections_alike(texts: list[str]):
    check_collections(texts)


@given(folders | assigned_text.filter(bool), names)
def test_a_rel_path_is_a_collection_and_a_name(folder: str, name: str):
    directory, _, name = f"{folder}/{name}".rpartition("/")
    if not directory:
        return
    folder_parts, file_parts = grammar.parse_collection(directory), grammar.parse_file_name(name)
    whole = None if None in (folder_parts, file_parts) else (*folder_parts, *file_parts)
    assert grammar.parse_rel_path(f"{directory}/{name}") == whole


@pytest.mark.parametrize(
    ("directory", "parts"),
    [
        ("", (None, None)),
        ("alf", ("alf", None)),
        ("alf/probe00/#v1.0#", ("alf/probe00", "v1.0")),
        ("#2020-01-01#", (None, "2020-01-01")),
        ("alf/#a#/b", None),
        ("#a#/#b#", None),
        ("raw data", None),
        ("##", None),
        ("##a#", None),
        ("alf/#a##", None),
        ("alf\n", None),
        ("#r#\n", None),
    ],
)
def test_collections(directory: str, parts: tuple[str | None, str | None] | None):
    check_collections([directory])
    assert grammar.parse_collection(directory) == parts


# --- sessions ----------------------------------------------------------------------------------


@given(st.lists(session_paths, max_size=30))
@settings(max_examples=150, deadline=None)
def test_python_and_polars_read_session_paths_by_the_rule(texts: list[str]):
    check_session_paths(texts)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("s/2020-01-01/001", (None, "s", "2020-01-01", "001")),
        ("/mnt/lab/Subjects/s/2020-01-01/1", ("lab", "s", "2020-01-01", "1")),
        ("/Subjects/s/2020-01-01/001", (None, "s", "2020-01-01", "001")),
        ("lab/subjects/s/2020-01-01/001", (None, "s", "2020-01-01", "001")),
        ("x/Subjects/Subjects/2020-01-01/001", ("x", "Subjects", "2020-01-01", "001")),
        ("x/lab/Subjects/Subjects/s/2020-01-01/001", ("Subjects", "s", "2020-01-01", "001")),
        ("s/2020-01-01/00001", None),
        ("s/2020-01-01/001/", None),
        ("s/2020-01-01/001/alf", None),
        ("2020-01-01/001", None),
        ("/2020-01-01/001", None),
        ("", None),
    ],
)
def test_session_paths(path: str, parts: tuple[str | None, ...] | None):
    check_session_paths([path])
    assert grammar.parse_session_path(path) == parts


@pytest.mark.parametrize(
    ("path", "parts", "one_parts"),
    [
        ("my-lab/Subjects/s/2020-01-01/001", ("my-lab", "s"), ("lab", "s")),
        ("my lab/Subjects/s/2020-01-01/001", ("my lab", "s"), ("lab", "s")),
        ("lab-/Subjects/s/2020-01-01/001", ("lab-", "s"), (None, "s")),
        ("my subject/2020-01-01/001", None, (None, "subject")),
        ("s/2020-02-30/001", None, (None, "s")),
        ("s/0000-01-01/001", None, (None, "s")),
        ("s/2020-01-0\u0661/001", None, (None, "s")),
        ("s/2020-01-01/0001", None, (None, "s")),
        ("s/2020-01-01/00\u0661", None, (None, "s")),
        ("s/2020-01-01/001\n", None, (None, "s")),
    ],
)
def test_sessions_differ_from_one_on_purpose(path: str, parts, one_parts):
    check_session_paths([path])
    session = grammar.parse_session_path(path)
    assert (session and session[:2]) == parts
    assert one_path.session_path_parts(path)[:2] == one_parts


def test_values_of_a_session_path():
    session = grammar.parse_session_path("s/2020-02-29/007")
    assert (session.date_value, session.number_value) == (datetime.date(2020, 2, 29), 7)
    dtype = pl.select(grammar.expr_session_parts(pl.lit("s/2020-02-29/007"))).to_series().dtype
    expected = {"lab": pl.String, "subject": pl.String, "date": pl.Date, "number": pl.UInt16}
    assert dtype == pl.Struct(expected)


@pytest.mark.parametrize(
    ("predicate", "accepted", "refused"),
    [
        (grammar.is_usual_lab, ["lab", "läb_2"], ["", "my-lab", "my lab", "lab\n"]),
        (grammar.is_subject, ["KS-1.a_é"], ["", "my subject", "a#", "s\n", "a/b"]),
        (
            is_number,
            ["1", "001", "000"],
            ["", "0001", "1a", "\u0661", "²", "-1", "1\n"],
        ),
        (
            is_date,
            ["2020-02-29", "0001-01-01", "9999-12-31"],
            ["2021-02-29", "0000-01-01", "2020-1-1", "20200101", "2020-01-01\n", "2020-W01-1"],
        ),
        (
            looks_like_date,
            ["2020-02-29", "2021-02-29", "0000-00-00"],
            ["2020-1-1", "20200101", "2020-01-01\n", "\u0662020-01-01", "2020-01-0\u0661"],
        ),
    ],
)
def test_components(predicate: Callable[[str], bool], accepted: list[str], refused: list[str]):
    assert [name for name in accepted + refused if predicate(name)] == accepted


# --- what the strategies and expressions are worth ---------------------------------------------


def draw(strategy: st.SearchStrategy[str], count: int = 300) -> list[str]:
    drawn: list[str] = []

    @settings(max_examples=count, database=None, derandomize=True)
    @given(strategy)
    def collect(text: str) -> None:
        drawn.append(text)

    collect()
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "parse"),
    [
        (names, grammar.parse_file_name),
        (rel_paths, grammar.parse_rel_path),
        (folders | assigned_text, grammar.parse_collection),
        (session_paths, grammar.parse_session_path),
    ],
    ids=["names", "rel_paths", "collections", "session_paths"],
)
def test_strategies_reach_both_sides_of_the_grammar(strategy, parse):
    drawn = draw(strategy)
    parsed = [parts for text in drawn if (parts := parse(text)) is not None]
    assert 0.15 < len(parsed) / len(drawn) < 0.85
    for field in parsed[0]._fields:
        assert any(getattr(parts, field) is not None for parts in parsed), field


@pytest.mark.parametrize(
    ("expr", "nothing"),
    [
        (grammar.expr_file_parts, None),
        (grammar.expr_collection_parts, None),
        (grammar.expr_rel_path_parts, None),
        (grammar.expr_session_parts, None),
        (grammar.expr_is_dataset_name, False),
        (grammar.expr_is_uuid, False),
    ],
)
def test_expressions_keep_nulls_and_empty_columns(expr, nothing):
    assert evaluate(expr, [None, "\n"]) == [None, nothing]
    assert evaluate(expr, []) == []
    frame = pl.LazyFrame({"text": [None, "s/2020-01-01/1", "a.b.c", "alf"]})
    lazy = frame.select(expr(pl.col("text")))
    assert lazy.collect(engine="streaming").equals(lazy.collect())
    assert lazy.collect_schema() == lazy.collect().schema


# --- UUIDs and QC ------------------------------------------------------------------------------

uuids = st.builds(
    lambda value, version, spell: spell(str(uuid.UUID(int=value.int, version=version))),
    st.uuids(),
    st.integers(1, 5),
    st.sampled_from([str] * 9 + [str.upper, lambda s: s.replace("-", ""), "{{{}}}".format]),
)
near_uuids = st.builds(
    lambda text, place, character: text[:place] + character + text[place + 1 :],
    uuids,
    st.integers(0, 36),
    st.sampled_from([*"0189abcfg-A\n", "\u0663", ""]),
)


@given(st.lists(uuids | near_uuids, max_size=30))
@settings(deadline=None)
def test_python_polars_and_one_recognise_the_same_uuids(texts: list[str]):
    expected = [one_spec.is_uuid_string(text) for text in texts]
    assert [grammar.is_uuid(text) for text in texts] == expected
    assert evaluate(grammar.expr_is_uuid, texts) == expected


@pytest.mark.parametrize(
    ("text", "is_uuid"),
    [
        ("2622b17c-9408-4910-99cb-abf16d9225b9", True),
        ("2622b17c-9408-3910-99cb-abf16d9225b9", True),
        ("2622b17c-9408-5910-99cb-abf16d9225b9", True),
        ("2622b17c-9408-1910-99cb-abf16d9225b9", False),
        ("2622b17c-9408-7910-99cb-abf16d9225b9", False),
        ("2622b17c-9408-4910-79cb-abf16d9225b9", False),  # not the variant of RFC 4122
        ("2622b17c-9408-4910-c9cb-abf16d9225b9", False),
        ("2622b17c-9408-4910-99cb-ABF16D9225B9", False),
        ("2622B17C-9408-4910-99cb-abf16d9225b9", False),
        ("2622b17c9408491099cbabf16d9225b9", False),
        ("{2622b17c-9408-4910-99cb-abf16d9225b9}", False),
        ("2622b17c-9408-4910-99cb-abf16d9225b9\n", False),
        ("", False),
    ],
)
def test_uuids(text: str, is_uuid: bool):
    assert grammar.is_uuid(text) == one_spec.is_uuid_string(text) == is_uuid
    assert evaluate(grammar.expr_is_uuid, [text]) == [is_uuid]


def test_uuid_strategies_reach_both_sides():
    recognised = [grammar.is_uuid(text) for text in draw(uuids | near_uuids)]
    assert 0.15 < sum(recognised) / len(recognised) < 0.85


@pytest.mark.parametrize("value", ["FAIL", "fail", "Fail", "40", 40, QC.FAIL, one_spec.QC.FAIL])
def test_qc_is_read_from_names_and_values_as_in_one(value):
    assert QC.parse(value) is QC.FAIL
    assert one_spec.QC.validate(value) == QC.FAIL


@pytest.mark.parametrize("value", ["", "good", "41", "½", " 40", "-10", 41, 40.5, None])
def test_unknown_qc_names_value_and_cure(value):
    with pytest.raises(
        ValueError, match=r"is not a QC outcome; use one of NOT_SET \(0\), PASS"
    ) as e:
        QC.parse(value)
    assert repr(value) in str(e.value)


def test_qc_is_that_of_one():
    assert {q.name: q.value for q in QC} == {q.name: q.value for q in one_spec.QC}
    assert list(grammar.QC_NAMES) == list(QC_TYPE.categories)
    assert list(grammar.QC_DTYPE.categories) == list(grammar.QC_NAMES)
