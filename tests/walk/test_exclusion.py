"""Patterns leave out what pathspec does, whatever is asked of the names alone."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from polars_alf.alf.paths import join
from polars_alf.walk.exclusion import Exclusion

NAMES = st.sampled_from(["a", "b", "ab", "a.npy", "b.npy", "#x#", "!a", "a b", "é"])
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


@given(
    trees.filter(lambda tree: isinstance(tree, dict)),
    st.lists(patterns(), min_size=1, max_size=4),
    st.lists(patterns().map("!{}".format), max_size=2),
)
@example({"a": {"b.npy": None, "b": {"a": None}}, "b.npy": None}, ["a/**", "/b.npy"], [])
@example({"a": None, "b": {"a": None}}, ["/**"], [])
@example({"a": {"a.npy": None}}, ["*.npy"], ["!a"])
@example({"a": {"!a": None}, "b": {"!a": {"a": None}}}, ["a/\\!a", "b/\\!a/**/"], [])
def test_a_walk_leaves_out_what_pathspec_matches(
    tree: dict[str, object], excluding: list[str], taken_back: list[str]
) -> None:
    lines = [*excluding, *taken_back]
    spec = GitIgnoreSpec.from_lines(lines)
    expected = walk(tree, lambda directory, name: spec.match_file(join(directory, name)))
    exclusion = Exclusion(lines)
    assert walk(tree, exclusion.leaves_out) == expected
    everything = walk(tree, lambda *_: False)
    assert [path for path in everything if not exclusion.covers(path)] == expected


def test_no_patterns_leave_out_nothing() -> None:
    exclusion = Exclusion(())
    assert exclusion.is_empty
    assert not exclusion.leaves_out("a", "b")
    assert not exclusion.covers("a/b")
    assert not exclusion.takes_back("a/")
