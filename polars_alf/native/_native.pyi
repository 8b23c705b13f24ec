from array import array
from collections.abc import Sequence

from polars_alf.native.twin import Numbers
from polars_alf.native.twin_md5 import Column, MD5State, Piece

def list_instruction_sets() -> list[str]: ...
def count_md5_lanes(instructions: str | None = None, /) -> int: ...
def start_md5() -> MD5State: ...
def update_md5s(
    states: Sequence[MD5State], pieces: Sequence[Piece], instructions: str | None = None, /
) -> None: ...
def finish_md5(state: MD5State, /) -> bytes: ...
def make_uuids(
    namespace: bytes,
    first: Column,
    second: Column | None = None,
    as_digests: bool = False,
    instructions: str | None = None,
    /,
) -> bytes: ...
def format_uuids(highs: memoryview, lows: memoryview, /) -> bytes: ...
def list_directories(
    prefix: bytes,
    paths: bytes,
    recurse: bool,
    examine: bool,
    tell_others: bool,
    pass_copies: bool,
    most_files: int,
    most_examined: int,
    steps: array[int] | None,
    pacer: array[int] | None = None,
    /,
) -> tuple[bytes, ...]: ...
def count_unchanged(
    prefix: bytes,
    paths: bytes,
    mtimes: Numbers,
    ctimes: Numbers,
    inodes: Numbers,
    steps: array[int] | None = None,
    pacer: array[int] | None = None,
    /,
) -> int: ...
def examine_files(
    directory: bytes,
    names: bytes,
    steps: array[int] | None,
    pacer: array[int] | None = None,
    /,
) -> tuple[bytes, ...]: ...
def book_calls(pacer: array[int], n_calls: int, /) -> int: ...
