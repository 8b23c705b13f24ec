"""Options that several commands share: the same names, checks and meaning in each."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import run
from trees import make_tree
from typer.testing import CliRunner

import polars_alf
from polars_alf.cli.app import app
from polars_alf.cli.options import WalkOptions
from polars_alf.errors import OptionError

FUNCTIONS = {
    "index": "index_archive",
    "verify": "verify_archive",
    "prune": "plan_removals",
    "check": "check_archive",
}
"""Commands that walk an archive, and the functions that they call."""

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


class CalledError(Exception):
    """A function was called, with these arguments."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note the keyword arguments of the functions that walk, in place of walking."""
    noted: list[dict[str, Any]] = []

    def note(*_: object, **options: object) -> None:
        noted.append(options)
        raise CalledError

    for function in FUNCTIONS.values():
        monkeypatch.setattr(polars_alf, function, note)
    return noted


def call(command: str, *options: str) -> None:
    result = CliRunner().invoke(app, [command, "archive", *options])
    assert isinstance(result.exception, CalledError), result.output


def list_options(command: str) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in COMMANDS[command].params}


def test_options_of_walks_are_the_same_in_every_command() -> None:
    names = inspect.signature(WalkOptions).parameters
    described = [
        {name: (options[name].opts, options[name].help, options[name].metavar) for name in names}
        for options in map(list_options, FUNCTIONS)
    ]
    assert all(options == described[0] for options in described)
    flags = {flag for flags, *_ in described[0].values() for flag in flags}
    assert flags > {"--threads", "--op-timeout", "--progress", "--exclude", "--follow-links"}
    assert flags > {"--jobs", "--executor", "--cluster", "--quiet"}


def test_help_of_an_option_is_written_once() -> None:
    # Of another meaning from command to command: prune --force trusts tables, others replace files.
    own = {"--digest", "--out", "--kind", "--jobs", "--threads", "--json", "--force"}
    own |= {"--like", "--cluster", "--by", "--generation"}
    texts: dict[str, set[str]] = {}
    for command in ("bench run", "bench compare", *COMMANDS):
        found = COMMANDS["bench"].commands.get(command.partition(" ")[2], COMMANDS.get(command))
        for option in found.params:
            if option.opts[0].startswith("--"):
                texts.setdefault(option.opts[0], set()).add(option.help)
    assert {flag for flag, helps in texts.items() if len(helps) > 1} <= own


@pytest.mark.parametrize("command", FUNCTIONS)
def test_options_of_walks_reach_the_function(command: str, calls: list[dict[str, Any]]) -> None:
    call(command, "--quiet")
    call(
        command,
        *("--threads", "5", "--op-timeout", "0", "--exclude", "*.csv", "--exclude", "a/"),
        *("--follow-links", "--jobs", "3", "--executor", "threads", "--progress", "json"),
        *("--include-snapshots", "--max-rate", "50"),
    )
    call(command, "--cluster", "dask://host:1", "--progress", "none")
    for options in calls[1:]:
        for name, value in calls[0].items():
            assert options[name] == value or name == "progress"
    plain, given, cluster = (
        {name: options[name] for name in options if name == "progress" or name not in calls[0]}
        for options in calls
    )
    assert plain == {"progress": None}
    assert callable(given.pop("progress"))
    assert given == {
        **{"threads": 5, "op_timeout": 0.0, "exclude": ["*.csv", "a/"]},
        **{"follow_links": True, "jobs": 3, "executor": "threads", "include_snapshots": True},
        "max_rate": 50.0,
    }
    assert cluster == {"progress": None, "executor": "dask://host:1"}


@pytest.mark.slow
@pytest.mark.parametrize("command", FUNCTIONS)
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--cluster", "dask://host:1", "--executor", "serial"], "give either that or --cluster"),
        (["--executor", "gpu"], "'gpu' is not one of 'serial', 'threads', 'processes'"),
        (["--jobs", "many"], "'many' is neither a number from 1 on nor 'auto'"),
        (["--jobs", "0"], "'0' is neither"),
        (["--threads", "0"], "--threads"),
        (["--progress", "loud"], "'loud' is not one of"),
        (["--op-timeout", "soon"], "--op-timeout"),
        (["--max-rate", "slow"], "--max-rate"),
        (["--cluster", "dask://host:1", "--nice"], "--nice is for this machine"),
    ],
)
def test_wrong_options_of_walks_are_refused(
    command: str, options: list[str], text: str, calls: list[dict[str, Any]]
) -> None:
    result = CliRunner().invoke(app, [command, "archive", *options])
    assert result.exit_code == 2 or isinstance(result.exception, OptionError)
    assert text in f"{result.stderr}{result.exception}"
    assert not calls


@pytest.mark.parametrize("command", FUNCTIONS)
def test_jobs_of_no_measurement_are_the_default(
    command: str, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = CliRunner().invoke(app, [command, "archive", "--jobs", "auto", "--threads", "7"])
    assert "the storage of archive has not been measured" in result.stderr
    assert calls[0]["threads"] == 7
    assert "jobs" not in calls[0]


@pytest.mark.parametrize("command", FUNCTIONS)
def test_jobs_of_a_measurement_are_taken(
    command: str, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = {"begun": "2026-01-01", "advice": {"jobs": 2, "threads": 16}}
    monkeypatch.setattr("polars_alf.bench.advice.find_advice", lambda *_: advice)
    result = CliRunner().invoke(app, [command, "archive", "--jobs", "auto"])
    assert "jobs 2, threads 16: found best when measured on 2026-01-01" in result.stderr
    call(command, "--jobs", "auto", "--threads", "4", "--quiet")
    call(command, "--jobs", "auto", "--cluster", "dask://host:1")
    assert [(options.get("jobs"), options.get("threads")) for options in calls] == [
        *((2, 16), (2, 4), (None, None)),
    ]


@pytest.mark.parametrize("command", ["verify", "prune"])
def test_walks_of_the_shell_take_every_option(archive: Path, command: str) -> None:
    parameters = inspect.signature(getattr(polars_alf, FUNCTIONS[command])).parameters
    if not {"threads", "op_timeout", "executor", "follow_links"} <= set(parameters):
        pytest.skip(f"{FUNCTIONS[command]} does not take these options yet")
    assert run("index", archive, "--quiet").returncode == 0
    session = "cortexlab/Subjects/KS001/2020-01-01/001/alf"
    make_tree(archive / session, {"new.times.npy": 5, "left.out.npy": 5})
    result = run(
        *(command, archive, "--json", "--progress", "json", "--executor", "threads", "--jobs", 2),
        *("--threads", 2, "--op-timeout", 30, "--exclude", "left.*", "--follow-links"),
        *("--max-rate", 1e6),
    )
    assert result.returncode == {"verify": 3, "prune": 0}[command], result.stderr
    assert f"{session}/new.times.npy" in result.stdout
    assert "left.out.npy" not in result.stdout
    assert all(json.loads(line)["stage"] for line in result.stderr.splitlines())
