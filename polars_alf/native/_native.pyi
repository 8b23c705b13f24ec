from array import array

from polars_alf.native.twin_md5 import Column

def list_instruction_sets() -> list[str]: ...
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
    most_files: int,
    most_examined: int,
    steps: array[int] | None,
    /,
) -> tuple[bytes, ...]: ...
def examine_files(
    directory: bytes, names: bytes, steps: array[int] | None, /
) -> tuple[bytes, ...]: ...
