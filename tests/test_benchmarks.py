"""The benchmark suite runs, notices what is wrong, and makes the README's table of its record."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the suite's peers are not there", allow_module_level=True)

import peers
from measure import Contender, Run, run_in_turn
from report import (
    Entrant,
    Race,
    Record,
    find_failures,
    read_record,
    render_record,
    render_speed,
    replace_speed,
    write_record,
)

REPOSITORY = Path(__file__).parents[1]
SUITE = REPOSITORY / "benchmarks" / "suite.py"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def run_suite(folder: Path, *races: str) -> tuple[Record, list[Run]]:
    """Run the suite on small archives; return its record, which must hold nothing wrong."""
    options = ["--small", "--rounds", "1", "--one-rounds", "1", "--folder", str(folder)]
    command = [sys.executable, str(SUITE), *options, "--races", *races, "--out"]
    result = subprocess.run([*command, str(folder / "out")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    record, runs = read_record(folder / "out")
    assert result.stdout.strip() == (folder / "out" / "suite.md").read_text().strip()
    assert [race.name for race in record.races] == list(races)
    for race in record.races:
        seen = {run.contender for run in runs if run.race == race.name}
        assert seen == {entrant.name for entrant in race.entrants}
    return record, runs


@pytest.mark.slow
def test_small_list_is_recorded(tmp_path: Path) -> None:
    record, runs = run_suite(tmp_path, "list")
    (race,) = record.races
    known = {entrant.name for entrant in race.entrants} | set(race.missing)
    assert {"polars-alf index", "GNU find", "bfs", "scandir-rs", "python-pwalk"} <= known
    (ours,) = [run for run in runs if run.contender == race.ours and run.round == 1]
    assert (ours.answer["files"], ours.answer["datasets"]) == (720, 680)
    assert ours.answer.items() <= race.expected.items()
    with (tmp_path / "out" / "suite.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(race.entrants) == len(runs)
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path) not in file.read_text(), "paths of a machine mean nothing elsewhere"


@pytest.mark.thorough
def test_other_small_races_are_recorded(tmp_path: Path) -> None:
    record, runs = run_suite(tmp_path, "one", "start", "md5", "xxh3")
    digests = {run.answer["MD5"] for run in runs if run.race == "md5"}
    assert digests == {record.races[2].expected["MD5"]}


@pytest.mark.slow
def test_memory_is_measured_without_a_walk() -> None:
    script = REPOSITORY / "benchmarks" / "bench_memory.py"
    command = [sys.executable, str(script), "--datasets", "7200"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = result.stdout.splitlines()[-1].split("|")
    assert figures[1].strip() == "7,200"
    assert int(figures[4]) > 50


@pytest.mark.thorough
def test_memory_of_commands_is_measured_and_what_they_find_is_right() -> None:
    script = REPOSITORY / "benchmarks" / "bench_commands.py"
    command = [sys.executable, str(script), "--datasets", "7200"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("|") for line in result.stdout.splitlines() if "7,200" in line]
    assert len(rows) == 8
    assert all(int(row[4]) > 50 for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system counts these")
def test_bytes_of_one_session_are_measured() -> None:
    script = REPOSITORY / "benchmarks" / "bench_session.py"
    command = [sys.executable, str(script), "--datasets", "7200"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = [figure.strip() for figure in result.stdout.splitlines()[-1].split("|")]
    assert figures[1:3] == ["7,200", "1"]
    assert figures[4] == "72"
    assert 0 < float(figures[5]) < 20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_an_index_of_an_inventory_is_measured() -> None:
    script = REPOSITORY / "benchmarks" / "bench_inventory.py"
    command = [sys.executable, str(script), "--files", "7200", "--shuffled"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = [figure.strip() for figure in result.stdout.splitlines()[-1].split("|")]
    assert (figures[1], figures[3]) == ("7,200", "none")
    assert int(figures[7]) > 50


@pytest.mark.slow
@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="two processors are compared"
)
def test_stages_surveys_and_options_are_measured(archive: Path) -> None:
    def run(script: str, *options: str) -> list[list[str]]:
        command = [sys.executable, str(REPOSITORY / "benchmarks" / script), *options]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines()]

    rows = {
        row[0]: row for row in run("bench_stages.py", "--datasets", "7200", "--rounds", "1") if row
    }
    assert {"start", "survey", "list", "write", "all"} < {*rows}
    assert all(float(rows["write"][column]) > 0 for column in (1, 2, 3))
    rows = {
        row[1]: row
        for row in run("bench_survey.py", "--dates", "200", "--subjects", "70", "--rounds", "1")
        if row
    }
    assert rows["200"][0] == "2"
    assert rows["70"][0] == "70"
    rows = {row[0]: row for row in run("bench_options.py", str(archive), "--rounds", "1") if row}
    assert rows["none"][2] == "1.00"
    assert float(rows["links are followed"][2]) > 0


def test_contenders_take_turns_and_failures_stay(tmp_path: Path) -> None:
    contenders = [
        Contender("right", ["echo", "3"], count_lines),
        Contender("short", ["true"], count_lines),
        Contender("fails", ["false"], count_lines),
    ]
    runs = run_in_turn(contenders, 3, tmp_path / "run", race="race")
    assert not (tmp_path / "run").exists()
    firsts = [run.contender for run in runs if run.position == 0]
    assert firsts == ["right", "short", "fails", "right"]

    entrants = [Entrant(contender.name, "", "") for contender in contenders]
    race = Race("race", "3 lines", "warm", "right", 3, entrants, {"absent": "buy it"}, {"lines": 1})
    record = Record("command", {"Python": "3"}, [race])
    assert find_failures(record, runs) == [
        "race: short: 0 lines, not 1 lines",
        "race: fails: 1 exit code, not 1 lines",
    ]
    text = render_record(record, runs)
    assert "**wrong: 0 lines**" in text
    assert "- absent: buy it" in text

    write_record(tmp_path, record, runs)
    again, runs_again = read_record(tmp_path)
    assert again == record
    assert render_record(again, runs_again).count("wrong") == 2


def count_lines(folder: Path) -> dict[str, int | str]:
    return {"lines": len((folder / "stdout").read_text().splitlines())}


def test_ratios_are_those_of_the_same_round() -> None:
    times = {"ours": (1.0, 8.0, 3.0), "other": (2.0, 8.0, 12.0)}
    runs = [
        Run("race", name, turn, 0, seconds, 0.5, 0.5, 0.0, None, 0, {})
        for name, its in times.items()
        for turn, seconds in enumerate(its, start=1)
    ]
    entrants = [Entrant("ours", "", ""), Entrant("other", "1.0", "go", max_ratio=0.4)]
    race = Race("race", "work", "warm", "ours", 3, entrants, {}, {}, max_seconds=3)
    text = render_record(Record("command", {}, [race]), runs)
    assert "| 3.000 | 1.000 to 8.000 |" in text
    assert "at most 3 s: met" in text
    assert "| 0.500 | 0.250 to 1.000 | 2.00 | at most 0.4: missed |" in text
    machine = dict.fromkeys(("date", "machine", "CPU", "memory", "kernel", "Python"), "x")
    speed = render_speed(Record("command", machine, [race]), runs, "runs/x", {"other"})
    assert "| work, warm | other | 8.00 | 3.00 | 0.50 |" in speed


def test_absent_peers_are_named_with_their_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for peer in (peers.find, peers.bfs, peers.fd, peers.md5sum, peers.xxhsum):
        found = peer(tmp_path)
        assert isinstance(found, peers.Missing)
        assert found.cure.startswith("apt install")
    found = peers.walk(tmp_path, tmp_path, listed=False)
    assert isinstance(found, peers.Missing)
    assert "compiler" in found.cure


def test_readme_has_the_table_of_its_record() -> None:
    match = re.search(r"<!-- speed: python benchmarks/report\.py (\S+) -->", README)
    assert match
    run = match[1]
    record, runs = read_record(REPOSITORY / run)
    assert replace_speed(README, render_speed(record, runs, run)) == README
    text = (REPOSITORY / run / "suite.md").read_text(encoding="utf-8")
    assert text == render_record(record, runs)
