"""Inventories of archives on disk, by the programs that write them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from buckets import find_program

from polars_alf.walk.inventory_formats import FIND_FORMAT


def list_by_find(root: Path | str, *, end: str = "\\0", cwd: Path | None = None) -> bytes:
    """Return what the documentation's command prints, which follows links to files."""
    printf = ["-printf", FIND_FORMAT + end]
    follow = ["-type", "l", "-xtype", "f", "-exec", "find", "-L", "{}", "-maxdepth", "0", *printf]
    command = ["find", str(root), "(", *follow, ";", ")", "-o", *printf]
    return subprocess.run(command, stdout=subprocess.PIPE, cwd=cwd, check=False).stdout


def list_by_rclone(root: Path | str, *options: str) -> bytes:
    """Return what `rclone lsjson -R` prints of a folder."""
    command = [find_program("rclone"), "lsjson", "-R", "--config", "", *options, str(root)]
    return subprocess.run(command, capture_output=True, check=True).stdout
