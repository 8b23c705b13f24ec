"""The UUIDs of columns are those of the standard library, with any instructions and without C."""

from __future__ import annotations

import array
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polars_alf import native
from polars_alf.native import twin_md5

try:
    from polars_alf.native import _native
except ImportError:
    INSTRUCTIONS = []
else:
    INSTRUCTIONS = _native.list_instruction_sets()

NAMESPACE = uuid.UUID(int=0x1234567890ABCDEF)

implementations = pytest.mark.parametrize("instructions", ["python", *INSTRUCTIONS])


def _choose(instructions: str) -> Callable[..., bytes]:
    if instructions == "python":
        return twin_md5.make_uuids
    return lambda namespace, first, second=None, as_digests=False: _native.make_uuids(
        namespace, first, second, as_digests, instructions
    )


def _column(
    texts: Sequence[str], codes: Sequence[int] | None = None, width: str = "q"
) -> twin_md5.Column:
    encoded = [text.encode() for text in texts]
    offsets = array.array(width, [0])
    for text in encoded:
        offsets.append(offsets[-1] + len(text))
    numbers = None if codes is None else memoryview(array.array("I", codes))
    return numbers, memoryview(offsets), memoryview(b"".join(encoded))


def _split(uuids: bytes) -> list[str]:
    return [uuids[at : at + 36].decode() for at in range(0, len(uuids), 36)]


def _expect(names: Sequence[str]) -> list[str]:
    return [str(uuid.uuid3(NAMESPACE, name)) for name in names]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.mark.slow
@implementations
@given(names=st.lists(texts, max_size=70), width=st.sampled_from("iq"))
def test_one_column(instructions: str, names: list[str], width: str) -> None:
    uuids = _choose(instructions)(NAMESPACE.bytes, _column(names, width=width))
    assert _split(uuids) == _expect(names)


@pytest.mark.slow
@implementations
@given(data=st.data(), first=st.lists(texts, min_size=1), second=st.lists(texts, min_size=1))
def test_two_columns_of_codes(
    instructions: str, data: st.DataObject, first: list[str], second: list[str]
) -> None:
    numbers = st.tuples(st.integers(0, len(first) - 1), st.integers(0, len(second) - 1))
    codes = data.draw(st.lists(numbers, max_size=40))
    columns = [_column(first, [a for a, _ in codes]), _column(second, [b for _, b in codes])]
    uuids = _choose(instructions)(NAMESPACE.bytes, *columns)
    assert _split(uuids) == _expect([f"{first[a]}/{second[b]}" for a, b in codes])


@implementations
@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33])
def test_rows_about_the_number_of_lanes(instructions: str, n_rows: int) -> None:
    names = [f"name {row}" for row in range(n_rows)]
    assert _split(_choose(instructions)(NAMESPACE.bytes, _column(names))) == _expect(names)


@implementations
def test_lengths_about_the_ends_of_blocks(instructions: str) -> None:
    # With the namespace: 0 to 3 blocks and their edges, the longest that has lanes, and longer.
    lengths = [*range(200), *range(980, 1050), 4096, 100_000]
    names = [chr(97 + length % 26) * length for length in lengths]
    assert _split(_choose(instructions)(NAMESPACE.bytes, _column(names))) == _expect(names)


@implementations
def test_digests_are_the_bytes_of_the_texts(instructions: str) -> None:
    names = [f"name {row}" for row in range(20)]
    digests = _choose(instructions)(NAMESPACE.bytes, _column(names), None, True)
    assert digests == b"".join(uuid.uuid3(NAMESPACE, name).bytes for name in names)


formatters = pytest.mark.parametrize(
    "format_uuids", [twin_md5.format_uuids, *([_native.format_uuids] if INSTRUCTIONS else [])]
)


@formatters
@given(ids=st.lists(st.uuids()))
def test_halves_become_texts(
    format_uuids: Callable[[memoryview, memoryview], bytes], ids: list[uuid.UUID]
) -> None:
    highs = array.array("Q", [number.int >> 64 for number in ids])
    lows = array.array("Q", [number.int & (2**64 - 1) for number in ids])
    assert _split(format_uuids(memoryview(highs), memoryview(lows))) == [*map(str, ids)]


@formatters
@pytest.mark.parametrize("n_bytes", [(8, 16), (12, 12)])
def test_halves_of_different_length(
    format_uuids: Callable[[memoryview, memoryview], bytes], n_bytes: tuple[int, int]
) -> None:
    message = f"the halves have {n_bytes[0]} and {n_bytes[1]} bytes, not 8 a row"
    with pytest.raises(ValueError, match=message):
        format_uuids(*(memoryview(bytes(n)) for n in n_bytes))


@implementations
@pytest.mark.parametrize("codes", [[0, 1, 2], [0, 2**32 - 1]])
def test_a_code_of_no_text(instructions: str, codes: list[int]) -> None:
    message = f"row {len(codes) - 1} names a text that there is none of"
    with pytest.raises(ValueError, match=message):
        _choose(instructions)(NAMESPACE.bytes, _column(["a", "b"], codes))


@implementations
def test_columns_of_different_length(instructions: str) -> None:
    with pytest.raises(ValueError, match="the columns have 2 and 3 rows"):
        _choose(instructions)(NAMESPACE.bytes, _column(["a", "b"]), _column(["a"], [0, 0, 0]))


@implementations
def test_a_namespace_of_another_length(instructions: str) -> None:
    with pytest.raises(ValueError, match="a namespace has 16 bytes, not 15"):
        _choose(instructions)(NAMESPACE.bytes[:15], _column(["a"]))


@pytest.mark.skipif(not INSTRUCTIONS, reason="the extension is not built")
@given(offsets=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=5))
@example(offsets=[0, 4])
@example(offsets=[3, 2])
@example(offsets=[-1, 2])
def test_offsets_outside_the_text_are_not_followed(offsets: list[int]) -> None:
    column = (None, memoryview(array.array("q", offsets)), memoryview(b"abc"))
    if all(0 <= start <= end <= 3 for start, end in pairwise(offsets)):
        assert len(_native.make_uuids(NAMESPACE.bytes, column)) == 36 * (len(offsets) - 1)
    else:
        with pytest.raises(ValueError, match="names a text that there is none of"):
            _native.make_uuids(NAMESPACE.bytes, column)


@pytest.mark.skipif(not INSTRUCTIONS, reason="the extension is not built")
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ((memoryview(b"12"), memoryview(bytes(16)).cast("q"), b""), "codes have 4 bytes"),
        ((None, memoryview(bytes(16)), b""), "offsets have 4 or 8 bytes"),
        ((None, memoryview(b"").cast("q"), b""), "offsets have 4 or 8 bytes"),
    ],
)
def test_buffers_of_other_types(column: twin_md5.Column, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _native.make_uuids(NAMESPACE.bytes, column)
    with pytest.raises(TypeError, match="a column is a tuple"):
        _native.make_uuids(NAMESPACE.bytes, list(column))


@pytest.mark.skipif(not INSTRUCTIONS, reason="the extension is not built")
def test_instructions_that_there_are_none_of() -> None:
    with pytest.raises(ValueError, match="no instruction set abacus"):
        _native.make_uuids(NAMESPACE.bytes, _column(["a"]), None, False, "abacus")


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_environment_chooses(value: str) -> None:
    code = (
        "import sys; from polars_alf import native; "
        "print(native.IMPLEMENTATION, 'polars' in sys.modules, 'pyarrow' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"POLARS_ALF_NATIVE": value},
        capture_output=True,
        text=True,
    )
    expected = "native" if INSTRUCTIONS and value != "0" else "python"
    assert result.stdout.split() == [expected, "False", "False"], result.stderr


def test_the_functions_in_c_are_used_where_they_are_built() -> None:
    is_native = bool(INSTRUCTIONS) and os.environ.get("POLARS_ALF_NATIVE") != "0"
    expected = "native" if is_native else "python"
    assert expected == native.IMPLEMENTATION
