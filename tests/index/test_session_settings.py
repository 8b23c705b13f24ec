"""Task protocols and projects that are read from the settings of sessions."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import polars as pl
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from one.api import One
from trees import Fifo, Link, make_tree

import polars_alf
from polars_alf import SettingsMapping
from polars_alf.errors import OptionError
from polars_alf.index.session_settings import _first_text

FILE = "raw_behavior_data/_iblrig_taskSettings.raw.json"
SETTINGS = {
    "PYBPOD_PROTOCOL": "_iblrig_tasks_ephysChoiceWorld",
    "IBLRIG_VERSION": "6.4.2",
    "PROJECTS": ["ibl_mainenlab", "maps"],
}
PROTOCOL = "_iblrig_tasks_ephysChoiceWorld6.4.2"


def make(root: Path, *files: dict[str, object]) -> Path:
    """Make an archive with a session of one subject for each dict of files."""
    tree = {
        f"lab/Subjects/S{number}/2020-01-01/001": {
            path: value if isinstance(value, Fifo | Link | str) else json.dumps(value)
            for path, value in session.items()
        }
        | {"alf/spikes.times.npy": 1}
        for number, session in enumerate(files)
    }
    return make_tree(root, tree)  # type: ignore[arg-type]


def read(folder: Path) -> list[tuple[str, str]]:
    """Return protocol and projects by subject."""
    sessions = polars_alf.scan_sessions(folder).sort("subject")
    return sessions.select("task_protocol", "projects").collect().rows()


@pytest.mark.pandas
def test_one_searches_for_protocols_and_projects(tmp_path: Path) -> None:
    root = make(tmp_path / "a", {FILE: SETTINGS}, {})
    polars_alf.index_archive(root, settings_from="iblrig")
    assert read(root) == [(PROTOCOL, "ibl_mainenlab,maps"), ("", "")]
    one = One(root, mode="local")
    assert len(one.search(task_protocol="ephysChoiceWorld")) == 1
    assert len(one.search(projects="maps")) == 1
    assert len(one.search(projects="nothing")) == 0


def test_nothing_is_read_unless_asked_for(tmp_path: Path) -> None:
    root = make(tmp_path / "a", {FILE: SETTINGS})
    polars_alf.index_archive(root)
    assert read(root) == [("", "")]
    polars_alf.index_archive(root, settings_from="iblrig", quick=True)
    assert read(root) == [(PROTOCOL, "ibl_mainenlab,maps")]


def test_values_of_people_win_and_stay(tmp_path: Path) -> None:
    root = make(tmp_path / "a", {FILE: SETTINGS}, {FILE: SETTINGS})
    polars_alf.index_archive(root)
    path = root / "sessions.pqt"
    mine = pl.when(pl.col("subject") == "S0").then(pl.lit("mine")).otherwise(pl.lit(""))
    pl.read_parquet(path).with_columns(projects=mine).write_parquet(path)
    polars_alf.index_archive(root, settings_from="iblrig")
    assert read(root) == [(PROTOCOL, "mine"), (PROTOCOL, "ibl_mainenlab,maps")]
    for file in root.rglob("*.json"):
        file.write_text("{}")
    polars_alf.index_archive(root, settings_from="iblrig")
    polars_alf.index_archive(root)
    assert read(root) == [(PROTOCOL, "mine"), (PROTOCOL, "ibl_mainenlab,maps")]


def test_settings_of_several_tasks(tmp_path: Path) -> None:
    other = {"PYBPOD_PROTOCOL": "passive", "IBLRIG_VERSION_TAG": "7", "PROJECTS": "maps"}
    names = [f"raw_task_data_0{n}/_iblrig_taskSettings.raw.json" for n in (0, 1)]
    root = make(tmp_path / "a", {names[1]: other, names[0]: SETTINGS})
    polars_alf.index_archive(root, settings_from="iblrig")
    assert read(root) == [(f"{PROTOCOL}/passive7", "ibl_mainenlab,maps")]


def test_a_lab_has_its_own_mapping(tmp_path: Path) -> None:
    root = make(tmp_path / "a", {"session.json": {"task": "maze", "grant": "X"}, FILE: SETTINGS})
    mapping = {"files": ["session.json"], "task_protocol": [["name", "task"]], "projects": "grant"}
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps(mapping))
    for number, form in enumerate((mapping, file, SettingsMapping.parse(mapping))):
        out = tmp_path / str(number)
        out.mkdir()
        polars_alf.index_archive(root, out, settings_from=form)
        assert read(out) == [("maze", "X")]


@pytest.mark.parametrize(
    ("content", "is_issue"),
    [
        ("{", True),
        ("[]", True),
        ("[" * 100_000, True),
        (" " * (1 << 20) + "{}", True),
        ('{"PYBPOD_PROTOCOL": 1, "PROJECTS": [2, null]}', False),
        ('{"IBLRIG_VERSION": "6"}', False),
        (Fifo(), False),
        (Link("nowhere"), False),
    ],
)
def test_odd_settings_are_told(tmp_path: Path, content: object, is_issue: bool) -> None:
    root = make(tmp_path / "a", {FILE: content}, {FILE: SETTINGS})
    report = polars_alf.index_archive(root, settings_from="iblrig")
    assert read(root) == [("", ""), (PROTOCOL, "ibl_mainenlab,maps")]
    assert report.issues.get("unreadable_content", 0) == is_issue
    if is_issue:
        issues = report.scan_issues().filter(kind="unreadable_content").collect()
        assert issues["path"].to_list() == [f"lab/Subjects/S0/2020-01-01/001/{FILE}"]


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    outside = make_tree(
        tmp_path / "outside", {"_iblrig_taskSettings.raw.json": json.dumps(SETTINGS)}
    )
    root = make(tmp_path / "a", {"raw_behavior_data": Link(str(outside))})
    polars_alf.index_archive(root, settings_from="iblrig")
    assert read(root) == [("", "")]


texts = st.text("ab /\n\x1b\u202e,", max_size=5)
values = st.one_of(st.none(), st.integers(), texts, st.lists(st.one_of(texts, st.none())))


@given(st.dictionaries(st.sampled_from(["PROJECTS", "PYBPOD_PROTOCOL", "x"]), values))
def test_any_values_make_one_line(found: dict[str, object]) -> None:
    for text in _first_text(found, ("PROJECTS", "PYBPOD_PROTOCOL")):
        assert text
        assert text == " ".join(text.split())
        assert "\x1b" not in text


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"files": []},
        {"files": ["../x.json"]},
        {"files": ["/x.json"]},
        {"files": 1},
        {"files": ["x.json"], "task_protocol": [[1]]},
        {"files": ["x.json"], "colour": "red"},
        "nowhere.json",
        1,
    ],
)
def test_mappings_that_make_no_sense(tmp_path: Path, given: object) -> None:
    root = make(tmp_path / "a", {})
    with pytest.raises(OptionError, match="mapping of settings"):
        polars_alf.index_archive(root, settings_from=given)  # type: ignore[arg-type]
    assert not (root / "sessions.pqt").exists()


def test_the_command_reads_them(tmp_path: Path) -> None:
    root = make(tmp_path / "a", {FILE: SETTINGS})
    assert run("index", root, "--settings-from", "iblrig", "--quiet").returncode == 0
    assert read(root) == [(PROTOCOL, "ibl_mainenlab,maps")]
    result = run("index", root, "--settings-from", "nowhere.json")
    assert (result.returncode, "mapping of settings" in result.stderr) == (2, True)


def test_an_index_that_was_not_changed_is_not_written_again(tmp_path: Path) -> None:
    root = make(tmp_path / "a", {FILE: SETTINGS})
    old = time.time() - 100
    for path in [*root.rglob("*"), root]:
        os.utime(path, (old, old))
    polars_alf.index_archive(root, settings_from="iblrig")
    for path in root.rglob("*"):
        if path.is_dir() and ".polars_alf" not in path.parts:
            os.utime(path, (old, old))
    first = read(root)
    polars_alf.index_archive(root, settings_from="iblrig", quick=True)
    assert read(root) == first
