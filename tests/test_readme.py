"""What the README says is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from polars_alf.schema import IssueKind

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.pandas
def test_python_blocks_run(archive: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block.replace("/data/archive", str(archive)), namespace)


def test_options_are_those_of_the_command() -> None:
    command = [sys.executable, "-m", "polars_alf", "index", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    table = README.split("| option | |")[1].split("\n\n")[0]
    described = set(re.findall(r"`(--[a-z-]+)", table))
    offered = set(re.findall(r"--[a-z-]+", text)) - {"--help", "--hash-ids"}
    assert described == offered


def test_options_of_bench_are_those_of_the_command() -> None:
    command = [sys.executable, "-m", "polars_alf", "bench", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    section = README.split("## Choose storage")[1].split("\n## ")[0]
    described = set(re.findall(r"`?(--[a-z-]+)", section))
    assert described - set(re.findall(r"--[a-z-]+", text)) == set()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", section)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_every_kind_of_issue_is_described() -> None:
    for kind in IssueKind:
        assert f"`{kind}`" in README
