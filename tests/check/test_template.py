"""Templates, and what sessions lack of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, make_sessions

import polars_alf
from polars_alf import Template
from polars_alf.errors import NamedFileNotFoundError, OptionError

FULL = ["alf/trials.table.pqt", "alf/probe00/spikes.times.npy", "alf/probe00/spikes.amps.npy"]

names = st.sampled_from(["a.b.npy", "c.d.npy", "e.f.csv"])
folders = st.sampled_from(["", "alf/", "alf/probe00/", "alf/probe01/", "alf/#r#/"])
paths = st.sets(st.tuples(folders, names).map("".join))


def make_pair(*sessions: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [
        (f"s{number}", f"{number}/{path}", path, 1)
        for number, found in enumerate(sessions)
        for path in found
    ]
    eids = [(f"s{number}", f"S{number}") for number in range(len(sessions))]
    return make_sessions(eids), make_datasets(rows)


def find(template: list[str], *sessions: list[str]) -> list[tuple[str, str]]:
    findings = polars_alf.check_tables(make_pair(*sessions), template=template).findings
    return findings.filter(kind="missing_dataset").select("eid", "rel_path").rows()


@pytest.mark.parametrize(
    ("pattern", "session", "missing"),
    [
        ("alf/a.b.npy", ["alf/a.b.npy"], []),
        ("alf/a.b.npy", ["a.b.npy"], ["alf/a.b.npy"]),
        ("alf/a.b.npy", [], ["alf/a.b.npy"]),
        ("a.b.npy", ["alf/a.b.npy"], ["a.b.npy"]),
        ("alf/a.b.npy", ["alf/#2020-01-01#/a.b.npy"], []),
        ("alf/a.b.*", ["alf/a.b.csv"], []),
        ("alf/a.?.npy", ["alf/a.b.npy"], []),
        ("alf/*.npy", ["alf/probe00/a.b.npy"], ["alf/*.npy"]),
        ("alf/probe*/a.b.npy", ["alf/probe00/a.b.npy", "alf/c.d.npy"], []),
        (
            "alf/probe*/a.b.npy",
            ["alf/probe00/a.b.npy", "alf/probe01/c.d.npy"],
            ["alf/probe01/a.b.npy"],
        ),
        ("alf/probe*/a.b.npy", ["alf/a.b.npy"], ["alf/probe*/a.b.npy"]),
        ("alf/a+b/a.b.npy", ["alf/aab/a.b.npy"], ["alf/a+b/a.b.npy"]),
    ],
)
def test_what_is_missing(pattern: str, session: list[str], missing: list[str]) -> None:
    assert [path for _, path in find([pattern], session)] == missing


@settings(max_examples=20, deadline=None)
@given(st.lists(paths, min_size=1, max_size=4))
def test_complete_sessions_lack_nothing_of_their_template_but_by_probe(
    sessions: list[set[str]],
) -> None:
    pair = make_pair(*map(sorted, sessions))
    common = set.intersection(*({path.replace("#r#/", "") for path in s} for s in sessions))
    if not common:
        return
    eids = [f"s{number}" for number in range(len(sessions))]
    template = Template.of_sessions(pair[1], eids)
    plain = {path for path in template.patterns if "*" not in path}
    assert plain == {path for path in common if "probe" not in path}
    missing = (
        polars_alf.check_tables(pair, template=[*plain]).findings if plain else pair[0].head(0)
    )
    assert missing.is_empty()


def test_numbers_of_probes_do_not_count(tmp_path: Path) -> None:
    other = [path.replace("probe00", "probe01") for path in FULL]
    sessions, datasets = make_pair(FULL, other, FULL[:2])
    complete = "subject IN ('S0', 'S1')"
    found = polars_alf.check_tables((sessions, datasets), complete=complete)
    assert found.template
    assert found.template.patterns == (
        "alf/probe*/spikes.amps.npy",
        "alf/probe*/spikes.times.npy",
        "alf/trials.table.pqt",
    )
    assert found.findings.select("eid", "rel_path").rows() == [
        ("s2", "alf/probe00/spikes.amps.npy")
    ]
    path = tmp_path / "template.txt"
    path.write_text(f"# of {complete}\n\n{found.template.to_text()}")
    assert Template.read(path) == found.template
    again = polars_alf.check_tables((sessions, datasets), template=path)
    assert again.findings.equals(found.findings)


def test_a_share_of_complete_sessions_will_do() -> None:
    _, datasets = make_pair(FULL, FULL, FULL[:1])
    eids = ["s0", "s1", "s2"]
    assert len(Template.of_sessions(datasets, eids, 0.6).patterns) == 3
    assert Template.of_sessions(datasets, eids).patterns == ("alf/trials.table.pqt",)
    for share in (0, 1.1, float("nan")):
        with pytest.raises(OptionError, match="share"):
            Template.of_sessions(datasets, eids, share)


@pytest.mark.parametrize("pattern", ["", "/alf/a.b.npy", "alf//a.b.npy", "../a.b.npy", "alf/"])
def test_patterns_are_paths_in_a_session(pattern: str) -> None:
    with pytest.raises(OptionError, match="no path in a session"):
        Template((pattern,))


def test_templates_that_say_nothing_are_refused(tmp_path: Path) -> None:
    pair = make_pair(FULL, ["x.y.npy"])
    path = tmp_path / "template.txt"
    with pytest.raises(NamedFileNotFoundError, match="no template"):
        polars_alf.check_tables(pair, template=path)
    path.write_text("# nothing\n")
    with pytest.raises(OptionError, match="no datasets"):
        polars_alf.check_tables(pair, template=path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match="UTF-8"):
        polars_alf.check_tables(pair, template=path)
    with pytest.raises(OptionError, match="in common"):
        polars_alf.check_tables(pair, complete="true")
    with pytest.raises(OptionError, match="complete"):
        polars_alf.check_tables(pair, complete="subject = 'none'")
    with pytest.raises(OptionError, match="leave one of both out"):
        polars_alf.check_tables(pair, complete="true", template=FULL)
    with pytest.raises(OptionError, match="cannot be answered"):
        polars_alf.check_tables(pair, complete="colour = 'red'")
    with pytest.raises(OptionError, match="only the tables"):
        polars_alf.check_tables(pair, complete="id IN (SELECT * FROM read_csv('x'))")
