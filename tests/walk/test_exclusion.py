"""Patterns leave out what git ignores by them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polars_alf.alf.paths import join
from polars_alf.walk.exclusion import Exclusion

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git tells what is right")

NAMES = st.sampled_from(["a", "b", "ab", "a.npy", "b.npy", "#x#", "!a", "a b"])
PARTS = st.sampled_from(["a", "b", "*", "**", "?", "*.npy", "a*", "[ab]", "\\!a", "\\#x#", "a b"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    line = "/".join(draw(st.lists(PARTS, min_size=1, max_size=3)))
    return draw(st.sampled_from(["", "", "", "/"])) + line + draw(st.sampled_from(["", "", "/"]))


trees = st.recursive(
    st.none(), lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12
)


def walk(tree: dict[str, object], leaves_out: object, directory: str = "") -> list[str]:
    """Return the paths that a walk finds which enters no directory that is left out."""
    found = []
    for name, below in tree.items():
        spelt = f"{name}/" if isinstance(below, dict) else name
        if not leaves_out(directory, spelt):  # type: ignore[operator]
            found.append(join(directory, spelt))
            if isinstance(below, dict):
                found += walk(below, leaves_out, join(directory, name))
    return found


def list_ignored(root: Path, lines: list[str], paths: list[str]) -> set[str]:
    """Return the paths that git ignores."""
    (root / ".git/info/exclude").write_text("".join(f"{line}\n" for line in lines))
    found = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=root,
        input="".join(f"{path.rstrip('/')}\0" for path in paths).encode(),
        capture_output=True,
        check=False,
    )
    assert found.returncode in (0, 1), found.stderr
    return {*found.stdout.decode().split("\0")} - {""}


@needs_git
@settings(deadline=None)
@given(
    trees.filter(lambda tree: isinstance(tree, dict)),
    st.lists(st.tuples(st.sampled_from(["", "", "!"]), patterns()).map("".join), min_size=1),
)
@example({"a": {"b.npy": None, "b": {"a": None}}, "b.npy": None}, ["a/**", "/b.npy"])
@example({"a": None, "b": {"a": None}}, ["/**"])
@example({"a": {"a.npy": None, "b": None}}, ["*", "!*/", "!*.npy"])
@example({"a": {"b": {"a.npy": None, "b": None}}}, ["*", "!*/", "!*.npy"])
@example({"a": {"b": {"a": {}}}, "b": None}, ["**/*/", "!a/"])
@example({"a": {"b": {"a": {}}}, "b": None}, ["/**/", "!/a/b/"])
@example({"a": {"a.npy": None, "b": None}}, ["a/**", "!a/*.npy"])
@example({"a": {"a": {}, "b": None}}, ["a/**/"])
@example({"b": {"a.npy": None}}, ["*.npy", "!b"])
@example({"a": {"!a": None}, "b": {"!a": {"a": None}}}, ["a/\\!a", "b/\\!a/"])
def test_what_is_left_out_is_what_git_ignores(tree: dict[str, object], lines: list[str]) -> None:
    everything = walk(tree, lambda *_: False)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run(["git", "init", "-q", folder], check=True)
        for path in everything:
            (root / path).mkdir() if path.endswith("/") else (root / path).touch()
        ignored = list_ignored(root, lines, everything)
    exclusion = Exclusion(lines)
    expected = [path for path in everything if path.rstrip("/") not in ignored]
    assert walk(tree, exclusion.leaves_out) == expected
    assert [path for path in everything if not exclusion.covers(path)] == expected


def test_no_patterns_leave_out_nothing() -> None:
    exclusion = Exclusion(())
    assert exclusion.is_empty
    assert not exclusion.leaves_out("a", "b")
    assert not exclusion.covers("a/b")
    assert not exclusion.takes_back("a/")


def test_wildcards_alone_take_back_no_folder_by_its_name() -> None:
    exclusion = Exclusion(("*", "!*/", "!/**/.snap*/"))
    assert exclusion.takes_back("a/b/.snapshot/")
    assert not exclusion.takes_back("a/b/.zfs/")
    assert not exclusion.leaves_out("a/b", ".zfs/")
