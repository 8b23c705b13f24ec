"""MD5 of many messages in pieces is that of the standard library, with any instructions."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf import native
from polars_alf.native import twin_md5

try:
    from polars_alf.native import _native
except ImportError:
    INSTRUCTIONS = []
else:
    INSTRUCTIONS = _native.list_instruction_sets()

implementations = pytest.mark.parametrize("instructions", ["python", *INSTRUCTIONS])

is_built = pytest.mark.skipif(not INSTRUCTIONS, reason="the extension is not built")

CONTENT = random.Random(0).randbytes(1 << 16)

# About the ends of blocks, and of the last one, which has room for the length or has not.
LENGTHS = st.integers(0, 300) | st.integers(0, 20).flatmap(
    lambda n: st.sampled_from([64 * n + i for i in (0, 1, 55, 56, 57, 63)])
)


def _choose(instructions: str) -> tuple[ModuleType, str | None]:
    return (twin_md5, None) if instructions == "python" else (_native, instructions)


def _cut(lengths: Sequence[int], start: int = 0) -> list[bytes]:
    return [CONTENT[i:j] for i, j in pairwise(accumulate(lengths, initial=start))]


def _digest(instructions: str, messages: Sequence[Sequence[bytes]]) -> list[str]:
    """Return the digests of messages, of which the first pieces come together, then the second."""
    module, chosen = _choose(instructions)
    states = [module.start_md5() for _ in messages]
    for turn in range(max(map(len, messages), default=0)):
        of_turn = [i for i, pieces in enumerate(messages) if turn < len(pieces)]
        pieces = [messages[i][turn] for i in of_turn]
        module.update_md5s([states[i] for i in of_turn], pieces, chosen)
    return [module.finish_md5(state).hex() for state in states]


def _expect(messages: Sequence[Sequence[bytes]]) -> list[str]:
    return [hashlib.md5(b"".join(pieces)).hexdigest() for pieces in messages]


@pytest.mark.slow
@implementations
@given(st.lists(st.lists(LENGTHS, max_size=5), max_size=70))
def test_any_messages_in_any_pieces(instructions: str, lengths: list[list[int]]) -> None:
    messages = [_cut(each, start=i) for i, each in enumerate(lengths)]
    assert _digest(instructions, messages) == _expect(messages)


@implementations
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 6, 15, 16, 17, 31, 32, 33, 64, 65])
def test_messages_about_the_number_of_lanes(instructions: str, n: int) -> None:
    alike = [_cut([640, 64], start=i) for i in range(n)]
    assert _digest(instructions, alike) == _expect(alike)
    each_longer = [_cut([64 * i + i], start=i) for i in range(n)]
    assert _digest(instructions, each_longer) == _expect(each_longer)


@implementations
def test_lengths_about_the_ends_of_blocks(instructions: str) -> None:
    messages = [[CONTENT[:length]] for length in [*range(260), 4096, 65_535, 65_536]]
    assert _digest(instructions, messages) == _expect(messages)


@implementations
def test_more_may_follow_a_digest(instructions: str) -> None:
    module, chosen = _choose(instructions)
    state = module.start_md5()
    for end in range(0, 400, 40):
        assert module.finish_md5(state) == hashlib.md5(CONTENT[:end]).digest()
        module.update_md5s([state], [CONTENT[end : end + 40]], chosen)


@implementations
@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda b: memoryview(b"x" + b)[1:]])
def test_pieces_of_any_buffer(instructions: str, kind: Callable[[bytes], bytes]) -> None:
    messages = [_cut([1000, 500], start=i) for i in range(40)]
    given = [[kind(piece) for piece in pieces] for pieces in messages]
    assert _digest(instructions, given) == _expect(messages)


@pytest.mark.thorough
@pytest.mark.parametrize("instructions", ["python", *INSTRUCTIONS[:1]])
def test_a_message_longer_than_its_bits_fit_in_32(instructions: str) -> None:
    module, chosen = _choose(instructions)
    n_bytes = (1 << 29) + 5
    piece = bytes(1 << 22)
    state = module.start_md5()
    for _ in range(n_bytes // len(piece)):
        module.update_md5s([state], [piece], chosen)
    module.update_md5s([state], [piece[:5]], chosen)
    assert module.finish_md5(state).hex() == "53f83c490b7435d7e205466bfd984882"


@implementations
def test_as_many_pieces_as_states(instructions: str) -> None:
    module, chosen = _choose(instructions)
    states = [module.start_md5() for _ in range(3)]
    with pytest.raises(ValueError, match="there are 3 states and 2 pieces"):
        module.update_md5s(states, [b"a", b"b"], chosen)
    assert {module.finish_md5(state) for state in states} == {hashlib.md5().digest()}


@implementations
def test_a_piece_that_is_none_changes_nothing(instructions: str) -> None:
    module, chosen = _choose(instructions)
    first, second = module.start_md5(), module.start_md5()
    with pytest.raises(TypeError):
        module.update_md5s([second, first], ["text", b"a"], chosen)
    assert module.finish_md5(first) == hashlib.md5().digest()


@implementations
def test_threads_digest_messages_of_their_own(instructions: str) -> None:
    messages = [_cut([6400, 640], start=i) for i in range(40)]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(_digest(instructions, messages)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [_expect(messages)] * 4


@is_built
@pytest.mark.parametrize("state", [bytearray(), bytearray(87), bytearray(89)])
def test_a_state_of_another_size(state: bytearray) -> None:
    with pytest.raises(ValueError, match="a state is what start_md5 returns"):
        _native.update_md5s([state], [b"a"])
    with pytest.raises(ValueError, match="a state is what start_md5 returns"):
        _native.finish_md5(state)


@is_built
def test_a_state_that_cannot_be_changed() -> None:
    with pytest.raises(BufferError):
        _native.update_md5s([bytes(_native.start_md5())], [b"a"])


@is_built
def test_a_state_of_any_bytes_is_safe() -> None:
    for byte in (0, 0x7F, 0xFF):
        state = bytearray([byte]) * len(_native.start_md5())
        _native.update_md5s([state] * 40, [CONTENT] * 40)
        assert len(_native.finish_md5(state)) == 16


@is_built
def test_the_lanes_of_each_instruction_set() -> None:
    lanes = [_native.count_md5_lanes(name) for name in INSTRUCTIONS]
    assert lanes == sorted(lanes, reverse=True)
    assert _native.count_md5_lanes() == lanes[0]
    assert lanes[-1] > twin_md5.count_md5_lanes() == 1
    with pytest.raises(ValueError, match="no instruction set abacus"):
        _native.count_md5_lanes("abacus")


def test_the_implementation_is_one() -> None:
    module = _native if native.IMPLEMENTATION == "native" else twin_md5
    for name in ("count_md5_lanes", "start_md5", "update_md5s", "finish_md5", "make_uuids"):
        assert getattr(native, name) is getattr(module, name)
