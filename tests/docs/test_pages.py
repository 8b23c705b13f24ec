"""The README and the pages in docs: their examples run, and what they name is there."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

import polars_alf
from polars_alf.cli.app import app
from polars_alf.schema import IssueKind

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]

LANGUAGES = {"", "text", "sh", "run", "console", "python", "pycon"}
BLOCK = re.compile(
    r"(?P<run><!-- run -->\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


def list_blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and text of each block of code; `run` is the language of sh to be run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    matches = list(BLOCK.finditer(text))
    assert 2 * len(matches) == text.count("```"), "a block is not closed, or is indented"
    return [("run" if match["run"] else match["language"], match["text"]) for match in matches]


PAGES_TO_RUN = [
    name
    for name in NAMES
    if {"run", "console", "python", "pycon"} & {kind for kind, _ in list_blocks(name)}
]


@pytest.mark.slow
@pytest.mark.pandas
@pytest.mark.parametrize("page", PAGES_TO_RUN)
def test_examples_run(
    page: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block goes on from those before it; `/data/archive` is a small archive."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # where ONE keeps its parameters
    names: dict[str, object] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for kind, text in list_blocks(page):
        example = text.replace("/data/archive", str(archive))
        if kind == "run":
            for line in example.splitlines():
                run_command(line)
        elif kind == "console":
            check_console(example)
        elif kind == "python":
            exec(compile(example, page, "exec"), names)
        elif kind == "pycon":
            failures: list[str] = []
            test = doctest.DocTestParser().get_doctest(example, names, page, page, 0)
            runner.run(test, out=failures.append, clear_globs=False)
            assert not failures, "".join(failures)
            names = test.globs


def run_command(line: str) -> str:
    program, *arguments = shlex.split(line, comments=True)
    python = [sys.executable]
    start = {"polars-alf": [*python, "-m", "polars_alf"], "python": python, "mkdir": ["mkdir"]}
    command = [*start[program], *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def check_console(example: str) -> None:
    """Run the commands after `$ `, whose output must be as shown but for numbers and sizes."""
    for part in example.split("$ ")[1:]:
        line, _, shown = part.partition("\n")
        assert hide_numbers(run_command(line)) == hide_numbers(shown)


def hide_numbers(output: str) -> str:
    return re.sub(r"\d[\d,.]*( [kMGT]?B\b| bytes)?", "N", output)


def test_there_is_something_to_run() -> None:
    assert {"README.md", "docs/commands.md", "docs/drop-in.md", "docs/guide.md"} <= set(
        PAGES_TO_RUN
    )
    kinds = {kind for name in NAMES for kind, _ in list_blocks(name)}
    assert kinds <= LANGUAGES


@cache
def list_options(*command: str) -> set[str]:
    """Return the options that a command offers."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
    return set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", result.stdout))


def list_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the words of each `polars-alf` in a block for the shell."""
    for name in NAMES:
        for kind, text in list_blocks(name):
            for line in text.splitlines() if kind in {"sh", "run", "console"} else ():
                _, is_ours, rest = line.partition("polars-alf ")
                if is_ours:
                    yield name, shlex.split(rest.replace("$(hostname)", "host"), comments=True)


def test_commands_have_their_options() -> None:
    commands = list(list_commands())
    assert len(commands) > 10
    for page, (command, *arguments) in commands:
        subcommand = ["compare"] if arguments[:1] == ["compare"] else []
        options = {word.partition("=")[0] for word in arguments if re.match("--?[a-z]", word)}
        unknown = options - list_options(command, *subcommand)
        assert not unknown, f"{page}: polars-alf {command} has no {unknown}"


def test_options_in_texts_are_of_some_command() -> None:
    commands = ("index", "issues", "changes", "prune", "merge", "diff", "verify", "info", "sql")
    more = ("bench", "history", "restore", "check", "split", "subset", "publish", "insertions")
    more += ("report", "completion")
    known = set.union(*(list_options(command) for command in (*commands, *more)))
    known |= list_options("bench", "compare")
    others = {"--nthreads", "--slow", "--all"}  # of dask worker and of scripts/run_tests.py
    for name in NAMES:
        text = BLOCK.sub("", (ROOT / name).read_text(encoding="utf-8"))
        # Commands of other programs are in code with a name before the option.
        found = set(re.findall(r"`(--[a-z][a-z-]*)", text))
        assert found <= known | others, name


def test_every_kind_of_issue_is_described() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    tables = text.partition("## Issues")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", tables.partition("| skipped")[2])) >= set(map(str, IssueKind))


def test_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api" / "polars_alf.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: polars_alf\.(\w+)$", text, re.M)
    assert sorted(["__version__", *shown]) == sorted(polars_alf.__all__)


def test_links_lead_to_files() -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)", text):
            if "://" not in link:
                assert (path.parent / link).is_file(), f"{path.name}: {link}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1000
