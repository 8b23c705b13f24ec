"""Names of folders that follow from values: safe on every system, and never the same for two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import quote

import xxhash

# What Windows takes for devices, with any ending.
_DEVICES = {
    *("con", "prn", "aux", "nul"),
    *(f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)),
}

_LONGEST = 120


def name_folders(values: Iterable[str], nothing: str) -> dict[str, str]:
    """Return a name for each value; `nothing` is that of the empty one.

    Names are of letters, digits, ``_``, ``-``, ``.``, ``~`` and ``%``. Other characters are
    written as in addresses, ``%20`` for a space. So is what some system takes for another name,
    for a hidden file, or for an option. A long name ends in a checksum instead.
    """
    distinct = {*values}
    alike = defaultdict(set)
    for value in distinct:
        alike[value.casefold()].add(value)
    names = {}
    for value in distinct:
        # One folder for both, where capitals are the same as other letters.
        has_twin = len(alike[value.casefold()]) > 1
        name = "".join(
            _encode(letter) if has_twin and "A" <= letter <= "Z" else quote(letter, safe="")
            for letter in value
        )
        if name[:1] in (".", "-", "~") or _is_taken(name, nothing):
            name = _encode(name[:1]) + name[1:]
        if name.endswith("."):  # Windows leaves it out
            name = name[:-1] + _encode(".")
        if len(name) > _LONGEST:
            name = f"{name[:_LONGEST]}%{xxhash.xxh3_64_hexdigest(value.encode())}"
        names[value] = name or nothing
    return names


def _is_taken(name: str, nothing: str) -> bool:
    return name.casefold() == nothing or name.split(".")[0].casefold() in _DEVICES


def _encode(character: str) -> str:
    return f"%{ord(character):02X}" if character else ""
