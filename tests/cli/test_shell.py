"""Completion in the shells themselves, and the manual as man shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import run
from trees import make_tree

from polars_alf.cli.app import app
from polars_alf.cli.usage import Command, Parameter, describe_commands
from polars_alf.schema import IssueKind

COMMANDS = (
    *("bench", "changes", "completion", "diff", "history", "index", "info", "issues", "manual"),
    *("merge", "prune", "report", "restore", "sql", "verify"),
    *("check", "conflicts", "insertions", "publish", "split", "subset"),
)

LINES = {
    "polars-alf in": {"index", "info", "insertions"},
    "polars-alf bench c": {"compare"},
    "polars-alf index --ex": {"--exclude", "--executor"},
    "polars-alf bench --re": {"--read-only", "--region", "--repeats"},
    "polars-alf index data --executor ": {"serial", "threads", "processes"},
    "polars-alf changes --kind u": {"unreadable"},
    "polars-alf merge --keep ": {"first", "newest"},
    "polars-alf info ": {"with tables"},
    "polars-alf info data/": {"data/plain"},
    "polars-alf index ": {"data", "with tables", "bare"},
    "polars-alf report --out p": {"page.html"},
    "polars-alf index --namespace ": set(),
}
"""What completes a line, in a folder with these folders."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    tables = {"sessions.pqt": 1, "datasets.pqt": 1}
    return make_tree(
        tmp_path / "here",
        {"data": {"plain": {}}, "with tables": tables, "bare": {}, "page.html": 1},
    )


def write_script(shell: str, folder: Path) -> Path:
    result = run("completion", shell)
    assert (result.returncode, result.stderr) == (0, "")
    script = folder / f"completion.{shell}"
    script.write_text(result.stdout, encoding="utf-8")
    return script


def call(here: Path, *command: str) -> str:
    # Nothing of the package is to run: the program is not on this path.
    environment = {"PATH": os.defpath, "HOME": str(here.parent), "TERM": "dumb"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=here, env=environment)
    assert result.stderr == ""
    return result.stdout


def complete_in_bash(here: Path, script: Path, line: str) -> set[str]:
    words = line.split(" ")
    code = (
        f"source '{script}'; COMP_WORDS=({' '.join(repr(word) for word in words)}); "
        f"COMP_CWORD={len(words) - 1}; _polars_alf; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return set(filter(None, call(here, "bash", "-c", code).split("\n")))


def complete_in_fish(here: Path, script: Path, line: str) -> set[str]:
    code = f"source '{script}'; complete -C '{line}'"
    lines = call(here, "fish", "--no-config", "-c", code).split("\n")
    found = {text.partition("\t")[0].removesuffix("/") for text in lines if text}
    return {re.sub(r"\\(.)", r"\1", text) for text in found}


@pytest.mark.parametrize("line", LINES)
def test_bash_completes(here: Path, line: str) -> None:
    if not shutil.which("bash", path=os.defpath):
        pytest.skip("there is no bash here")
    script = write_script("bash", here.parent)
    assert complete_in_bash(here, script, line) == LINES[line]


@pytest.mark.parametrize("line", LINES)
def test_fish_completes(here: Path, line: str) -> None:
    if not shutil.which("fish", path=os.defpath):
        pytest.skip("there is no fish here: apt-get install fish")
    script = write_script("fish", here.parent)
    assert complete_in_fish(here, script, line) == LINES[line]


ZSH = r"""
zmodload zsh/zpty
zpty z 'PS1= zsh -f -i'
zpty -w z 'autoload -Uz compinit; compinit -u -D; source SCRIPT; bindkey "^I" list-choices'
zpty -w z 'unsetopt zle_bracketed_paste; LISTMAX=1000; echo REA""DY'
zpty -r -m z out '*READY*'
zpty -n -w z $'LINE\t'
for n in {1..20}; do
  sleep 0.1
  zpty -r -t z out && print -r -- "$out"
done
exit 0
"""


@pytest.mark.thorough
@pytest.mark.parametrize("line", [line for line in LINES if len(LINES[line]) > 1])
def test_zsh_completes(here: Path, line: str) -> None:
    if not shutil.which("zsh", path=os.defpath):
        pytest.skip("there is no zsh here: apt-get install zsh")
    script = write_script("zsh", here.parent)
    code = ZSH.replace("SCRIPT", str(script)).replace("LINE", line)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", call(here, "zsh", "-f", "-c", code))
    shown = shown.replace("\\ ", " ")
    for word in LINES[line]:
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", shown), shown


def test_scripts_of_all_shells_name_all_commands() -> None:
    for shell in ("bash", "zsh", "fish", "powershell"):
        text = run("completion", shell).stdout
        assert all(name in text for name in (*COMMANDS, "compare", "op-timeout"))
        assert all(str(kind) in text for kind in IssueKind)
        assert not re.search(r"@[A-Z]+@", text), "a place that was not filled"
    assert run("completion", "csh").returncode == 2


def list_described() -> list[Command]:
    import typer

    return describe_commands(typer.main.get_command(app))


def test_usage_has_every_command_and_what_its_values_are() -> None:
    commands = {" ".join(command.words): command for command in list_described()}
    assert set(commands) == {"", *COMMANDS, "bench run", "bench compare"}

    def find(command: str, name: str) -> Parameter:
        options = commands[command].options
        return next(option for option in options if name in option.names)

    assert find("index", "--out").kind == "folders"
    assert find("index", "--ids-from").kind == "tables"
    assert find("index", "--digest").words == ("md5", "xxh3_128")
    assert find("index", "--jobs").words == ("auto",)
    assert find("index", "--quick").metavar == ""
    assert find("index", "--no-hash-ids").names == ("--hash-ids", "--no-hash-ids")
    assert find("sql", "--out").kind == "files"
    assert [argument.kind for argument in commands["diff"].arguments] == ["tables", "tables"]
    assert commands["verify"].arguments[0].kind == "folders"


def test_commands_are_in_the_order_of_their_use() -> None:
    words = [command.words[0] for command in list_described() if len(command.words) == 1]
    assert (words[:2], words[-2:]) == (["index", "info"], ["completion", "manual"])
    text = run("manual").stdout
    places = [text.index(f".SS polars\\-alf {word}\n") for word in words]
    assert places == sorted(places)
    shown = run("--help").stdout
    assert shown.index("\n  index ") < shown.index("\n  sql ") < shown.index("\n  bench ")


def test_the_manual_has_every_option(tmp_path: Path) -> None:
    page = tmp_path / "polars-alf.1"
    page.write_text(run("manual").stdout, encoding="utf-8")
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    for command in list_described():
        assert " ".join(("polars-alf", *command.words)) in text
        for option in command.options:
            assert ", ".join(option.names) in text
            assert option.help in text
    if shutil.which("man"):
        environment = os.environ | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
        result = subprocess.run(
            ["man", "--warnings", "-l", str(page)], capture_output=True, text=True, env=environment
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert "polars-alf index" in result.stdout
