"""The index of any tree, against its rules spelt out the slow way."""

from __future__ import annotations

import datetime
import re
import tempfile
import uuid
import warnings
from pathlib import Path, PurePosixPath

import polars as pl
import pytest
from amount import count_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import spec as one_spec
from trees import make_tree
from tuning import tune

from polars_alf import index_archive

LABS = st.sampled_from(["lab", "my-lab", "Subjects", "backup/lab"])
SUBJECTS = st.sampled_from(["S1", "S-2.a", "no subject", "2020-01-01"])
DATES = st.sampled_from(["2020-01-01", "2020-02-29", "2021-02-29", "0000-01-01", "2020-1-1"])
NUMBERS = st.sampled_from(["001", "002", "1", "01", "0001", "x"])
FOLDERS = st.sampled_from(["alf", "#r1#", "my coll", "a.b.npy", "2020-01-01", "001", "S1", "Ω"])
NAMES = st.sampled_from(
    ["a.b.npy", "_ns_a.b_t.x.npy", "a.b", "._a.b.npy", "a.b (1).npy", "c._phy_ids.csv", "ä.b.npy"]
)
sessions = st.tuples(
    st.one_of(st.just(""), LABS.map(lambda lab: f"{lab}/Subjects/")), SUBJECTS, DATES, NUMBERS
).map(lambda parts: parts[0] + "/".join(parts[1:]))
files = st.tuples(sessions, st.lists(FOLDERS, max_size=4), NAMES).map(
    lambda parts: "/".join([parts[0], *parts[1], parts[2]])
)
trees = st.dictionaries(files, st.integers(0, 9), max_size=12)


def _is_date(name: str) -> bool:
    try:
        return re.fullmatch(r"[0-9-]{10}", name) is not None and bool(
            datetime.date.fromisoformat(name)
        )
    except ValueError:
        return False


def _find_session(path: PurePosixPath) -> PurePosixPath | None:
    """Return the outermost session above a file."""
    for folder in reversed(path.parents):
        if len(folder.parts) < 3:
            continue
        subject, date, number = folder.parts[-3:]
        if (
            re.fullmatch(r"[\w.-]+", subject)
            and _is_date(date)
            and re.fullmatch("[0-9]{1,3}", number)
        ):
            return folder
    return None


def _expected(root: Path) -> dict[tuple[str, str], int]:
    """Return the size of each dataset by the id of its session and its path in that."""
    grammar = re.compile(one_spec.regex(one_spec.FILE_SPEC).pattern.rstrip("$"))
    found: dict[tuple[str, ...], tuple[tuple[int, int, str], str, dict[str, int]]] = {}
    for path in root.rglob("*"):
        within = PurePosixPath(path.relative_to(root))
        session = _find_session(within)
        if session is None:
            continue
        parts = session.parts
        lab = parts[-5:-4] if len(parts) > 4 and parts[-4] == "Subjects" else ()
        # Of two copies, the one with fewer folders above it counts, then 001 before 1, then the
        # first.
        order = (len(parts), -len(parts[-1]), str(session))
        key = (*lab, *parts[-3:-1], str(int(parts[-1])))
        eid = "/".join((*lab, *parts[-3:]))
        best = found.setdefault(key, (order, eid, {}))
        if order < best[0]:
            best = found[key] = (order, eid, {})
        if order == best[0] and path.is_file() and grammar.fullmatch(path.name):
            best[2][within.relative_to(session).as_posix()] = path.stat().st_size
    return {
        (eid, rel_path): size
        for _, eid, datasets in found.values()
        for rel_path, size in datasets.items()
    }


@pytest.mark.slow
@given(trees, st.integers(1, 5))
@settings(max_examples=count_examples(60), deadline=None)
def test_index_is_what_the_rules_say(tree: dict[str, int], units_per_shard: int) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        root = Path(folder, "archive")
        root.mkdir()
        for path, size in tree.items():
            # A folder may be in the way of a file, or a file in the way of a folder.
            try:
                make_tree(root, {path: size})
            except OSError:
                continue
        with pytest.MonkeyPatch.context() as patch:
            tune(patch, least_folders=units_per_shard)
            index_archive(root, hash_ids=False)
        by_path = pl.read_parquet(root / "datasets.pqt")
        sessions_by_path = pl.read_parquet(root / "sessions.pqt")
        expected = _expected(root)
        rows = by_path.select("eid", "rel_path", "file_size").rows()
        assert len(rows) == len(expected)
        assert {(eid, rel_path): size for eid, rel_path, size in rows} == expected
        assert set(by_path["eid"]) <= set(sessions_by_path["id"])
        namespace = index_archive(root).namespace
        ids = pl.read_parquet(root / "datasets.pqt")["id"].to_list()
        assert sorted(ids) == sorted(
            str(uuid.uuid3(namespace, f"{eid}/{rel_path}")) for eid, rel_path in expected
        )
