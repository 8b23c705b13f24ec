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
