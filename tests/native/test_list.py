"""The listing in C gives what its twin in Python gives, column by column."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.native import twin, twin_pacer
from polars_alf.native.effort import make_steps

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows lists in Python alone")

native = pytest.importorskip("polars_alf.native._native")

MANY = 1 << 62

PIECES = [b"a.b.npy", b"_x_y.z.csv", b"note.txt", b"plain", b".hidden", b"..x", b"a..b"]
ODD = [b"\xff.a.b", b"a\nb.c.d", b"\xc2\x85.x.y", b"\xc2\xa0.x.y", b"\xed\xa0\x80.a.b", b"\x7f"]
ODD += [
    b"\xc0\xaf.a.b",
    b"\xf0\x9f\xa7\xa0.a.b",
    "é.ü.npy".encode(),
    b"\xf4\x90\x80\x80",
    b"n" * 255,
]

COPIES = [b".snapshot", b".snapshots", b".zfs", b"~snapshot", b"lost+found", b"#recycle", b"@eaDir"]
COPIES += [b"$RECYCLE.BIN", b".rsync-partial", b".Trash-1000", b".Trash", b".snapshot2"]

NAMES = st.sampled_from(PIECES + ODD + COPIES) | st.binary(min_size=1, max_size=12).filter(
    lambda name: not {*name} & {0, ord("/")} and name not in (b".", b"..")
)
LEAVES = st.sampled_from(["file", "fifo", "link to file", "link to folder", "link to nothing"])
TREES = st.recursive(
    LEAVES, lambda trees: st.dictionaries(NAMES, trees, max_size=6), max_leaves=14
).filter(lambda tree: isinstance(tree, dict))


def build(folder: bytes, tree: dict[bytes, object]) -> None:
    os.makedirs(folder)
    for name, leaf in tree.items():
        path = folder + b"/" + name
        if isinstance(leaf, dict):
            build(path, leaf)
        elif leaf == "file":
            Path(os.fsdecode(path)).write_bytes(name)
        elif leaf == "fifo":
            os.mkfifo(path)
        else:
            targets = {"link to file": __file__, "link to folder": "..", "link to nothing": "gone"}
            os.symlink(targets[str(leaf)], path)


def list_both(*arguments: object) -> tuple[bytes, ...]:
    """Return what both give for the same arguments, but for the steps."""
    given_by_c = native.list_directories(*arguments, None)
    given_by_python = twin.list_directories(*arguments, None)  # type: ignore[arg-type]
    assert given_by_c == given_by_python
    return given_by_python


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(tree=TREES, data=st.data())
def test_any_tree(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object], data: st.DataObject
) -> None:
    root = os.fsencode(tmp_path_factory.mktemp("trees")) + b"/root"
    build(root, tree)
    below = [os.path.relpath(path, root) for path, _, _ in os.walk(root)]
    below = [b"" if path == b"." else path for path in below]
    paths = data.draw(st.lists(st.sampled_from([*below, b"gone", *tree]), max_size=4))
    text = b"".join(path + b"\0" for path in paths)
    most_files = data.draw(st.sampled_from([0, 1, 2, MANY]))
    most_examined = data.draw(st.sampled_from([0, 1, MANY]))
    for flags in itertools.product([False, True], repeat=4):
        list_both(root + b"/", text, *flags, most_files, most_examined)


def test_what_lies_in_a_session_is_found(tmp_path: Path) -> None:
    build(
        os.fsencode(tmp_path / "s"),
        {b"alf": {b"a.b.npy": "file", b"c.d.npy": "file"}, b"note.txt": "file", b"x": "fifo"},
    )
    columns = list_both(os.fsencode(tmp_path) + b"/", b"s\0", True, True, False, True, MANY, MANY)
    assert columns[0] == b"s\0s/alf\0"
    assert array("Q", columns[6]).tolist() == [1, 0]
    assert array("Q", columns[7]).tolist() == [0, 2]
    assert array("i", columns[16]).tolist() == [twin.Odd.SPECIAL_FILE]


def test_errors_of_the_system_are_rows(tmp_path: Path, unprivileged: Callable[[], None]) -> None:
    deep = os.fsencode(tmp_path)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed/a.b.npy").write_bytes(b"x")
    (tmp_path / "unlisted").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "closed").chmod(0o444)
    (tmp_path / "unlisted").chmod(0o000)
    paths = [b"", b"closed", b"unlisted", b"loop", b"file", b"gone", b"d" * 300, b"d/" * 3000]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.o.cket"))
        unprivileged()
        columns = list_both(
            deep + b"/",
            b"".join(path + b"\0" for path in paths),
            False,
            True,
            False,
            True,
            MANY,
            MANY,
        )
    numbers = array("i", columns[5]).tolist()
    assert numbers[0] == 0
    assert len({*numbers}) >= 5
    assert twin.Odd.UNREAD_FILE in array("i", columns[16])


@pytest.mark.parametrize("seconds", [-(2**33), -1, 0, 2**31, 2**34, 2**40])
def test_times_far_off(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "a.b.npy"
    path.write_bytes(b"")
    try:
        os.utime(path, (0, seconds))
    except (OSError, OverflowError):
        pytest.skip("this file system has no such times")
    list_both(os.fsencode(tmp_path) + b"/", b"\0", False, True, False, True, MANY, MANY)


def test_files_are_examined_by_name(tmp_path: Path) -> None:
    build(
        os.fsencode(tmp_path / "s"), {b"a.b.c": "file", b"d.e.f": "fifo", b"l.i.nk": "link to file"}
    )
    names = b"a.b.c\0gone\0d.e.f\0l.i.nk\0"
    for folder in (tmp_path / "s", tmp_path / "gone"):
        arguments = os.fsencode(folder), names, None
        assert native.examine_files(*arguments) == twin.examine_files(*arguments)
    errors = array("i", twin.examine_files(os.fsencode(tmp_path / "s"), names, None)[3])
    assert [error > 0 for error in errors] == [False, True, False, False]
    assert errors[2] == -1


@pytest.mark.parametrize("functions", [native, twin], ids=["c", "python"])
def test_steps_count_and_end_a_listing(tmp_path: Path, functions: object) -> None:
    build(os.fsencode(tmp_path / "s"), {b"a.b.c": "file", b"d": {b"e.f.g": "file"}})
    arguments = os.fsencode(tmp_path) + b"/", b"s\0", True, True, False, True, MANY, MANY
    steps = make_steps()
    functions.list_directories(*arguments, steps)  # type: ignore[attr-defined]
    assert steps.tolist()[:4] == [2 * 2 + 2, 0, 0, 0]  # two calls a directory, one a file
    steps = make_steps()
    steps[1] = 1
    columns = functions.list_directories(*arguments, steps)  # type: ignore[attr-defined]
    assert columns[0] == b""
    steps = make_steps()
    steps[6] = 1
    columns = functions.list_directories(*arguments, steps)  # type: ignore[attr-defined]
    assert columns[0] == b""
    assert columns[18] == b"s\0"  # is left


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/"
    for arguments in [(b"a\0b/", b"s\0"), (root, b"s")]:
        for functions in (native, twin):
            with pytest.raises(ValueError, match="NUL"):
                functions.list_directories(*arguments, True, True, False, True, MANY, MANY, None)
            with pytest.raises(ValueError, match="NUL"):
                functions.examine_files(*arguments, None)
    for steps, error in [(bytearray(8), ValueError), (bytes(16), BufferError), (5, TypeError)]:
        with pytest.raises(error):
            native.list_directories(root, b"s\0", True, True, False, True, MANY, MANY, steps)
        with pytest.raises(error):
            native.examine_files(root, b"s\0", steps)
        with pytest.raises(error):
            native.examine_files(root, b"s\0", None, steps)
        with pytest.raises(error):
            native.book_calls(steps, 1)


@pytest.mark.parametrize(
    ("functions", "pacers"), [(native, native), (twin, twin_pacer)], ids=["c", "python"]
)
def test_calls_wait_for_their_turns(tmp_path: Path, functions: Any, pacers: Any) -> None:
    build(os.fsencode(tmp_path / "s"), {f"a.b.c{i}".encode(): "file" for i in range(6)})
    root = os.fsencode(tmp_path) + b"/"
    interval = 20_000_000
    begin = time.monotonic_ns()
    pacer, steps = array("q", [begin, interval, 0]), make_steps()
    functions.list_directories(root, b"s\0", True, True, False, True, MANY, MANY, steps, pacer)
    assert steps[0] == 2 + 6
    assert time.monotonic_ns() - begin >= (steps[0] - 1) * interval
    assert pacer[0] >= begin + steps[0] * interval
    assert 0 < steps[2] <= time.monotonic_ns() - begin
    # Those of other calls are booked after them.
    pacer[1] = 3600 * 10**9
    pacers.book_calls(pacer, 5)
    assert pacers.book_calls(pacer, 1) >= 4 * pacer[1]


@pytest.mark.parametrize("functions", [native, twin], ids=["c", "python"])
def test_a_stop_ends_the_wait_for_a_turn(tmp_path: Path, functions: Any) -> None:
    hour = 3600 * 10**9
    pacer, steps = array("q", [time.monotonic_ns() + hour, hour, 0]), make_steps()
    names = b"a.b.c\0"
    thread = threading.Thread(
        target=functions.examine_files, args=(os.fsencode(tmp_path), names, steps, pacer)
    )
    thread.start()
    while not steps[2]:
        time.sleep(0.01)
    steps[1] = 1
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_large_directory(tmp_path: Path) -> None:
    for i in range(20_000):
        os.close(os.open(tmp_path / f"object{i}.attribute.npy", os.O_CREAT, 0o600))
    columns = list_both(os.fsencode(tmp_path) + b"/", b"\0", True, True, False, True, MANY, 15_000)
    assert len(columns[11]) == 8 * 15_000
    assert len(array("i", columns[20])) == 5_000


def test_a_listing_ends_with_files_that_are_not_examined(tmp_path: Path) -> None:
    build(
        os.fsencode(tmp_path / "s"),
        {b"a.b.npy": "file", b"alf": {b"a.b.npy": "file", b"c.d.npy": "file"}},
    )
    arguments = True, True, False, True, MANY, 1
    columns = list_both(os.fsencode(tmp_path) + b"/", b"s\0s/alf\0", *arguments)
    assert (columns[0], columns[18]) == (b"s\0s/alf\0", b"s/alf\0")
    (unexamined,) = array("i", columns[20])
    assert columns[9].split(b"\0")[unexamined] in (b"a.b.npy", b"c.d.npy")
