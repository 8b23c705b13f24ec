"""Archives as literals."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class Link:
    """A symbolic link, to a path relative to where it lies."""

    target: str


class Fifo:
    """A named pipe."""


class Socket:
    """A socket of the file system."""


Tree: TypeAlias = "dict[str | bytes, Tree | str | bytes | int | Link | Fifo | Socket]"


def make_tree(root: Path, tree: Tree) -> Path:
    """Make a tree: a dict is a directory, text or bytes a file's content, a number its size.

    Names may be paths. A name in bytes need not be UTF-8.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, node in tree.items():
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        match node:
            case dict():
                make_tree(path, node)
            case str():
                path.write_text(node, encoding="utf-8")
            case bytes():
                path.write_bytes(node)
            case int():
                with path.open("wb") as file:
                    file.truncate(node)
            case Link():
                path.symlink_to(node.target)
            case Fifo():
                os.mkfifo(path)
            case Socket():
                # The address of a socket is short; its directory may not be.
                here = Path.cwd()
                os.chdir(path.parent)
                try:
                    with socket.socket(socket.AF_UNIX) as server:
                        server.bind(path.name)
                finally:
                    os.chdir(here)
    return root


SESSION: Tree = {
    "_ibl_trials.intervals_bpod.csv": 11,
    "alf/spikes.times.npy": 20,
    "alf/probe00/#2024-05-06#/spikes.times.npy": 30,
    "alf/notes.txt": 5,
}
"""Three datasets of 61 bytes, and a file that is none."""

TWO_LABS: Tree = {
    "cortexlab/Subjects/KS001/2020-01-01/001": SESSION,
    "cortexlab/Subjects/KS001/2020-01-01/002": SESSION,
    "cortexlab/Subjects/KS002/2020-02-29/001": SESSION,
    "wittenlab/Subjects/KS001/2020-01-01/001": SESSION,
}
"""A clean archive: four sessions, twelve datasets, four other files."""


def check_state(folder: Path) -> None:
    """Check that beside tables there is what the next index needs, and nothing else."""
    names = sorted(path.name for path in (folder / ".polars_alf").iterdir())
    assert names[:5] == ["changes.arrow", "issues.arrow", "lock", "namespace", "report.json"]
    assert [name.partition("-")[0] for name in names[5:]] == ["snapshot"]
    assert not list(folder.glob(".ONE*"))
