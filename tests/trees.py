"""Archives as literals."""

from __future__ import annotations

import os
import re
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


def list_state(folder: Path) -> list[str]:
    """Return the names in the state of a folder of tables, that of the lock without its number."""
    names = (path.name for path in (folder / ".polars_alf").iterdir())
    return sorted("lock" if re.fullmatch(r"lock-\d+\.free", name) else name for name in names)


def check_state(folder: Path) -> None:
    """Check that beside tables there is what the next index needs, and nothing else."""
    names = list_state(folder)
    kept = [name for name in names if name.startswith("generation-")]
    assert len(kept) <= 1, "one earlier generation by default"
    files = ["changes.arrow", "history.jsonl", "issues.arrow", "lock", "namespace", "report.json"]
    assert [name for name in names if "-" not in name] == files
    assert [name.partition("-")[0] for name in names if "-" in name] == [
        *["generation" for _ in kept],
        "snapshot",
    ]
    assert not list(folder.glob(".ONE*"))


DATE = "lab/Subjects/KS001/2020-01-01"

ODD: list[tuple[str, Tree, int, list[tuple[str, str]]]] = [
    (
        "a day that no calendar has",
        {"KS001/2021-02-30/001/a.b.npy": 1, "KS001/2021-13-45/001/a.b.npy": 1},
        0,
        [
            ("KS001/2021-02-30", "invalid_date"),
            ("KS001/2021-02-30/001", "outside_session"),
            ("KS001/2021-13-45", "invalid_date"),
            ("KS001/2021-13-45/001", "outside_session"),
        ],
    ),
    (
        "a subject with a space",
        {"my subject/2021-02-03/001/a.b.npy": 1},
        0,
        [
            ("my subject/2021-02-03/001", "invalid_subject"),
            ("my subject/2021-02-03/001", "outside_session"),
        ],
    ),
    (
        "a number of four digits",
        {"KS001/2021-02-03/1234/a.b.npy": 1},
        0,
        [
            ("KS001/2021-02-03/1234", "invalid_number"),
            ("KS001/2021-02-03/1234", "outside_session"),
        ],
    ),
    (
        "folders that are nearly sessions, and files beside sessions",
        {
            f"KS001/{folder}a.b.npy": 1
            for folder in ("", "2021-1-1/001/", "2021-02-03/", "2021-02-03/001_bak/", "20210203/1/")
        },
        0,
        [
            (f"KS001{folder}", "outside_session")
            for folder in ("", "/2021-1-1/001", "/2021-02-03", "/2021-02-03/001_bak", "/20210203/1")
        ],
    ),
    (
        "a number without zeros",
        {"KS001/2021-02-03/1/a.b.npy": 1, "KS001/2021-02-03/02/a.b.npy": 1},
        2,
        [("KS001/2021-02-03/02", "unpadded_number"), ("KS001/2021-02-03/1", "unpadded_number")],
    ),
    (
        "a lab with a hyphen",
        {"my-lab/Subjects/S/2021-02-03/001/a.b.npy": 1},
        1,
        [
            ("my-lab", "unusual_lab"),
        ],
    ),
    (
        "collections that ALF does not allow",
        {
            f"{DATE}/001/{name}/a.b.npy": 1
            for name in ("my coll", "a+b", "(old)", "#x", "#r#/below", "ok/#r#", "ok/.hidden")
        },
        7,
        [
            (f"{DATE}/001/{name}", "invalid_collection")
            for name in ("#r#/below", "#x", "(old)", "a+b", "my coll")
        ],
    ),
    (
        "a session inside a session",
        {
            f"{DATE}/001/copy/KS001/2020-01-01/002/a.b.npy": 1,
            f"{DATE}/001/2020-01-03/003/a.b.npy": 1,
        },
        2,
        [
            (f"{DATE}/001/2020-01-03/003", "nested_session"),
            (f"{DATE}/001/copy/KS001/2020-01-01/002", "nested_session"),
        ],
    ),
    (
        "a directory with the name of a dataset",
        {f"{DATE}/001/spikes.times.npy": {"a.b.npy": 1}},
        1,
        [],
    ),
    (
        "names that are not ALF",
        {
            f"{DATE}/001/{name}": 1
            for name in ("._spikes.times.npy", ".nfs0001.a.b", "a.b (1).npy", "notes.txt", "README")
        },
        0,
        [],
    ),
]


ODD_POSIX: list[tuple[str, Tree, int, list[tuple[str, str]]]] = [
    (
        "links that lead nowhere",
        {f"{DATE}/001": {"a.b.npy": Link("nowhere"), "x": Link("x"), "c.d.npy": 1}},
        1,
        [(f"{DATE}/001/a.b.npy", "broken_link"), (f"{DATE}/001/x", "broken_link")],
    ),
    ("a link to a file", {f"{DATE}/001": {"a.b.npy": Link("c.d.npy"), "c.d.npy": 7}}, 2, []),
    (
        "a link to a session",
        {f"{DATE}/001/a.b.npy": 1, f"{DATE}/002": Link("001")},
        2,
        [],
    ),
    (
        "a link to a collection and one to a subject",
        {
            f"{DATE}/001": {"alf/a.b.npy": 1, "more": Link("alf")},
            "lab/Subjects/KS002": Link("KS001"),
        },
        1,
        [
            (f"{DATE}/001/more", "linked_directory"),
            ("lab/Subjects/KS002", "linked_directory"),
        ],
    ),
    (
        "links that lead back",
        {
            f"{DATE}/001": {"alf/a.b.npy": 1, "alf/up": Link("..")},
            f"{DATE}/002": Link("../../../.."),
        },
        1,
        [(f"{DATE}/001/alf/up", "link_loop"), (f"{DATE}/002", "link_loop")],
    ),
    (
        "what is neither a file nor a directory",
        {f"{DATE}/001": {"a.b.npy": Fifo(), "c.d.npy": Socket(), "plain": Fifo()}},
        0,
        [
            (f"{DATE}/001/a.b.npy", "special_file"),
            (f"{DATE}/001/c.d.npy", "special_file"),
            (f"{DATE}/001/plain", "special_file"),
        ],
    ),
    (
        "names that no table can hold",
        {
            f"{DATE}/001": {
                b"a\xff.b.npy": 1,
                b"caf\xe9/a.b.npy": 1,
                "a.b\n.npy": 1,
                "a\nb/a.b.npy": 1,
                "a.b.npy\n": 1,
            }
        },
        0,
        [
            (f"{DATE}/001/a\\x0ab", "invalid_name"),
            (f"{DATE}/001/a.b\\x0a.npy", "invalid_name"),
            (f"{DATE}/001/a.b.npy\\x0a", "invalid_name"),
            (f"{DATE}/001/a\\xff.b.npy", "invalid_name"),
            (f"{DATE}/001/caf\\xe9", "invalid_name"),
        ],
    ),
]
