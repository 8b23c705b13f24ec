"""One vocabulary: an option has one name, meaning and place in every command, and in Python."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from command_line import list_commands, run

import polars_alf
from polars_alf.cli.commands import OLD_SPELLINGS
from polars_alf.cli.options import WalkOptions

FUNCTIONS = {
    "index": ["index_archive", "index_part"],
    "verify": ["verify_archive", "verify_manifest"],
    "prune": ["plan_removals", "apply_removals"],
    "check": ["check_archive", "check_tables"],
    "merge": ["merge_tables"],
    "conflicts": ["scan_conflicts"],
    "insertions": ["write_insertions"],
    "diff": ["compare_tables"],
    "info": ["summarize_tables"],
    "sql": ["query_tables"],
    "issues": ["scan_issues"],
    "changes": ["scan_changes"],
    "subset": ["subset_tables"],
    "split": ["split_tables"],
    "publish": ["publish_tables"],
    "history": ["read_history", "measure_growth"],
    "restore": ["restore_tables"],
    "report": ["report"],
    "bench run": ["bench_storage"],
}
"""Commands, and the functions that they call."""

NO_FUNCTION = {"bench compare", "completion", "manual"}

WALKERS = {"index", "verify", "prune", "check"}

LONG = WALKERS | {"merge", "diff", "info", "history", "report", "bench run"}
"""Commands that may take minutes, and show their progress."""

OF_WALKS = {
    *("--jobs", "--threads", "--executor", "--cluster", "--op-timeout", "--exclude"),
    *("--max-rate", "--nice"),
    *("--follow-links", "--include-snapshots", "--progress", "--quiet", "--json"),
}

OF_TERMINALS = {
    *("quiet", "as_json", "strict", "force", "out", "open_page", "form", "limit", "top", "kind"),
    "nice",
    *("apply", "yes", "keep_empty_sessions", "save_template", "eids", "manifest", "name"),
}
"""Parameters that the functions do without: what to print, what to write, and what to ask."""

RENAMED = {"cluster": "executor", "folder": "tables", "folders": "tables"}
"""Parameters that are called otherwise in Python: a folder of tables may be frames there."""


COMMANDS = dict(list_commands())


def list_flags(name: str) -> set[str]:
    return {flag for parameter in COMMANDS[name].params for flag in parameter.opts}


def list_arguments(name: str) -> list[str]:
    found = [each for each in COMMANDS[name].params if each.param_type_name == "argument"]
    return [each.metavar for each in found]


def test_every_command_is_in_the_vocabulary() -> None:
    assert set(COMMANDS) == FUNCTIONS.keys() | NO_FUNCTION, "a new command is to be listed here"


@pytest.mark.parametrize("command", sorted(WALKERS))
def test_what_walks_takes_all_options_of_walks(command: str) -> None:
    assert list_flags(command) >= OF_WALKS
    root, *others = list_arguments(command)
    assert (root.partition("|")[0], others) == ("ROOT", [])


@pytest.mark.parametrize("command", sorted(LONG))
def test_what_takes_long_shows_progress(command: str) -> None:
    assert {"--progress", "--json"} <= list_flags(command)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - WALKERS - NO_FUNCTION))
def test_what_reads_tables_takes_their_folder_first(command: str) -> None:
    first = list_arguments(command)[0]
    assert first in {"DIR", "DIR...", "OLD", "PATH"}
    assert "--tables-dir" not in list_flags(command)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"completion", "manual"}))
def test_every_result_is_there_in_json(command: str) -> None:
    assert "--json" in list_flags(command)


def test_the_place_of_what_is_written_is_out() -> None:
    writers = {"index", "merge", "subset", "split", "report", "sql", "bench run", "bench compare"}
    assert {name for name in COMMANDS if "--out" in list_flags(name)} == writers
    places = {"--out-dir", "--output", "--output-dir", "--to", "--dest"}
    assert not places & {flag for name in COMMANDS for flag in list_flags(name)}


@pytest.mark.parametrize("command", sorted(FUNCTIONS))
def test_options_are_called_the_same_in_python(command: str) -> None:
    known = {
        name
        for function in FUNCTIONS[command]
        for name in inspect.signature(getattr(polars_alf, function)).parameters
    }
    names = {parameter.name for parameter in COMMANDS[command].params} - OF_TERMINALS
    odd = {name for name in names if name not in known and RENAMED.get(name) not in known}
    assert odd <= {"query", "path"} if command in {"sql", "bench run"} else not odd


def test_walks_are_called_the_same_in_python() -> None:
    names = {*inspect.signature(WalkOptions).parameters} - {"cluster", "quiet", "nice"}
    for command in WALKERS:
        function = getattr(polars_alf, FUNCTIONS[command][0])
        assert names <= inspect.signature(function).parameters.keys(), command


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "old", "new"),
    [(name, old, new) for name, words in OLD_SPELLINGS.items() for old, new in words.items()],
)
def test_old_spellings_go_on_working_with_a_note(
    command: str, old: str, new: str, archive: Path, tables: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    arguments = {
        "index": [archive, "--progress", "none"],
        "merge": [tables, "--progress", "none"],
        "sql": [tables, "SHOW TABLES"],
        "subset": [tables, "--where", "true"],
    }.get(command, [tables])
    target = place / "answer.csv" if command == "sql" else place
    result = run(command, *arguments, f"{old}={target}")
    assert result.returncode == 0, result.stderr
    note = f"note: {old} is spelt {new} now; the old spelling goes on working"
    # On a busy machine there are lines of progress, too.
    assert note in result.stderr.splitlines()
    assert any(place.iterdir())
    again = run(command, *arguments, old, target, *(["--force"] if command == "sql" else ["-q"]))
    assert again.returncode == 0
    assert (again.stderr == "") == (command != "sql")


def test_a_value_is_no_old_spelling(tables: Path) -> None:
    result = run("sql", tables, "--", "--output")
    assert result.returncode == 2
    assert "note:" not in result.stderr
